"""Real clips, from the file to tracked faces, with both detectors."""

from __future__ import annotations

import itertools
from collections import defaultdict

import cv2
import numpy as np
import pytest
from pyemo_detectors.dlib_hog import DlibDetector
from pyemo_detectors.yunet import YuNetDetector

from pyemo.media import VideoFrame, VideoReader, crop_faces, prefetch, read_audio, track_faces

CREMAD = [f"cremad/1001_DFA_{emotion}_XX.flv" for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")]


@pytest.fixture(scope="module", params=["dlib", "yunet"])
def detector(request, shared_data):
    if request.param == "dlib":
        return DlibDetector()
    return YuNetDetector(weights=shared_data / "weights" / "face_detection_yunet_2026may.onnx")


def tracks_of(frames, detector):
    """Track -> {frame: box}, and the number of frames."""
    tracks, count = defaultdict(dict), 0
    for tracked in track_faces(frames, detector):
        count += 1
        for face in tracked.faces:
            tracks[face.track][tracked.frame.index] = face.face.box
    return dict(tracks), count


def read(path, detector):
    with VideoReader(path) as reader:
        tracks, count = tracks_of(reader, detector)
        assert reader.warning is None
    return tracks, count


def test_no_face(shared_data, detector):
    tracks, count = read(shared_data / "clips" / "no_face.mp4", detector)
    assert tracks == {}
    assert count == 95


def test_single_face(shared_data, detector):
    tracks, count = read(shared_data / "clips" / "single_face.mp4", detector)
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(count)) == list(range(72))
    widths = np.array([box[2] for box in tracks[0].values()])
    assert np.abs(np.diff(widths)).max() < 0.04 * widths.mean()


def test_rows_only_while_the_face_is_there(shared_data, detector):
    """In face_noface.mov the picture with the face ends after frame 71."""
    tracks, count = read(shared_data / "clips" / "face_noface.mov", detector)
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(72))
    assert count == 169


def test_several_people(shared_data, detector):
    """Cuts at frames 20, 82 and 211; the speaker between the last two is one track."""
    tracks, count = read(shared_data / "clips" / "short_hamilton_clip.mp4", detector)
    assert count == 275
    assert len(tracks) >= 2
    assert sorted(tracks) == list(range(len(tracks)))
    for boxes in tracks.values():
        assert not any(min(boxes) < cut <= max(boxes) for cut in (20, 82, 211))
    speaker = [boxes for boxes in tracks.values() if min(boxes) >= 82 and max(boxes) < 211]
    assert len(speaker) == 1
    assert len(speaker[0]) > 110


@pytest.mark.parametrize("name", CREMAD)
def test_cremad(shared_data, detector, name):
    tracks, count = read(shared_data / name, detector)
    assert list(tracks) == [0]
    assert sorted(tracks[0]) == list(range(count))
    assert len(read_audio(shared_data / name)) / 16000 == pytest.approx(count / 29.97, abs=0.15)


def test_somebody_else_after_a_cut(shared_data, detector):
    """Two people in turn, cut together, in the same place of the picture: two tracks, parted at the cut."""

    def joined():
        index = 0
        for name in ("clips/single_face.mp4", CREMAD[3], "clips/single_face.mp4"):
            with VideoReader(shared_data / name) as reader:
                for frame in reader:
                    if frame.index == 45:
                        break
                    yield VideoFrame(index, index / 30, cv2.resize(frame.image, (640, 480)))
                    index += 1

    tracks, count = tracks_of(joined(), detector)
    assert count == 135
    assert {track: (min(boxes), max(boxes)) for track, boxes in tracks.items()} == {
        0: (0, 44),
        1: (45, 89),
        2: (90, 134),
    }


def test_crops_of_a_clip(shared_data, detector):
    """The whole chain with threads; the crops of a calm clip hardly change from frame to frame."""
    with VideoReader(shared_data / CREMAD[4]) as reader:
        crops = [
            crop_faces(tracked.frame.image, [face.face for face in tracked.faces], size=48, frame=detector.crop_frame)
            for tracked in prefetch(track_faces(reader, detector))
        ]
    crops = np.concatenate(crops)[:, 0].astype(float)
    assert crops.shape == (61, 48, 48)
    assert crops.std() > 30
    changes = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in itertools.pairwise(crops)]
    assert min(changes) > 0.93
    assert np.median(changes) > 0.99


def test_interpolated_boxes_agree_with_detected_ones(shared_data, detector):
    """Looking at every eighth frame gives the boxes that looking at all of them gives."""
    path = shared_data / "clips" / "single_face.mp4"
    with VideoReader(path) as reader:
        frames = list(reader)
    boxes = {}
    for every in (1, 8):
        tracks = [tracked.faces[0].face.box for tracked in track_faces(frames, detector, every=every)]
        boxes[every] = np.array(tracks)
    size = boxes[1][:, 2].mean()
    assert np.abs(boxes[8] - boxes[1]).mean() < 0.05 * size
    assert np.abs(boxes[8] - boxes[1]).max() < 0.2 * size
