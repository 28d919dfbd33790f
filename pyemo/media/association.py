"""Which box of one frame is which box of another."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def box_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How unlike boxes are in place and size: (n, 4) and (m, 4) of centre x, centre y, width, height -> (n, m).

    The distance of the centres in units of the boxes' size (the geometric mean of all four sides) plus the absolute logarithm of the
    ratio of their sizes: 0 for equal boxes, about 1 for boxes side by side. Unlike intersection over union it still tells near from far
    where boxes no longer overlap.
    """
    size_a = np.sqrt(a[:, 2] * a[:, 3])[:, None]
    size_b = np.sqrt(b[:, 2] * b[:, 3])[None, :]
    centres = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=2)
    return centres / np.sqrt(size_a * size_b) + np.abs(np.log(size_a / size_b))


def assign(distance: np.ndarray, gate: np.ndarray | float) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total distance (Kuhn's Hungarian method), none of which is farther than ``gate``."""
    if distance.size == 0:
        return []
    # A pair beyond the gate costs more than any that is within, so it is taken only where nothing else is left.
    allowed = distance <= gate
    largest = float(distance[allowed].max(initial=1.0)) * (min(distance.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(allowed, distance, largest))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]
