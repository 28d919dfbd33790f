"""Video files: decoded frames with their real times."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from pyemo.errors import MediaError
from pyemo.media.background import prefetch
from pyemo.media.container import is_cover_art, open_container, reason

_FALLBACK_RATE = Fraction(25)  # for the time of frames without timestamps in a file that states no rate either


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame."""

    index: int
    """Its number among the frames read, from 0."""
    time: float
    """When it is shown, in seconds from the start of the file; strictly increasing."""
    image: np.ndarray
    """RGB, uint8 (H, W, 3), upright and with square pixels."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself. Times in seconds, sizes in pixels of the upright frame."""

    width: int
    height: int
    average_rate: float
    """Frames a second on average; the times of the frames tell more."""
    duration: float | None
    frame_count: int | None
    """As stated by the file or estimated from rate and duration; the frames read may be more or fewer. None if neither is known."""
    has_audio: bool
    rotation: int
    """By how many degrees, clockwise, the stored picture was turned to make it upright: 0, 90, 180 or 270."""


class VideoReader:
    """Iterates over the frames of a video file, in order of time; each iteration starts at the beginning.

    Decoding runs in a thread of its own, at most ``queue_size`` frames ahead of the consumer, so memory does not grow with the length
    of the video. Rotation and mirroring in the file's display matrix are applied; non-square pixels are made square.

    The file is opened and its first frame decoded at once: :class:`~pyemo.errors.MediaError` tells what is wrong with a file without a
    decodable frame. Damage further on does not raise: all frames that can be decoded are given, and then :attr:`warning` says what is
    missing (None for a sound file). :attr:`decode_seconds` is how long the last iteration's thread has worked.

    >>> with VideoReader("clip.mp4") as reader:  # doctest: +SKIP
    ...     for frame in reader:
    ...         print(frame.index, frame.time, frame.image.shape)
    """

    def __init__(self, path: str | Path, *, queue_size: int = 8) -> None:
        if queue_size < 1:
            raise ValueError(f"queue_size must be at least 1, got {queue_size}")
        self.path = Path(path)
        self.warning: str | None = None
        self.decode_seconds = 0.0
        self._queue_size = queue_size
        self._running: Generator[VideoFrame, None, None] | None = None
        with self._open() as container:
            stream = _video_stream(container, self.path)
            try:
                first = next(_decode(container, stream, []), None)
            except av.FFmpegError as error:
                raise MediaError(f"{self.path}: no frame can be decoded ({reason(error)})") from error
            if first is None:
                raise MediaError(
                    f"{self.path}: no frame of the video stream ({stream.codec_context.name}) can be decoded"
                )
            self._orientation = _Orientation.of(first)
            self._stored_size = _square_pixel_size(first, stream)
            self._rate = stream.average_rate or stream.guessed_rate or _FALLBACK_RATE
            self.info = self._describe(container, stream)

    def _open(self) -> InputContainer:
        return open_container(self.path, "a video")

    def _describe(self, container: InputContainer, stream: VideoStream) -> VideoInfo:
        width, height = self._stored_size
        if self._orientation.transpose:
            width, height = height, width
        duration = None
        if stream.duration and stream.time_base:
            duration = float(stream.duration * stream.time_base)
        elif container.duration:
            duration = container.duration / av.time_base
        frame_count = stream.frames or (round(duration * self._rate) if duration else None)
        return VideoInfo(
            width,
            height,
            float(self._rate),
            duration,
            frame_count,
            bool(container.streams.audio),
            self._orientation.rotation,
        )

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends a running iteration and its thread, and closes the file."""
        if self._running is not None:
            self._running.close()
            self._running = None

    def __iter__(self) -> Iterator[VideoFrame]:
        self.close()
        self.warning, self.decode_seconds = None, 0.0
        self._running = prefetch(self._frames(), self._queue_size)
        return self._running

    def _frames(self) -> Generator[VideoFrame, None, None]:
        troubles: list[str] = []
        reformatter = VideoReformatter()
        width, height = self._stored_size
        step = float(1 / self._rate)
        index, time, first = -1, -math.inf, 0.0
        began = perf_counter()
        with self._open() as container:
            stream = _video_stream(container, self.path)
            start = (container.start_time or 0) / av.time_base
            try:
                for index, frame in enumerate(_decode(container, stream, troubles)):
                    stamp = None if frame.time is None else frame.time - start
                    time = _time(stamp, time, step)
                    first = time if index == 0 else first
                    rgb = reformatter.reformat(frame, width, height, "rgb24").to_ndarray()
                    upright = self._orientation.apply(rgb)
                    self.decode_seconds += perf_counter() - began
                    yield VideoFrame(index, time, upright)
                    began = perf_counter()
            except av.FFmpegError as error:
                troubles.append(f"reading stopped after {index + 1} frames ({reason(error)})")
        duration = self.info.duration or 0.0
        # Where only the duration of the whole file is known, its sound may go on a little longer than its pictures.
        if time - first + step < duration - max(0.2, 0.05 * duration):
            troubles.append(
                f"the pictures end at {time + step:.2f} s of {first + duration:.2f} s; the file may be truncated"
            )
        if troubles:
            self.warning = f"{self.path}: " + "; ".join(troubles)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    for stream in container.streams.video:
        if not is_cover_art(stream):
            if stream.codec_context is None:
                raise MediaError(f"{path}: no decoder for its video stream")
            stream.thread_type = "AUTO"
            return stream
    held = "only sound" if container.streams.audio else "neither pictures nor sound"
    raise MediaError(f"{path}: no video stream, the file holds {held}")


def _decode(container: InputContainer, stream: VideoStream, troubles: list[str]) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded. Packets that cannot are passed over and counted in ``troubles``."""
    damaged = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damaged += 1
            continue
        yield from frames
    if damaged:
        troubles.append(f"{damaged} damaged packet{'s' * (damaged > 1)} left out")


def _time(stamp: float | None, previous: float, step: float) -> float:
    """The time of a frame: its own, or where it has none or the clock jumps back (joined recordings), a step after the one before."""
    if stamp is not None and stamp > previous:
        return stamp
    return previous + step if previous > -math.inf else 0.0


def _square_pixel_size(frame: av.VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Width and height as stored, the width stretched by the sample aspect ratio; one beyond 1:4 and 4:1 is a mistake in the file."""
    aspect = stream.sample_aspect_ratio
    return (round(frame.width * aspect) if aspect and 0.25 <= aspect <= 4 else frame.width), frame.height


@dataclass(frozen=True)
class _Orientation:
    """How a stored picture becomes upright: transposed first, then mirrored left to right, then upside down."""

    transpose: bool
    flip_x: bool
    flip_y: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> _Orientation:
        """From the display matrix (ISO/IEC 14496-12, 8.3.2.3): stored (x, y) is shown at (a x + c y, b x + d y), up to a shift.

        Only quarter turns and mirrorings are applied; the nearest one is taken.
        """
        try:
            side_data: Any = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:
            # PyAV stumbles over kinds of side data it does not know, but still tells the (counter-clockwise) angle.
            return _QUARTER_TURNS[round(-frame.rotation / 90) % 4]
        if side_data is None:
            return _QUARTER_TURNS[0]
        a, b, _, c, d = np.frombuffer(side_data, np.int32)[:5].tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Clockwise degrees of the turn; a mirrored picture counts as the turn that follows mirroring left to right."""
        if self.transpose:
            return 90 if self.flip_x or not self.flip_y else 270
        return 180 if self.flip_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) -> the upright picture, contiguous."""
        if self.transpose:
            image = cv2.transpose(image)
        if self.flip_x or self.flip_y:
            image = cv2.flip(image, -1 if self.flip_x and self.flip_y else int(self.flip_x))
        return image


_QUARTER_TURNS = (  # clockwise
    _Orientation(False, False, False),
    _Orientation(True, True, False),
    _Orientation(False, True, True),
    _Orientation(True, False, True),
)
