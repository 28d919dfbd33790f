"""Faces in images, videos and image sequences."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pyemo.errors import MediaError
from pyemo.media import VideoFrame, VideoReader, find_media, kind, prefetch, read_image
from pyemo.recognition.pipeline import Analysis, Pipeline
from pyemo.recognition.result import Kind
from pyemo.recognition.stopwatch import Stopwatch

_SEQUENCE_RATE = 25.0  # images a second, for the tracker only: it bridges gaps of so many seconds. Results of sequences have no times.

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


class FaceAnalyser:
    """A detector, a tracker and a face model, on whatever can be seen.

    Args:
        pipeline: makes, for an input, what finds and classifies its faces, with the clock that times it.
        every: in videos the detector looks at every ``every``-th frame.
    """

    def __init__(self, pipeline: Callable[[Stopwatch], Pipeline], every: int) -> None:
        self._pipeline, self._every = pipeline, every

    def analyse(
        self, source: Path | np.ndarray, clock: Stopwatch, progress: Progress | None
    ) -> tuple[Kind, Analysis, list[str]]:
        """What kind of input it is, what was seen, and what is wrong with it though it could be read.

        Raises:
            MediaError: the source is not there, cannot be decoded, or is a sound.
            ValueError: an array of another shape or dtype.
        """
        pipeline = self._pipeline(clock)
        if isinstance(source, np.ndarray):
            if source.ndim != 3 or source.shape[2] != 3 or not source.size or source.dtype != np.uint8:
                raise ValueError(f"expected an RGB image, uint8 (H, W, 3), got {source.dtype} {source.shape}")
            return "image", pipeline.image(source), []
        path = source
        if path.is_dir():
            return self._sequence(path, pipeline, clock, progress)
        medium = kind(path)
        if medium == "image":
            with clock.measure("decode"):
                image = read_image(path)
            return "image", pipeline.image(image), []
        if medium == "video":
            with VideoReader(path) as reader:
                analysis = pipeline.video(
                    reader,
                    every=self._every,
                    last_interval=1 / reader.info.average_rate,
                    progress=_shares(progress, reader.info.frame_count),
                )
                clock.seconds["decode"] = reader.decode_seconds
                return "video", analysis, [reader.warning] if reader.warning else []
        raise MediaError(f"{path}: a sound has no faces; expected an image or a video")

    def _sequence(
        self, folder: Path, pipeline: Pipeline, clock: Stopwatch, progress: Progress | None
    ) -> tuple[Kind, Analysis, list[str]]:
        media = find_media([folder])
        paths = sorted((path for path in media if path.parent == folder and kind(path) == "image"), key=_natural)
        if not paths:
            raise MediaError(f"{folder}: no image in this folder")
        troubles: list[str] = []

        def frames() -> Iterator[VideoFrame]:
            index = 0
            for path in paths:
                try:
                    with clock.measure("decode"):
                        image = read_image(path)
                except MediaError as error:
                    troubles.append(f"left out: {error}")
                    continue
                yield VideoFrame(index, index / _SEQUENCE_RATE, image)
                index += 1

        analysis = pipeline.video(
            prefetch(frames()), every=self._every, last_interval=math.nan, progress=_shares(progress, len(paths))
        )
        if not analysis.frames:
            raise MediaError(f"{folder}: none of its {len(paths)} images can be read; {troubles[0]}")
        return "sequence", analysis, troubles


def _shares(progress: Progress | None, expected: int | None) -> Callable[[int], None] | None:
    if progress is None or not expected:
        return None
    return lambda done: progress(min(done / expected, 1.0))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
