from __future__ import annotations

import struct
import threading
import weakref
from fractions import Fraction

import av
import numpy as np
import pytest

import pyemo.media.video as video
from pyemo.errors import MediaError
from pyemo.media import VideoFrame, VideoReader


def corner_colours(image):
    """Which of red, green, blue, dark is in the corners: top left, top right, bottom left, bottom right."""
    names = []
    for y, x in ((8, 8), (8, -8), (-8, 8), (-8, -8)):
        pixel = image[y, x]
        names.append("rgb"[int(pixel.argmax())] if pixel.max() > 128 else "-")
    return "".join(names)


def set_matrix(path, a, b, c, d):
    """Writes a display matrix into the track header (ISO/IEC 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert data[at : at + 4] == b"\0\1\0\0", "not where the matrix is"
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_frames_and_info(make_video):
    with VideoReader(make_video(20)) as reader:
        frames = list(reader)
        info = reader.info
    assert (info.width, info.height, info.rotation, info.has_audio, info.frame_count) == (64, 48, 0, False, 20)
    assert info.average_rate == pytest.approx(25, rel=0.06)
    assert info.duration == pytest.approx(0.8, abs=0.05)
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([0.04 * index for index in range(20)], abs=1e-3)
    assert all(frame.image.shape == (48, 64, 3) and frame.image.dtype == np.uint8 for frame in frames)
    assert corner_colours(frames[0].image) == "rgb-"
    grey = [int(frame.image[-8, -8, 0]) for frame in frames]
    assert grey == pytest.approx([4 * index for index in range(20)], abs=6)
    assert reader.warning is None


def test_variable_frame_rate(make_video):
    times = [0, 10, 15, 115, 500, 507, 900]
    with VideoReader(make_video(7, times=times)) as reader:
        assert [frame.time for frame in reader] == pytest.approx([time / 1000 for time in times], abs=1e-3)


def test_each_iteration_starts_again(make_video):
    with VideoReader(make_video(10)) as reader:
        first = iter(reader)
        assert next(first).index == next(iter(reader)).index == 0
        assert len(list(reader)) == 10


def test_closing_early_leaves_no_thread(make_video):
    with VideoReader(make_video(60), queue_size=2) as reader:
        next(iter(reader))
    assert not [thread for thread in threading.enumerate() if thread.name == "pyemo-prefetch"]


@pytest.mark.parametrize(
    ("matrix", "rotation", "colours"),
    [
        ((1, 0, 0, 1), 0, "rgb-"),
        ((0, 1, -1, 0), 90, "br-g"),
        ((-1, 0, 0, -1), 180, "-bgr"),
        ((0, -1, 1, 0), 270, "g-rb"),
        ((-1, 0, 0, 1), 0, "gr-b"),  # mirrored left to right
        ((1, 0, 0, -1), 180, "b-rg"),  # upside down: mirrored, then turned
    ],
)
def test_display_matrix(make_video, matrix, rotation, colours):
    path = make_video(3)
    set_matrix(path, *matrix)
    with VideoReader(path) as reader:
        image = next(iter(reader)).image
        assert corner_colours(image) == colours
        assert reader.info.rotation == rotation
        assert (
            image.shape
            == (reader.info.height, reader.info.width, 3)
            == ((64, 48, 3) if rotation % 180 else (48, 64, 3))
        )


def test_pixels_are_made_square(make_video):
    with VideoReader(make_video(3, name="wide.mkv", aspect=Fraction(2, 1))) as reader:
        assert (reader.info.width, reader.info.height) == (128, 48)
        assert next(iter(reader)).image.shape == (48, 128, 3)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([None] * 4, [0, 0.04, 0.08, 0.12]),
        ([0, None, 0.1, None], [0, 0.04, 0.1, 0.14]),
        ([5, 5.04, 0.0, None, 5.5], [5, 5.04, 5.08, 5.12, 5.5]),
        ([None, 0.0, 0.1], [0, 0.04, 0.1]),
    ],
    ids=["none at all", "some missing", "clock jumps back", "first missing"],
)
def test_missing_and_falling_timestamps(stamps, expected):
    times = [-np.inf]
    for stamp in stamps:
        times.append(video._time(stamp, times[-1], 0.04))
    assert times[1:] == pytest.approx(expected)


def test_a_file_without_timestamps(make_video):
    """A raw MPEG-4 stream: the times follow from the rate."""
    with VideoReader(make_video(10, name="raw.m4v")) as reader:
        times = np.array([frame.time for frame in reader])
        assert len(times) == 10
        np.testing.assert_allclose(np.diff(times), 1 / reader.info.average_rate, atol=1e-3)


def test_sound_is_noticed(make_video):
    with VideoReader(make_video(5, tone=440)) as reader:
        assert reader.info.has_audio


def test_truncated_keeps_what_can_be_decoded(make_video):
    path = make_video(60, options={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(path) as reader:
        frames = list(reader)
        assert 5 < len(frames) < 55
        assert reader.warning is not None
        assert path.name in reader.warning
        assert "truncated" in reader.warning


def test_damage_in_the_middle_is_passed_over(make_video):
    path = make_video([np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8) for index in range(40)])
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[15:18]:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader]
        assert reader.warning is not None
        assert "damaged" in reader.warning
        assert len(times) >= 30
        assert times[-1] == pytest.approx(39 * 0.04, abs=0.01)


def test_mp4_without_its_index(make_video):
    path = make_video(60)
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"moov")])
    with pytest.raises(MediaError, match=r"clip\.mp4.*index"):
        VideoReader(path)


def test_nothing_decodable(make_video):
    path = make_video(5)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = bytes(size)
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"clip\.mp4.*decoded"):
        VideoReader(path)


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"only text\n" * 50, "cannot be read as a video")])
def test_no_video_at_all(tmp_path, content, message):
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=rf"fake\.mp4.*{message}"):
        VideoReader(path)


def test_absent_file_folder_and_sound(tmp_path):
    with pytest.raises(MediaError, match="no such file"):
        VideoReader(tmp_path / "absent.mp4")
    with pytest.raises(MediaError, match="folder"):
        VideoReader(tmp_path)
    import soundfile

    soundfile.write(tmp_path / "tone.wav", np.zeros(1600), 16000)
    with pytest.raises(MediaError, match=r"tone\.wav.*only sound"):
        VideoReader(tmp_path / "tone.wav")


def test_memory_does_not_grow_with_length(make_video, monkeypatch):
    """Of 3,000 frames only those in the queue and in the hands of its two ends are alive at a time."""
    alive = most = 0

    def gone():
        nonlocal alive
        alive -= 1

    def counted(index, time, image):
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        weakref.finalize(image, gone)
        return VideoFrame(index, time, image)

    monkeypatch.setattr(video, "VideoFrame", counted)
    path = make_video(np.full((48, 64, 3), index % 256, np.uint8) for index in range(3000))
    with VideoReader(path, queue_size=8) as reader:
        assert sum(1 for _ in reader) == 3000
    assert 1 < most <= 12
    assert alive <= 1
