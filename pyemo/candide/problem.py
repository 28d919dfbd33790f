"""The least-squares problem of the fit: equation 21 with its derivatives, for one frame or for several that share their coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from pyemo.candide.pose import Pose

POSE = 6
"""Parameters of a pose: scale, three of the rotation, two of the translation."""


@dataclass(frozen=True)
class Solution:
    poses: list[Pose]
    """One a frame."""
    coefficients: np.ndarray
    """(K,) float64."""
    residuals: np.ndarray
    """(frames, points, 2) float64: projected minus marked, pixels."""
    evaluations: int
    """Of the error function."""
    iterations: int
    """Of the Jacobian: the steps of Levenberg-Marquardt that were taken."""
    converged: bool
    """Whether a tolerance was met before the evaluations ran out."""


def initial_pose(rest: np.ndarray, marked: np.ndarray) -> Pose:
    """The closed-form start: identity rotation, the scale of equation 18 and the translation of equation 20.

    Args:
        rest: (N, 3) points of the mesh.
        marked: (N, 2) where they are in the picture, pixels.
    """
    shape, points = rest[:, :2] - rest[:, :2].mean(axis=0), marked - marked.mean(axis=0)
    scale = float((shape * points).sum() / (shape * shape).sum())
    return Pose(scale, np.zeros(3), marked.mean(axis=0) - scale * rest[:, :2].mean(axis=0))


class LandmarkProblem:
    """Where N points of a mesh with K deformations should come to lie in F frames, each with a pose of its own.

    The parameters are, in this order, scale, rotation and translation of each frame, then the K coefficients common to all.

    Args:
        rest: (N, 3), the points undeformed.
        units: (K, N, 3), what a coefficient of 1 adds.
        marked: (F, N, 2), pixels.
        prior: pixels; ``prior`` times each coefficient is a further residual, which draws the coefficients to 0. 0 is equation 21 itself.
    """

    def __init__(self, rest: np.ndarray, units: np.ndarray, marked: np.ndarray, prior: float = 0.0) -> None:
        self._rest = rest
        self._units = units
        self._marked = marked
        self._prior = prior

    def start(self, poses: list[Pose], coefficients: np.ndarray) -> np.ndarray:
        """The parameters as one vector, (6 F + K,)."""
        parts = [value for pose in poses for value in ((pose.scale,), pose.rotation, pose.translation)]
        return np.concatenate([*parts, coefficients])

    def residuals(self, parameters: np.ndarray) -> np.ndarray:
        """(2 F N [+ K],)"""
        poses, coefficients = self._split(parameters)
        deformed = self._rest + np.tensordot(coefficients, self._units, axes=1)
        projected = [scale * deformed @ rotation[:2].T + shift for scale, rotation, _, shift in poses]
        misses = (np.stack(projected) - self._marked).ravel()
        return np.concatenate((misses, self._prior * coefficients)) if self._prior else misses

    def jacobian(self, parameters: np.ndarray) -> np.ndarray:
        """(2 F N [+ K], 6 F + K)"""
        poses, coefficients = self._split(parameters)
        frames, points = self._marked.shape[:2]
        deformed = self._rest + np.tensordot(coefficients, self._units, axes=1)
        jacobian = np.zeros((frames, points, 2, len(parameters)))
        for frame, (scale, rotation, derivative, _) in enumerate(poses):
            block = jacobian[frame, :, :, POSE * frame : POSE * (frame + 1)]
            block[..., 0] = deformed @ rotation[:2].T
            block[..., 1:4] = scale * np.einsum("kij,nj->nik", derivative[:, :2], deformed)
            block[:, 0, 4] = block[:, 1, 5] = 1
            jacobian[frame, :, :, POSE * frames :] = scale * (self._units @ rotation[:2].T).transpose(1, 2, 0)
        rows = jacobian.reshape(-1, len(parameters))
        if not self._prior:
            return rows
        prior = np.zeros((len(coefficients), len(parameters)))
        prior[:, POSE * frames :] = self._prior * np.eye(len(coefficients))
        return np.concatenate((rows, prior))

    def solve(self, start: np.ndarray, *, tolerance: float = 1e-6, evaluations: int = 200) -> Solution:
        """Levenberg-Marquardt (MINPACK's, through SciPy) from ``start``.

        Args:
            start: as :meth:`start` gives it.
            tolerance: it ends when a step would change the squared error, or the scaled parameters, by less than this share.
            evaluations: at most so many of the error function.
        """
        found = least_squares(
            self.residuals,
            start,
            self.jacobian,
            method="lm",
            x_scale="jac",
            ftol=tolerance,
            xtol=tolerance,
            gtol=tolerance,
            max_nfev=evaluations,
        )
        poses, coefficients = self._split(found.x)
        return Solution(
            [
                Pose(scale, found.x[POSE * frame + 1 : POSE * frame + 4], shift)
                for frame, (scale, _, _, shift) in enumerate(poses)
            ],
            coefficients,
            found.fun[: self._marked.size].reshape(self._marked.shape),
            found.nfev,
            found.njev,
            found.status > 0,
        )

    def _split(
        self, parameters: np.ndarray
    ) -> tuple[list[tuple[float, np.ndarray, np.ndarray, np.ndarray]], np.ndarray]:
        """Scale, R, dR/dw (3, 3, 3) and translation of each frame, and the coefficients."""
        count = POSE * len(self._marked)
        poses = []
        for scale, *rest in parameters[:count].reshape(-1, POSE):
            rotation, derivative = cv2.Rodrigues(np.array(rest[:3]))
            poses.append((float(scale), rotation, derivative.reshape(3, 3, 3), np.array(rest[3:])))
        return poses, parameters[count:]
