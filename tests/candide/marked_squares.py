"""The squares of tests/synthetic.py with landmarks: their brightness says how far the jaw drops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from synthetic import LEVELS, SquareDetector
from synthetic_faces import pose_of, project

from pyemo.candide.mesh import FaceMesh
from pyemo.contracts import Face

JAW = dict(zip(LEVELS, np.linspace(0.0, 1.2, len(LEVELS))[[6, 1, 2, 3, 4, 5, 0]], strict=True))
"""Emotion -> jaw drop; neutral: 0."""
UNMARKED = 120
"""Faces that begin right of this x have no landmarks."""


class MarkedSquares(SquareDetector):
    def __init__(self, mesh: FaceMesh) -> None:
        self._landmarks = {
            level: project(mesh, pose_of(mesh, 5), units=(JAW[emotion], *(0,) * 7)).astype(np.float32)
            for emotion, level in LEVELS.items()
        }

    def mark(self, frame: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        return [Face(face.box, face.score, self._of(frame, face)) for face in faces]

    def _of(self, frame: np.ndarray, face: Face) -> np.ndarray | None:
        x, y, width, height = (round(value) for value in face.box)
        if x > UNMARKED:
            return None
        shown = float(frame[y : y + height, max(x, 0) : x + width].mean())
        return self._landmarks[min(self._landmarks, key=lambda level: abs(level - shown))]
