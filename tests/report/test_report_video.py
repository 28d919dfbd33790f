from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from synthetic import RATE, write_clip, write_image

from pyemo.media import VideoReader
from pyemo.report.video import medium, plays_in_browsers, write_copy


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """MPEG-4 part 2, which browsers do not play."""
    return write_clip(tmp_path / "in" / "a clip#1.avi", [{40: "happy"}] * 10 + [{40: "sad"}] * 10)


def add_sound(video: Path, path: Path) -> Path:
    """The same pictures with a tone, in Matroska."""
    with av.open(str(path), "w") as target, VideoReader(video) as reader:
        pictures = target.add_stream("mpeg4", rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = reader.info.width, reader.info.height, "yuv420p"
        sound = target.add_stream("pcm_s16le", rate=16000, layout="mono")
        for frame in reader:
            target.mux(pictures.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")))
        tone = (8000 * np.sin(np.arange(12800) * 0.1)).astype(np.int16)[None]
        samples = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        samples.rate, samples.pts, samples.time_base = 16000, 0, Fraction(1, 16000)
        target.mux(sound.encode(samples))
        for stream in (pictures, sound):
            target.mux(stream.encode(None))
    return path


def test_a_copy_shows_the_same_at_the_same_times(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    assert not plays_in_browsers(clip)
    write_copy(add_sound(clip, tmp_path / "sound.mkv"), copy)
    assert plays_in_browsers(copy)
    with VideoReader(clip) as original, VideoReader(copy) as copied:
        pairs = list(zip(original, copied, strict=True))
    assert len(pairs) == 20
    for one, other in pairs:
        assert other.time == pytest.approx(one.time, abs=1e-3)
        assert np.abs(other.image.astype(int) - one.image).mean() < 6
    with av.open(str(copy)) as container:
        (stream,) = container.streams.audio
        length = sum(frame.samples for frame in container.decode(stream)) / stream.rate
    assert length == pytest.approx(0.8, abs=0.05)


def test_what_stands_in_the_report(clip: Path, tmp_path: Path) -> None:
    report = tmp_path / "out" / "a clip#1.avi.html"
    linked = medium(clip, "video", report, "link")
    assert linked is not None
    assert (linked.tag, linked.address) == ("video", "a%20clip%231.avi.preview.mp4")
    assert "smaller copy" in linked.note
    playable = medium(report.with_name("a clip#1.avi.preview.mp4"), "video", tmp_path / "elsewhere" / "b.html", "link")
    assert playable is not None
    assert (playable.address, playable.note) == ("../out/a%20clip%231.avi.preview.mp4", "")
    (tmp_path / "out" / "a clip#1.avi.preview.mp4").unlink()
    embedded = medium(clip, "video", report, "embed")
    assert embedded is not None
    assert embedded.address.startswith("data:video/mp4;base64,")
    assert list((tmp_path / "out").iterdir()) == []
    assert medium(clip, "video", report, "none") is None
    assert medium(None, "video", report, "link") is None


def test_pictures_are_embedded_and_sounds_linked(tmp_path: Path) -> None:
    picture = medium(write_image(tmp_path / "a.png", {40: "sad"}), "image", tmp_path / "a.html", "link")
    assert picture is not None
    assert (picture.tag, picture.address[:23]) == ("img", "data:image/jpeg;base64,")
    sound = medium(tmp_path / "voice.wav", "audio", tmp_path / "a.html", "link")
    assert sound is not None
    assert (sound.tag, sound.address) == ("audio", "voice.wav")


def test_a_clip_that_has_gone_is_no_error(tmp_path: Path) -> None:
    gone = medium(tmp_path / "gone.mp4", "video", tmp_path / "a.html", "link")
    assert gone is not None
    assert gone.address == ""
    assert "gone.mp4" in gone.note
