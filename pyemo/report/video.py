"""The clip in the report: linked, embedded, or as a copy that browsers can play."""

from __future__ import annotations

import base64
import heapq
import mimetypes
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

import av
import cv2

from pyemo.errors import ConfigError, MediaError
from pyemo.files import written_whole
from pyemo.media import VideoReader, read_image
from pyemo.media.container import open_container
from pyemo.report.series import jpeg_uri

VideoChoice = Literal["link", "embed", "none"]

_PLAYED = {
    # What every current browser plays: container (as FFmpeg names it) -> codecs of pictures and of sound.
    "mov,mp4,m4a,3gp,3g2,mj2": ({"h264", "av1", "vp9"}, {"aac", "mp3", "opus", "flac"}),
    "matroska,webm": ({"vp8", "vp9", "av1"}, {"vorbis", "opus"}),
}
_CLOCK = Fraction(1, 90000)
_HEIGHT, _RATE = 480, 48000  # of a copy: pixels at most, and samples a second
_WIDEST = 1280  # pixels of an embedded picture


@dataclass(frozen=True)
class Medium:
    """What the page shows above the timeline."""

    tag: Literal["video", "audio", "img"]
    address: str
    """Relative to the report, or ``data:``."""
    note: str = ""
    """For people: what is not as they might expect."""


def check_choice(choice: str) -> None:
    if choice not in get_args(VideoChoice):
        raise ConfigError(f"video {choice!r}: expected one of {', '.join(get_args(VideoChoice))}")


def medium(source: Path | None, kind: str, report: Path, choice: VideoChoice) -> Medium | None:
    """What to show of ``source`` in the file ``report``; None where there is nothing to show.

    A video that browsers do not play is copied as H.264 to ``<report without .html>.preview.mp4`` beside the report. A clip that has gone
    or cannot be copied is no error: the note says so.
    """
    if source is None or choice == "none" or kind == "sequence":
        return None
    try:
        if kind == "image":
            return Medium("img", jpeg_uri(_smaller(read_image(source))))
        if kind == "audio":
            return Medium("audio", _address(source, report, choice))
        if plays_in_browsers(source):
            return Medium("video", _address(source, report, choice))
        copy = report.with_name(f"{report.name.removesuffix('.html')}.preview.mp4")
        write_copy(source, copy)
        address = _address(copy, report, choice)
        if choice == "embed":
            copy.unlink()
        return Medium("video", address, "Browsers do not play the original; this is a smaller copy of it.")
    except (MediaError, OSError) as error:
        return Medium("video", "", f"The clip cannot be shown: {error}")


def plays_in_browsers(path: Path) -> bool:
    """Whether container and codecs are among those that every current browser plays.

    Raises:
        MediaError: no readable video.
    """
    with open_container(path, "a video") as container:
        pictures, sounds = _PLAYED.get(container.format.name, (set(), set()))
        if container.format.name.startswith("matroska") and path.suffix.lower() != ".webm":
            return False
        for stream in container.streams.video:
            context = stream.codec_context
            if context is None or context.name not in pictures or context.pix_fmt not in ("yuv420p", "yuvj420p"):
                return False
        return all(stream.codec_context and stream.codec_context.name in sounds for stream in container.streams.audio)


def write_copy(source: Path, copy: Path) -> None:
    """Write ``source`` as MP4 (H.264, AAC), at most 480 pixels high, with its own times.

    Raises:
        MediaError: it cannot be decoded, or this FFmpeg cannot encode.
    """
    try:
        with (
            written_whole(copy) as temporary,
            VideoReader(source) as reader,
            open_container(source, "a video") as sound,
            av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as target,
        ):
            shrink = min(1.0, _HEIGHT / reader.info.height)
            pictures = target.add_stream("libx264", rate=Fraction(reader.info.average_rate).limit_denominator(1001))
            pictures.width, pictures.height = (
                max(2, 2 * round(side * shrink / 2)) for side in (reader.info.width, reader.info.height)
            )
            pictures.pix_fmt, pictures.time_base = "yuv420p", _CLOCK
            pictures.options = {"crf": "25", "preset": "veryfast"}
            packets = [_pictures(reader, pictures)]
            if sound.streams.audio:
                packets.append(_sound(sound, target.add_stream("aac", rate=_RATE, layout="stereo")))
            for packet in heapq.merge(*packets, key=_seconds):
                target.mux(packet)
    except av.FFmpegError as error:
        raise MediaError(f"{source}: no copy for browsers could be made ({error})") from error


def _seconds(packet: av.Packet) -> float:
    return float((packet.dts or 0) * packet.time_base)


def _pictures(reader: VideoReader, stream: av.VideoStream) -> Iterator[av.Packet]:
    for frame in reader:
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
        picture.pts, picture.time_base = round(frame.time / _CLOCK), _CLOCK
        yield from stream.encode(picture)
    yield from stream.encode(None)


def _sound(container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.Packet]:
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_RATE)
    start = (container.start_time or 0) / av.time_base
    written = 0  # samples; times follow from them, as gaps within a stream are rarer than wrong time stamps
    for decoded in container.decode(container.streams.audio[0]):
        for frame in resampler.resample(decoded):
            if not written and decoded.time is not None:
                written = max(0, round((decoded.time - start) * _RATE))
            frame.pts, frame.time_base = written, Fraction(1, _RATE)
            written += frame.samples
            yield from stream.encode(frame)
    yield from stream.encode(None)


def _address(path: Path, report: Path, choice: VideoChoice) -> str:
    if choice == "embed":
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        # QuickTime's own name keeps browsers from looking at what they could play.
        kind = "video/mp4" if kind == "video/quicktime" else kind
        return f"data:{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    try:
        return quote(Path(os.path.relpath(path.resolve(), report.parent.resolve())).as_posix())
    except ValueError:  # another drive
        return path.resolve().as_uri()


def _smaller(image: cv2.typing.MatLike) -> cv2.typing.MatLike:
    height, width = image.shape[:2]
    shrink = min(1.0, _WIDEST / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if shrink < 1 else image
