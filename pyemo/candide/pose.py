"""Where a face is and how it is turned: scale, rotation and translation of an orthographic projection."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial.transform import Rotation


@dataclass(frozen=True)
class Pose:
    """A point P of the mesh appears at the x and y of ``scale * R @ P`` + ``translation``, in pixels (equation 15, projected)."""

    scale: float
    """Pixels for a length of 1 of the mesh."""
    rotation: np.ndarray
    """(3,) float64: axis times angle in radians (equation 22); zero for a face that looks straight into the camera."""
    translation: np.ndarray
    """(2,) float64, pixels."""

    @property
    def matrix(self) -> np.ndarray:
        """R, (3, 3), by the formula of Rodrigues (equation 22)."""
        return cv2.Rodrigues(self.rotation)[0]

    @property
    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees, R = Ry(yaw) Rx(pitch) Rz(roll): positive yaw turns the nose to the picture's left, positive pitch
        down, positive roll turns the head clockwise in the picture."""
        yaw, pitch, roll = Rotation.from_rotvec(self.rotation).as_euler("YXZ", degrees=True)
        return float(yaw), float(pitch), float(roll)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the mesh -> (..., 2) pixels."""
        return self.scale * points @ self.matrix[:2].T + self.translation
