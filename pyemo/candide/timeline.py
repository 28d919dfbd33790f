"""Action units of the faces of a timeline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyemo.candide.fit import NEUTRAL_FRAMES, PRIOR, Expression, PersonalFace, personalise, track_expressions
from pyemo.candide.mesh import FaceMesh
from pyemo.candide.units import ACTION_UNITS
from pyemo.contracts import Detector, Face, LandmarkDetector
from pyemo.errors import PluginError

COLUMNS = (*(unit.name for unit in ACTION_UNITS), "yaw", "pitch", "roll", "fit_error")
"""The action units (0 at rest, 1 the whole movement), the head's turn in degrees (:attr:`pyemo.candide.pose.Pose.angles`), and the mean distance of
the fitted mesh from the landmarks, in distances between the eyes: above about 0.1 a row is not to be trusted."""


def landmark_detector(detector: Detector) -> LandmarkDetector:
    """The same detector, if it can mark 68 points in a known face.

    Raises:
        PluginError: it cannot.
    """
    if not isinstance(detector, LandmarkDetector):
        raise PluginError(
            f"action units need the 68 landmarks of a detector such as 'dlib-68' (its option 'detector' names the one that finds the faces); "
            f"a {type(detector).__name__} marks none in a known face"
        )
    return detector


class FaceLandmarks:
    """Landmarks of faces, gathered frame by frame in the order of a timeline's rows; about 600 bytes a face and frame.

    Args:
        detector: measures them.
    """

    def __init__(self, detector: LandmarkDetector) -> None:
        self._detector = detector
        self._tracks: list[int] = []
        self._landmarks: list[np.ndarray] = []

    def add(self, image: np.ndarray, tracks: Sequence[int], faces: Sequence[Face]) -> None:
        """The next frame: RGB uint8 (H, W, 3), with the number of each face's track.

        Raises:
            PluginError: the detector's landmarks are not 68.
        """
        for track, face in zip(tracks, self._detector.mark(image, faces), strict=True):
            points = np.full((68, 2), np.nan, np.float32) if face.landmarks is None else face.landmarks
            if points.shape != (68, 2):
                raise PluginError(f"{type(self._detector).__name__}: expected landmarks (68, 2), got {points.shape}")
            self._tracks.append(track)
            self._landmarks.append(points)

    @property
    def tracks(self) -> np.ndarray:
        """(rows,) int64."""
        return np.array(self._tracks, np.int64)

    @property
    def landmarks(self) -> np.ndarray:
        """(rows, 68, 2) float32 pixels; NaN where a face has none (it was too small)."""
        return np.array(self._landmarks, np.float32).reshape(-1, 68, 2)


def fit_tracks(
    mesh: FaceMesh,
    tracks: np.ndarray,
    landmarks: np.ndarray,
    *,
    neutral_frames: int = NEUTRAL_FRAMES,
    prior: float = PRIOR,
) -> list[Expression | None]:
    """Fit each track: its first frames with landmarks are taken for neutral, then each frame is fitted from the one before.

    A face that is not at rest in its first frames has its action units measured from there; in a still image they are what the shape units
    leave over.

    Args:
        mesh: Candide-3.
        tracks: (rows,) number of the track of each face, rows in order of time.
        landmarks: (rows, 68, 2) pixels, NaN where there are none.
        neutral_frames: how many first frames; 0: none, everybody has the shape of the mesh.
        prior: as in :mod:`pyemo.candide.fit`.

    Returns:
        One a row, None where it has no landmarks.
    """
    found: list[Expression | None] = [None] * len(tracks)
    for track in np.unique(tracks):
        rows = np.flatnonzero(tracks == track)
        rows = rows[~np.isnan(landmarks[rows]).any(axis=(1, 2))]
        if len(rows):
            face = (
                personalise(mesh, landmarks[rows[:neutral_frames]], prior=prior)
                if neutral_frames
                else PersonalFace.average(mesh)
            )
            for row, expression in zip(rows, track_expressions(face, landmarks[rows], prior=prior), strict=True):
                found[row] = expression
    return found


def action_unit_table(expressions: Sequence[Expression | None]) -> pd.DataFrame:
    """One row each with :data:`COLUMNS`, float32; NaN where there is no fit."""
    values = np.full((len(expressions), len(COLUMNS)), np.nan, np.float32)
    for row, expression in zip(values, expressions, strict=True):
        if expression is not None:
            row[:] = (*expression.action_units, *expression.pose.angles, expression.error)
    return pd.DataFrame(values, columns=list(COLUMNS))
