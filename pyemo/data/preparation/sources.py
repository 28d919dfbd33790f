"""The frames of clips and of folders of images, and the parts of them that are asked for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Generic, Protocol, TypeVar

import numpy as np

from pyemo.errors import MediaError
from pyemo.media import VideoFrame, VideoReader, find_media, kind, prefetch, read_image

SEQUENCE_RATE = 25.0
"""Images a second in a folder of images that says nothing about it."""

T = TypeVar("T")


class StoppedError(Exception):
    """The preparation was interrupted."""


class UnreadableError(Exception):
    """Something of the input's, as opposed to the output's, went wrong; ``cause`` says what."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def guarded(items: Iterable[T], stop: Event) -> Iterator[T]:
    """Passes ``items`` on; what goes wrong in getting them, also in a plug-in, becomes :class:`UnreadableError`.

    Raises :class:`StoppedError` once ``stop`` is set.
    """
    iterator = iter(items)
    while True:
        if stop.is_set():
            raise StoppedError
        try:
            item = next(iterator)
        except StopIteration:
            return
        except ImportError:  # a broken installation, not a broken input
            raise
        except Exception as error:
            raise UnreadableError(error) from error
        yield item


class Timed(Protocol):
    """A frame, or where to find it."""

    @property
    def index(self) -> int: ...
    @property
    def time(self) -> float: ...


TimedT = TypeVar("TimedT", bound=Timed)


@dataclass(frozen=True)
class ImageFile:
    """An image of a folder, not decoded yet."""

    index: int
    """Number of its frame."""
    time: float
    """Seconds from the start of the clip."""
    path: Path


def sequence_rate(sound: Path | None) -> float:
    """Images a second of a folder whose sound is in a file: that of the file's pictures, if it has any."""
    try:
        if sound is not None and kind(sound) == "video":
            with VideoReader(sound) as reader:
                return reader.info.average_rate
    except MediaError:  # the message about the sound comes where the sound is read
        pass
    return SEQUENCE_RATE


class ImageSequence:
    """The images of a folder as frames, ``rate`` a second, in natural order.

    ``numbers`` (images,), from 0 and ascending, are those of the frames, so that frames may be missing. Without them and with ``numbered``,
    it is the last number in an image's name; counted from 0 if an image has the number 0, else from 1. Without both, or where the names do
    not tell images apart, images are numbered from 0 without gaps. Unreadable images are left out, and :attr:`warning` names them.

    Raises:
        MediaError: there is no image in the folder, none that can be read, or not as many as numbers.
    """

    def __init__(self, folder: Path, *, rate: float, numbers: np.ndarray | None = None, numbered: bool = False) -> None:
        self.paths = images_of(folder)
        self.numbers = _numbers(self.paths) if numbered else list(range(len(self.paths)))
        if numbers is not None:
            self.numbers = numbers.tolist()
            if len(numbers) != len(self.paths):
                raise MediaError(
                    f"{folder}: the data set has {len(numbers)} frame numbers for its {len(self.paths)} images"
                )
        self.warning: str | None = None
        self._folder = folder
        self._rate = rate
        self._running: Generator[VideoFrame, None, None] | None = None

    def __enter__(self) -> ImageSequence:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.close()

    def files(self) -> Iterator[ImageFile]:
        for path, number in zip(self.paths, self.numbers, strict=True):
            yield ImageFile(number, number / self._rate, path)

    def __iter__(self) -> Iterator[VideoFrame]:
        self._running = prefetch(self._frames())
        return self._running

    def _frames(self) -> Iterator[VideoFrame]:
        troubles: list[str] = []
        for file in self.files():
            try:
                image = read_image(file.path)
            except MediaError as error:
                troubles.append(str(error))
                continue
            yield VideoFrame(file.index, file.time, image)
        self.warning = self.describe(troubles)

    def describe(self, troubles: Sequence[str]) -> str | None:
        """Words for the images that cannot be read; :class:`~pyemo.errors.MediaError` if these are all."""
        if troubles and len(troubles) == len(self.paths):
            raise MediaError(f"{self._folder}: none of its {len(troubles)} images can be read; {troubles[0]}")
        return (
            f"{len(troubles)} of {len(self.paths)} images cannot be read: {'; '.join(troubles[:3])}"
            if troubles
            else None
        )


def images_of(folder: Path) -> list[Path]:
    """The images in a folder, not below it, in natural order (frame2 before frame10)."""
    paths = [path for path in find_media([folder]) if path.parent == folder and kind(path) == "image"]
    if not paths:
        raise MediaError(f"{folder}: no image in this folder")
    return sorted(
        paths,
        key=lambda path: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)],
    )


def _numbers(paths: Sequence[Path]) -> list[int]:
    """The numbers of frames, from 0, that the names tell: see :class:`ImageSequence`."""
    found = [re.findall(r"\d+", path.stem) for path in paths]
    numbers = [int(digits[-1]) for digits in found if digits]
    if len(numbers) < len(paths) or any(a >= b for a, b in itertools.pairwise(numbers)):
        return list(range(len(paths)))
    first = 0 if numbers[0] == 0 else 1
    return [number - first for number in numbers]


class Parts(Generic[TimedT]):
    """Hands out the frames of one iteration part by part; parts in order of time, without overlap."""

    def __init__(self, frames: Iterable[TimedT]) -> None:
        self._frames = iter(frames)
        self._held: TimedT | None = None
        self.count = 0
        """Frames of the part handed out last."""

    def part(self, start: float, end: float) -> Iterator[TimedT]:
        """The frames shown at ``start`` seconds or later, and before ``end``."""
        self.count = 0
        while (frame := self._next()) is not None:
            if frame.time >= end:
                self._held = frame
                return
            if frame.time >= start:
                self.count += 1
                yield frame

    def _next(self) -> TimedT | None:
        frame, self._held = self._held, None
        return frame if frame is not None else next(self._frames, None)
