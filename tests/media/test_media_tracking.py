"""The tracker against detectors whose answers are known."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from pyemo.contracts import CropFrame, Face
from pyemo.media import VideoFrame, prefetch, track_faces

RATE = 30
BACKGROUNDS = np.random.default_rng(0).integers(0, 256, (8, 9, 16, 3), np.uint8)


def image_of(index, shot):
    """The background of a shot, with the frame's number in its first pixel, where :class:`Scripted` reads it."""
    image = BACKGROUNDS[shot].repeat(4, axis=0).repeat(4, axis=1)
    image[0, 0] = index >> 16, index >> 8 & 255, index & 255
    return image


def video(length, *, cuts=(), rate=RATE):
    for index in range(length):
        shot = sum(index >= cut for cut in cuts)
        yield VideoFrame(index, index / rate, image_of(index, shot % len(BACKGROUNDS)))


class Scripted:
    """Sees at frame i what ``faces(i)`` says: boxes as (centre x, centre y, size)."""

    contract_version = 1
    crop_frame = CropFrame()

    def __init__(self, faces, landmarks=False):
        self.faces, self.landmarks = faces, landmarks
        self.looks = []

    def detect(self, frames):
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame):
        index = int(np.dot(frame[0, 0].astype(int), (1 << 16, 1 << 8, 1)))
        self.looks.append(index)
        found = []
        for x, y, size in self.faces(index):
            points = np.array(
                [(x + dx * size, y + dy * size) for dx, dy in ((-0.2, 0), (0.2, 0), (0, 0.1), (-0.1, 0.3), (0.1, 0.3))]
            )
            found.append(
                Face(
                    (x - size / 2, y - size / 2, size, size), 1.0, points.astype(np.float32) if self.landmarks else None
                )
            )
        return found


def tracks_of(frames):
    """Track -> {frame: (centre x, centre y, width)}."""
    tracks = defaultdict(dict)
    for tracked in frames:
        for face in tracked.faces:
            x, y, width, height = face.face.box
            tracks[face.track][tracked.frame.index] = x + width / 2, y + height / 2, width
    return dict(tracks)


def run(faces, length=120, cuts=(), rate=RATE, **options):
    detector = Scripted(faces)
    tracked = list(track_faces(video(length, cuts=cuts, rate=rate), detector, **options))
    assert [frame.frame.index for frame in tracked] == list(range(length))
    return tracks_of(tracked), detector.looks


def test_a_still_face_is_one_track_at_few_looks():
    tracks, looks = run(lambda index: [(100, 100, 50)])
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(120))
    assert all(box == pytest.approx((100, 100, 50)) for box in tracks[0].values())
    assert looks == sorted(set(looks)) == [*range(0, 120, 8), 119]


@pytest.mark.parametrize("every", [1, 3, 8, 50])
@pytest.mark.parametrize("length", [1, 2, 5, 8, 9, 33])
def test_every_frame_comes_out_once_whatever_the_length(every, length):
    tracks, looks = run(lambda index: [(100, 100, 50)], length, every=every)
    assert sorted(tracks[0]) == list(range(length))
    assert len(looks) == len(set(looks))


def test_empty_video():
    assert list(track_faces([], Scripted(lambda index: []))) == []


def test_no_face_no_track():
    tracks, looks = run(lambda index: [])
    assert tracks == {}
    assert len(looks) == 16


@pytest.mark.parametrize(("first", "last"), [(0, 71), (13, 13 + 40), (50, 119), (33, 48)])
def test_tracks_begin_and_end_at_the_very_frame(first, last):
    tracks, _ = run(lambda index: [(100, 100, 50)] if first <= index <= last else [])
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(first, last + 1))


def test_even_motion_is_interpolated():
    tracks, looks = run(lambda index: [(100 + index, 80 + 0.5 * index, 60 + 0.1 * index)])
    assert len(looks) == 16
    for index, box in tracks[0].items():
        assert box == pytest.approx((100 + index, 80 + 0.5 * index, 60 + 0.1 * index), abs=0.01)


def test_fast_motion_is_looked_at_more_closely():
    def shaking(index):
        return [(100 + 60 * np.sin(2 * np.pi * 0.6 * index / RATE), 100, 60)]

    tracks, looks = run(shaking, smoothing=0)
    assert len(looks) > 40
    errors = [abs(box[0] - shaking(index)[0][0]) for index, box in tracks[0].items()]
    assert list(tracks) == [0]
    assert len(errors) == 120
    assert max(errors) < 9  # at the turning points both looks see the same place


def test_detected_says_what_was_seen():
    detector = Scripted(lambda index: [(100, 100, 50)])
    tracked = list(track_faces(video(60), detector))
    assert [frame.frame.index for frame in tracked if frame.faces[0].detected] == detector.looks


def test_landmarks_follow():
    detector = Scripted(lambda index: [(100 + index, 100, 50)], landmarks=True)
    for tracked in track_faces(video(60), detector):
        landmarks = tracked.faces[0].face.landmarks
        assert landmarks.shape == (5, 2)
        assert landmarks.dtype == np.float32
        assert landmarks[0] == pytest.approx((90 + tracked.frame.index, 100), abs=0.05)


def test_steps_of_the_detector_are_smoothed():
    """dlib's sizes move in steps of 20 %: 150, 180, 150, ..."""

    def stepping(index):
        return [(200, 200, 150 if index // 8 % 2 else 180)]

    rough, _ = run(stepping, every=1, smoothing=0)
    smooth, _ = run(stepping, every=1)
    widths = {name: [box[2] for box in tracks[0].values()] for name, tracks in (("rough", rough), ("smooth", smooth))}
    assert np.abs(np.diff(widths["rough"])).max() == pytest.approx(30)
    assert np.abs(np.diff(widths["smooth"])[8:-8]).max() < 7


@pytest.mark.parametrize("every", [1, 8])
def test_missed_detections_are_bridged(every):
    tracks, _ = run(lambda index: [] if index in (31, 32, 33, 60) else [(100, 100, 50)], every=every)
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(120))


def test_absence_leaves_a_gap_but_keeps_a_short_lost_track():
    tracks, _ = run(lambda index: [] if 40 <= index < 52 else [(100, 100, 50)])
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == [*range(40), *range(52, 120)]


def test_long_absence_starts_a_new_track():
    tracks, _ = run(lambda index: [] if 40 <= index < 70 else [(100, 100, 50)])
    assert {track: (min(boxes), max(boxes)) for track, boxes in tracks.items()} == {0: (0, 39), 1: (70, 119)}


@pytest.mark.parametrize("every", [1, 8])
@pytest.mark.parametrize("at", [range(16, 17), range(32, 35), range(60, 66)])
def test_short_false_detections_are_suppressed(every, at):
    tracks, _ = run(lambda index: [(100, 100, 50)] + [(400, 300, 50)] * (index in at), every=every)
    assert list(tracks) == [0]


def test_min_duration_can_be_zero():
    tracks, _ = run(lambda index: [(100, 100, 50)] if index == 16 else [], min_duration=0)
    assert tracks == {0: {16: pytest.approx((100, 100, 50))}}


def test_a_face_that_fills_a_short_shot_is_kept():
    tracks, _ = run(lambda index: [(100, 100, 50)] if 30 <= index < 34 else [], cuts=(30, 34))
    assert sorted(tracks[0]) == [30, 31, 32, 33]


@pytest.mark.parametrize("cut", [16, 17, 21, 118, 119])
def test_nobody_inherits_a_track_across_a_cut(cut):
    """Somebody else, at the same place, from one frame to the next."""
    tracks, _ = run(lambda index: [(100, 100, 50)], cuts=(cut,))
    assert {track: (min(boxes), max(boxes)) for track, boxes in tracks.items()} == {0: (0, cut - 1), 1: (cut, 119)}
    assert sum(map(len, tracks.values())) == 120


def test_a_gap_is_not_bridged_across_a_cut():
    tracks, _ = run(lambda index: [] if 58 <= index < 62 else [(100, 100, 50)], cuts=(60,))
    assert [sorted(boxes)[0] for boxes in tracks.values()] == [0, 62]
    assert [sorted(boxes)[-1] for boxes in tracks.values()] == [57, 119]


@pytest.mark.parametrize("every", [1, 8])
@pytest.mark.parametrize("hidden", [False, True], ids=["both seen", "one hidden behind the other"])
def test_crossing_faces_keep_their_tracks(every, hidden):
    """Two people pass each other at 80 pixels a second with faces of 60 pixels."""

    def positions(index):
        return 150 + 80 * (index - 60) / RATE, 150 - 80 * (index - 60) / RATE

    def crossing(index):
        left, right = positions(index)
        faces = [(left, 100, 60), (right, 104, 60)]
        return faces[:1] if hidden and abs(left - right) < 25 else faces

    tracks, _ = run(crossing, every=every, smoothing=0)
    assert sorted(tracks) == [0, 1]
    start = tracks[0][0][0]
    mover, other = (0, 1) if start < 100 else (1, 0)
    assert tracks[mover][119][0] == pytest.approx(positions(119)[0], abs=5)
    assert tracks[other][119][0] == pytest.approx(positions(119)[1], abs=5)
    for index, box in tracks[mover].items():
        assert box[0] == pytest.approx(positions(index)[0], abs=10)


def test_several_faces_and_order_of_appearance():
    def faces(index):
        return [(100 * slot + 60, 100, 50) for slot, start in enumerate((40, 0, 20)) if index >= start]

    tracks, _ = run(faces)
    assert {track: (min(boxes), round(boxes[119][0])) for track, boxes in tracks.items()} == {
        0: (0, 160),
        1: (20, 260),
        2: (40, 60),
    }


@pytest.mark.parametrize("rate", [2, 5, 12, 60, 240])
def test_other_frame_rates(rate):
    first, last = 2 * rate, 5 * rate
    tracks, _ = run(lambda index: [(100, 100, 50)] if first <= index <= last else [], length=8 * rate, rate=rate)
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(first, last + 1))


def test_variable_frame_rate():
    """A face moving evenly in time, seen at uneven times."""
    random = np.random.default_rng(0)
    times = np.cumsum(random.uniform(0.002, 0.08, 100))
    frames = [VideoFrame(index, float(time), image_of(index, 0)) for index, time in enumerate(times)]
    detector = Scripted(lambda index: [(100 + 30 * times[index], 100, 60)])
    tracks = tracks_of(track_faces(frames, detector, smoothing=0))
    assert sorted(tracks[0]) == list(range(100))
    for index, box in tracks[0].items():
        assert box[0] == pytest.approx(100 + 30 * times[index], abs=0.05)


def test_frames_left_out_by_the_caller():
    """Every third frame of a video, so that indices have gaps."""
    detector = Scripted(lambda index: [(100, 100, 50)])
    tracks = tracks_of(track_faces((frame for frame in video(180) if frame.index % 3 == 0), detector))
    assert sorted(tracks[0]) == list(range(0, 180, 3))


def restless(index):
    """Faces that come and go at random."""
    random = np.random.default_rng(index)
    return [(60 + 90 * slot, 100, 50) for slot in range(5) if random.random() < 0.7]


@pytest.mark.parametrize("rate", [30, 240])
@pytest.mark.parametrize("faces", [restless, lambda index: [(100, 100, 50)]], ids=["restless", "still"])
def test_delay_and_memory_are_bounded(rate, faces):
    went_in = 0

    def counted():
        nonlocal went_in
        for frame in video(600, cuts=(100, 101, 333), rate=rate):
            went_in += 1
            yield frame

    tracker = track_faces(counted(), Scripted(faces))
    delays = [went_in - 1 - tracked.frame.index for tracked in tracker]
    assert len(delays) == 600
    assert max(delays) <= 8 + 36


def test_a_long_video_leaves_nothing_behind():
    """3,000 frames with a face throughout: what a track remembers of them stays small."""
    from pyemo.media import tracking

    tracker = tracking._Tracker(Scripted(lambda index: [(100, 100, 50)]), 8, 0.25, 0.25, 0.5, 0.2)
    most = 0
    for _ in tracker.run(video(3000)):
        most = max(most, len(tracker._waiting), *(len(track.states) for track in tracker._live), len(tracker._ended))
    assert most < 60


def test_in_a_thread_of_its_own():
    detector = Scripted(lambda index: [(100, 100, 50)])
    assert sorted(tracks_of(prefetch(track_faces(prefetch(video(100), 4), detector), 4))[0]) == list(range(100))


@pytest.mark.parametrize("options", [{"every": 0}, {"min_duration": -1}, {"bridge": -0.1}, {"smoothing": float("nan")}])
def test_bad_options_are_named_at_once(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        track_faces([], Scripted(lambda index: []), **options)
