"""From landmarks to the vectors that the classifiers see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyemo.candide.fit import Expression
from pyemo.candide.units import ACTION_UNITS
from pyemo.media.landmarks import eye_centres

LANDMARK_FEATURES, ACTION_UNIT_FEATURES = 2 * 68, len(ACTION_UNITS)


def landmark_features(landmarks: np.ndarray) -> np.ndarray:
    """(N, 68, 2) pixels -> (N, 136) float32: x1, y1, x2, ... with the eyes' centres at (-0.5, 0) and (0.5, 0).

    The thesis feeds the points as they are. That would mostly tell where in the picture a face is and how large, so place, size and roll are
    taken out here; what the face does stays.
    """
    points = np.empty((len(landmarks), 68, 2), np.float32)
    for row, marked in zip(points, landmarks.astype(np.float64), strict=True):
        right, left = eye_centres(marked)
        # As complex numbers, dividing by the vector from eye to eye undoes size and roll at once.
        across = complex(*(left - right))
        turned = ((marked - (right + left) / 2) @ (1, 1j)) / across
        row[:, 0], row[:, 1] = turned.real, turned.imag
    return points.reshape(-1, LANDMARK_FEATURES)


def action_unit_features(expressions: Sequence[Expression]) -> np.ndarray:
    """(N, 8) float32, in the order of :data:`~pyemo.candide.units.ACTION_UNITS`."""
    units = [expression.action_units for expression in expressions]
    return np.array(units, np.float32).reshape(-1, ACTION_UNIT_FEATURES)
