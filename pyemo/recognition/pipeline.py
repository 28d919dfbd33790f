"""Frames -> faces -> crops -> probabilities, the stages side by side in threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from pyemo.contracts import Detector, Face
from pyemo.media import TrackedFrame, VideoFrame, crop_faces, prefetch, track_faces
from pyemo.recognition.classifier import FaceClassifier
from pyemo.recognition.stopwatch import Stopwatch
from pyemo.recognition.thumbnails import EVERY, MARGIN, SIDE, Thumbnail, ThumbnailKeeper
from pyemo.recognition.timeline import timeline_rows

if TYPE_CHECKING:
    from pyemo.candide.timeline import FaceLandmarks
    from pyemo.recognition.action_units import ActionUnits

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
    views: dict[int, np.ndarray] = field(default_factory=dict)
    """Of some tracks, a picture that could become a thumbnail."""


@dataclass(frozen=True)
class Analysis:
    timeline: pd.DataFrame
    """As in :class:`pyemo.recognition.result.Result`."""
    frames: int
    duration: float
    """Seconds; NaN where there is no time."""
    thumbnails: tuple[Thumbnail, ...] = ()


class Pipeline(ABC):
    """Finds faces; subclasses classify them. Times its stages. For one input.

    Args:
        detector: finds the faces.
        clock: gets ``detect`` (tracking included), ``crop``, ``model``, ``landmarks`` (the fit of action units included), and ``wait``: how
            long detection waited for decoded frames.
        landmarks: gathers those of all faces, in the order of rows; empty.
        units: with ``landmarks``, adds their columns to the timeline.
    """

    def __init__(
        self,
        detector: Detector,
        clock: Stopwatch,
        landmarks: FaceLandmarks | None = None,
        units: ActionUnits | None = None,
    ) -> None:
        self._detector = detector
        self._clock = clock
        self._landmarks = landmarks
        self._units = units

    def image(self, image: np.ndarray) -> Analysis:
        """One picture, RGB uint8 (H, W, 3); faces are numbered from the surest detection on."""
        with self._clock.measure("detect"):
            faces = self._detector.detect([image])[0]
        numbers = list(range(len(faces)))
        self._mark(image, numbers, faces)
        views = self._views(image, dict(enumerate(faces)))
        return self._classify([CroppedFrame(np.nan, np.nan, numbers, self._crop(image, faces), views)], None)

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
        seen: Counter[int] = Counter()
        for current, following in _with_next(tracked):
            start, end = np.nan, np.nan
            if timed:
                start = current.frame.time
                end = following.frame.time if following else start + last_interval
            faces = {tracked_face.track: tracked_face.face for tracked_face in current.faces}
            shown = {track: face for track, face in faces.items() if seen[track] % EVERY == 0}
            seen.update(faces.keys())
            image = current.frame.image
            self._mark(image, list(faces), list(faces.values()))
            yield CroppedFrame(
                start, end, list(faces), self._crop(image, list(faces.values())), self._views(image, shown)
            )

    def _mark(self, image: np.ndarray, tracks: list[int], faces: list[Face]) -> None:
        if self._landmarks is not None:
            with self._clock.measure("landmarks"):
                self._landmarks.add(image, tracks, faces)

    @abstractmethod
    def _crop(self, image: np.ndarray, faces: list[Face]) -> np.ndarray:
        """What the model sees of each face, uint8 (faces, channels, size, size)."""

    @abstractmethod
    def _classify(self, frames: Iterable[CroppedFrame], progress: Callable[[int], None] | None) -> Analysis:
        """Take all frames; ``progress`` as in :meth:`video`."""

    def _timeline(
        self, labels: tuple[str, ...], rows: np.ndarray, scores: np.ndarray, kept: np.ndarray | None = None
    ) -> pd.DataFrame:
        """Rows (N, 3) and scores (N, labels) of all faces, or of those where ``kept`` (N,) is true, with their action units if wanted."""
        chosen = np.ones(len(rows), bool) if kept is None else kept
        table = timeline_rows(labels, rows[chosen], scores[chosen])
        if self._units is None or self._landmarks is None:
            return table
        with self._clock.measure("landmarks"):
            units = self._units.table(self._landmarks)[chosen].reset_index(drop=True)
        return pd.concat([table, units], axis=1)

    def _views(self, image: np.ndarray, faces: dict[int, Face]) -> dict[int, np.ndarray]:
        """What a thumbnail would show of each face."""
        with self._clock.measure("crop"):
            crops = crop_faces(
                image,
                list(faces.values()),
                size=SIDE,
                channels=3,
                frame=self._detector.crop_frame,
                margin=MARGIN,
            )
        # A copy each: a slice would keep all of them.
        return {track: crop.transpose(1, 2, 0).copy() for track, crop in zip(faces, crops, strict=True)}


class CropPipeline(Pipeline):
    """Crops faces and classifies the crops, while further frames come. Arguments: :class:`Pipeline`."""

    def __init__(
        self,
        detector: Detector,
        classifier: FaceClassifier,
        clock: Stopwatch,
        landmarks: FaceLandmarks | None = None,
        units: ActionUnits | None = None,
    ) -> None:
        super().__init__(detector, clock, landmarks, units)
        self._classifier = classifier

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
        candidates: deque[tuple[int, int, float, np.ndarray]] = deque()  # row, track, time, picture
        keeper = ThumbnailKeeper()
        count, first, last = 0, np.nan, np.nan
        for count, frame in enumerate(frames, start=1):
            first, last = (frame.start if count == 1 else first), frame.end
            for track in frame.tracks:
                if track in frame.views:
                    candidates.append((len(rows) // 3, track, frame.start, frame.views[track]))
                rows.extend((frame.start, frame.end, track))
            waiting.extend(frame.crops)
            while len(waiting) >= _BATCH:
                probabilities.frombytes(self._run(waiting[:_BATCH]))
                del waiting[:_BATCH]
                self._keep_surest(keeper, candidates, probabilities)
            if progress and count % _BATCH == 0:
                progress(count)
        if waiting:
            probabilities.frombytes(self._run(waiting))
            self._keep_surest(keeper, candidates, probabilities)
        labels = self._classifier.labels
        scores = np.array(probabilities, np.float32).reshape(-1, len(labels))
        timeline = self._timeline(labels, np.array(rows).reshape(-1, 3), scores)
        return Analysis(timeline, count, last - first, keeper.thumbnails())

    def _keep_surest(
        self,
        keeper: ThumbnailKeeper,
        candidates: deque[tuple[int, int, float, np.ndarray]],
        probabilities: array[float],
    ) -> None:
        """Offers the candidates whose rows have been classified."""
        labels = self._classifier.labels
        while candidates and (candidates[0][0] + 1) * len(labels) <= len(probabilities):
            row, track, time, view = candidates.popleft()
            scores = probabilities[row * len(labels) : (row + 1) * len(labels)]
            score = max(scores)
            keeper.offer(Thumbnail(track, time, labels[scores.index(score)], score, view))

    def _run(self, crops: list[np.ndarray]) -> bytes:
        """float32 probabilities, crop by crop."""
        with self._clock.measure("model"):
            return self._classifier(np.stack(crops)).tobytes()


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
