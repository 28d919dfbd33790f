"""Frames -> faces -> crops -> probabilities, the stages side by side in threads."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from pyemo.contracts import Detector, Face
from pyemo.media import TrackedFrame, VideoFrame, crop_faces, prefetch, track_faces
from pyemo.recognition.classifier import FaceClassifier
from pyemo.recognition.stopwatch import Stopwatch

_BATCH = 64  # crops; beyond it no faster, only more uneven
_AHEAD = 4 * _BATCH  # frames cropped ahead of the model; crops are small


@dataclass(frozen=True)
class CroppedFrame:
    """The faces of one frame, cut out."""

    start: float
    end: float
    """Seconds; NaN where there is no time."""
    tracks: list[int]
    crops: np.ndarray
    """(faces, channels, size, size) uint8."""


@dataclass(frozen=True)
class Analysis:
    timeline: pd.DataFrame
    """As in :class:`pyemo.recognition.result.Result`."""
    frames: int
    duration: float
    """Seconds; NaN where there is no time."""


class Pipeline:
    """Finds, crops and classifies faces; times its stages.

    ``clock`` gets ``detect`` (tracking included), ``crop``, ``model``, and ``wait``: how long detection waited for decoded frames.
    """

    def __init__(self, detector: Detector, classifier: FaceClassifier, clock: Stopwatch) -> None:
        self._detector = detector
        self._classifier = classifier
        self._clock = clock

    def image(self, image: np.ndarray) -> Analysis:
        """One picture, RGB uint8 (H, W, 3); faces are numbered from the surest detection on."""
        with self._clock.measure("detect"):
            faces = self._detector.detect([image])[0]
        return self._classify([CroppedFrame(np.nan, np.nan, list(range(len(faces))), self._crop(image, faces))], None)

    def video(
        self, frames: Iterable[VideoFrame], *, every: int, last_interval: float, progress: Callable[[int], None] | None
    ) -> Analysis:
        """Frames in order of time. ``last_interval``: seconds that the last frame is shown; NaN: times mean nothing, leave them out.

        ``progress`` is called with the number of frames done.
        """
        tracked = track_faces(self._clock.through("wait", frames), self._detector, every=every)
        cropped = prefetch(self._cut(self._clock.through("detect", tracked), last_interval), _AHEAD)
        with closing(cropped), _one_core_less():
            analysis = self._classify(cropped, progress)
        self._clock.seconds["detect"] -= self._clock.seconds["wait"]
        return analysis

    def _cut(self, tracked: Iterable[TrackedFrame], last_interval: float) -> Iterator[CroppedFrame]:
        timed = not np.isnan(last_interval)
        for current, following in _with_next(tracked):
            start, end = np.nan, np.nan
            if timed:
                start = current.frame.time
                end = following.frame.time if following else start + last_interval
            crops = self._crop(current.frame.image, [tracked_face.face for tracked_face in current.faces])
            yield CroppedFrame(start, end, [tracked_face.track for tracked_face in current.faces], crops)

    def _crop(self, image: np.ndarray, faces: list[Face]) -> np.ndarray:
        face_input = self._classifier.face_input
        with self._clock.measure("crop"):
            return crop_faces(
                image, faces, size=face_input.size, channels=face_input.channels, frame=self._detector.crop_frame
            )

    def _classify(self, frames: Iterable[CroppedFrame], progress: Callable[[int], None] | None) -> Analysis:
        # Growing arrays: results in pieces, allocated between the model's large temporaries, would keep those from being given back.
        rows, probabilities = array("d"), array("f")
        waiting: list[np.ndarray] = []
        count, first, last = 0, np.nan, np.nan
        for count, frame in enumerate(frames, start=1):
            first, last = (frame.start if count == 1 else first), frame.end
            for track in frame.tracks:
                rows.extend((frame.start, frame.end, track))
            waiting.extend(frame.crops)
            while len(waiting) >= _BATCH:
                probabilities.frombytes(self._run(waiting[:_BATCH]))
                del waiting[:_BATCH]
            if progress and count % _BATCH == 0:
                progress(count)
        if waiting:
            probabilities.frombytes(self._run(waiting))
        return Analysis(self._table(rows, probabilities), count, last - first)

    def _run(self, crops: list[np.ndarray]) -> bytes:
        """float32 probabilities, crop by crop."""
        with self._clock.measure("model"):
            return self._classifier(np.stack(crops)).tobytes()

    def _table(self, rows: array[float], probabilities: array[float]) -> pd.DataFrame:
        labels = self._classifier.labels
        columns = np.array(rows).reshape(-1, 3)
        scores = np.array(probabilities, np.float32).reshape(-1, len(labels))
        winners = np.array(labels, dtype=object)[scores.argmax(axis=1)]
        table = pd.DataFrame(
            {"start": columns[:, 0], "end": columns[:, 1], "face": columns[:, 2].astype(np.int64), "label": winners}
        )
        return table.assign(**{label: scores[:, position] for position, label in enumerate(labels)})


def _with_next(items: Iterable[TrackedFrame]) -> Iterator[tuple[TrackedFrame, TrackedFrame | None]]:
    iterator = iter(items)
    current = next(iterator, None)
    while current is not None:
        following = next(iterator, None)
        yield current, following
        current = following


@contextmanager
def _one_core_less() -> Iterator[None]:
    """Keeps one of PyTorch's threads from running, so that decoding and detection have a core of their own.

    Threads that wait for one another at the end of each layer, one of them without a core, would take several times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
