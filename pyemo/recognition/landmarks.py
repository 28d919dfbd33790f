"""Models of the system ``candide-au`` on the faces of an input: they see landmarks, not crops."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pyemo.candide.mesh import FaceMesh
from pyemo.candide.timeline import FaceLandmarks, fit_tracks
from pyemo.candide_au.features import action_unit_features, landmark_features
from pyemo.contracts import Detector, Face
from pyemo.recognition.action_units import ActionUnits
from pyemo.recognition.pipeline import Analysis, CroppedFrame, Pipeline
from pyemo.recognition.stopwatch import Stopwatch
from pyemo.recognition.thumbnails import Thumbnail, ThumbnailKeeper
from pyemo.weights import LoadedCandideAu

_VIEWS = 32  # even; of each face, until its scores are known
_TELL_EVERY = 64  # frames


class LandmarkClassifier:
    """Landmarks of all frames in, probabilities out.

    With action units, a face's shape is taken from the first frames of its track (unless the recipe wants nobody's): an input does not say
    which of its pictures is neutral.

    Raises :class:`~pyemo.errors.AssetError` if the recipe's features are action units and the mesh has not been imported.
    """

    def __init__(self, loaded: LoadedCandideAu) -> None:
        self.labels = loaded.model.labels
        self._model = loaded.model
        self._mesh = FaceMesh.load() if loaded.recipe.features == "au" else None

    def __call__(self, tracks: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Tracks (rows,) and landmarks (rows, 68, 2), NaN where there are none -> (rows, labels) float32; rows sum to 1, or are NaN."""
        found = np.full((len(tracks), len(self.labels)), np.nan, np.float32)
        marked = ~np.isnan(landmarks).any(axis=(1, 2))
        if self._mesh is None:
            features = landmark_features(landmarks[marked])
        else:
            recipe = self._model.recipe
            frames = 0 if recipe.personalise == "none" else recipe.neutral_frames
            fits = fit_tracks(self._mesh, tracks[marked], landmarks[marked], neutral_frames=frames, prior=recipe.prior)
            features = action_unit_features([fit for fit in fits if fit])
        found[marked] = self._model.probabilities(features)
        return found


class LandmarkPipeline(Pipeline):
    """Finds and marks faces, and classifies them when all frames have passed; faces without landmarks get no row."""

    def __init__(
        self,
        detector: Detector,
        classifier: LandmarkClassifier,
        clock: Stopwatch,
        landmarks: FaceLandmarks,
        units: ActionUnits | None = None,
    ) -> None:
        super().__init__(detector, clock, landmarks, units)
        self._classifier = classifier
        self._gathered = landmarks

    def _crop(self, image: np.ndarray, faces: list[Face]) -> np.ndarray:
        return np.empty((len(faces), 0, 0, 0), np.uint8)

    def _classify(self, frames: Iterable[CroppedFrame], progress: Callable[[int], None] | None) -> Analysis:
        rows = array("d")
        views = _Views()
        count, first, last = 0, np.nan, np.nan
        for count, frame in enumerate(frames, start=1):
            first, last = (frame.start if count == 1 else first), frame.end
            for track in frame.tracks:
                if track in frame.views:
                    views.add(len(rows) // 3, track, frame.start, frame.views[track])
                rows.extend((frame.start, frame.end, track))
            if progress and count % _TELL_EVERY == 0:
                progress(count)
        with self._clock.measure("model"):
            scores = self._classifier(self._gathered.tracks, self._gathered.landmarks)
        decided = ~np.isnan(scores).any(axis=1)
        keeper = ThumbnailKeeper()
        for row, track, time, view in views:
            if decided[row]:
                best = int(scores[row].argmax())
                label = self._classifier.labels[best]
                keeper.offer(Thumbnail(track, time, label, float(scores[row, best]), view))
        timeline = self._timeline(self._classifier.labels, np.array(rows).reshape(-1, 3), scores, decided)
        return Analysis(timeline, count, last - first, keeper.thumbnails())


class _Views:
    """Pictures of each face, evenly spread over the frames that it was seen in, in bounded memory."""

    def __init__(self) -> None:
        self._kept: dict[int, list[tuple[int, int, float, np.ndarray]]] = {}
        self._seen: dict[int, int] = {}
        self._stride: dict[int, int] = {}

    def add(self, row: int, track: int, time: float, view: np.ndarray) -> None:
        kept = self._kept.setdefault(track, [])
        seen, stride = self._seen.get(track, 0), self._stride.get(track, 1)
        self._seen[track] = seen + 1
        if seen % stride:
            return
        if len(kept) == _VIEWS:
            del kept[1::2]
            self._stride[track] = 2 * stride
        kept.append((row, track, time, view))

    def __iter__(self) -> Iterator[tuple[int, int, float, np.ndarray]]:
        """Row, track, time and picture, by row."""
        return iter(sorted((one for kept in self._kept.values() for one in kept), key=lambda one: one[0]))
