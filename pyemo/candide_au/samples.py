"""A data set as vectors of features: a sample for each image, and for each frame of a clip that shows a face."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pyemo import plugins
from pyemo.candide.fit import PersonalFace, personalise, track_expressions
from pyemo.candide.mesh import FaceMesh
from pyemo.candide.timeline import landmark_detector
from pyemo.candide_au.features import ACTION_UNIT_FEATURES, LANDMARK_FEATURES, action_unit_features, landmark_features
from pyemo.candide_au.measuring import Input, Landmarks, Progress, measure
from pyemo.config.candide_au import CandideAuRecipe
from pyemo.contracts import Manifest
from pyemo.errors import DataError


@dataclass(frozen=True)
class Samples:
    features: np.ndarray
    """(N, F) float32."""
    rows: np.ndarray
    """(N,) int64, position of each sample's row among the rows that were asked for."""
    problems: tuple[str, ...] = ()
    """Each row without a sample, and why."""

    def of(self, chosen: np.ndarray) -> Samples:
        """The samples of the rows where ``chosen`` (rows,) is true; rows keep their positions."""
        kept = chosen[self.rows]
        return Samples(self.features[kept], self.rows[kept])


def read_samples(
    manifest: Manifest, recipe: CandideAuRecipe, *, file: Path | None = None, progress: Progress | None = None
) -> Samples:
    """Measure landmarks in every row of a manifest and make the recipe's features of them.

    Args:
        manifest: of any data set of images or clips; a column ``neutral`` may name an image of the same person at rest.
        recipe: the features, and from what a face's shape is taken.
        file: keeps the landmarks, so that an interrupted run goes on and a second one need not measure again.
        progress: called with the inputs done and in all.

    Raises:
        PluginError: the recipe's detector is unknown or does not mark 68 points.
        AssetError: the detector's model or, for action units, the mesh is absent.
    """
    table = manifest.table
    mesh = FaceMesh.load() if recipe.features == "au" else None
    detector = landmark_detector(plugins.create("detectors", recipe.detector.name, **recipe.detector.options))
    inputs = [_input(row, position, manifest) for position, row in enumerate(table.to_dict("records"))]
    needs_neutral = mesh is not None and recipe.personalise == "neutral" and "neutral" in table
    neutral_paths = [str(path) for path in table["neutral"].dropna().unique()] if needs_neutral else []
    landmarks = measure(
        [*inputs, *(Input(path) for path in neutral_paths)],
        detector,
        settings=repr((recipe.detector.name, recipe.detector.options)),
        file=file,
        progress=progress,
    )
    rows = np.repeat(np.arange(len(inputs)), [len(points) for points in landmarks.points[: len(inputs)]])
    problems = [
        f"{source.path}: {problem}" for source, problem in zip(inputs, landmarks.problems, strict=False) if problem
    ]
    if mesh is None:
        parts = [landmark_features(points) for points in landmarks.points]
        empty = np.empty((0, LANDMARK_FEATURES), np.float32)
    else:
        neutral = {path: landmarks.points[len(inputs) + index] for index, path in enumerate(neutral_paths)}
        shapes = _Shapes(mesh, recipe, table, landmarks, neutral)
        parts = [
            action_unit_features([fit for fit in track_expressions(shapes.of(row), points, prior=recipe.prior) if fit])
            for row, points in enumerate(landmarks.points[: len(inputs)])
            if len(points)
        ]
        empty = np.empty((0, ACTION_UNIT_FEATURES), np.float32)
    return Samples(np.concatenate([empty, *parts[: len(inputs)]]), rows, tuple(problems))


def class_indices(manifest: Manifest, recipe: CandideAuRecipe) -> np.ndarray:
    """(rows,) int64: the position of each row's label among the recipe's; -1 for labels that the recipe leaves out.

    Raises:
        DataError: no row has a label of the recipe.
    """
    index = {label: position for position, label in enumerate(recipe.labels)}
    found = np.array([index.get(label, -1) for label in manifest.table["label"]], np.int64)
    if not (found >= 0).any():
        labels = sorted({str(label) for label in manifest.table["label"]})
        raise DataError(
            f"no row has one of the recipe's labels {', '.join(recipe.labels)}; the data set has {', '.join(labels) or 'none'}"
        )
    return found


def _input(row: Mapping[Hashable, object], position: int, manifest: Manifest) -> Input:
    start, end = (float(str(row.get(name, "nan"))) for name in ("start", "end"))
    return Input(str(row["path"]), start, end, None if manifest.images is None else manifest.images[position])


class _Shapes:
    """Whose shape a row's face has."""

    def __init__(
        self,
        mesh: FaceMesh,
        recipe: CandideAuRecipe,
        table: pd.DataFrame,
        landmarks: Landmarks,
        neutral: dict[str, np.ndarray],
    ) -> None:
        self._mesh, self._recipe = mesh, recipe
        self._points = landmarks.points
        self._neutral = neutral
        self._paths = list(table["neutral"]) if "neutral" in table else [None] * len(table)
        self._subjects = list(table["subject"])
        self._of_subject: dict[str, list[np.ndarray]] = defaultdict(list)
        for row, (subject, label) in enumerate(zip(self._subjects, table["label"], strict=True)):
            if isinstance(subject, str) and label == recipe.neutral_label and len(self._points[row]):
                self._of_subject[subject].append(self._points[row])
        self._made: dict[str, PersonalFace] = {}

    def of(self, row: int) -> PersonalFace:
        if self._recipe.personalise == "none":
            return PersonalFace.average(self._mesh)
        if self._recipe.personalise == "neutral":
            path, subject = self._paths[row], self._subjects[row]
            if isinstance(path, str) and len(self._neutral[path]):
                return self._shared(f"image {path}", self._neutral[path])
            if isinstance(subject, str) and self._of_subject[subject]:
                return self._shared(f"subject {subject}", np.concatenate(self._of_subject[subject]))
        return self._personal(self._points[row])

    def _shared(self, key: str, points: np.ndarray) -> PersonalFace:
        if key not in self._made:
            self._made[key] = self._personal(points)
        return self._made[key]

    def _personal(self, points: np.ndarray) -> PersonalFace:
        return personalise(self._mesh, points[: self._recipe.neutral_frames], prior=self._recipe.prior)
