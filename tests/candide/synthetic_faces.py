"""Faces of known shape, turn and action units."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from pyemo.candide.mesh import FaceMesh
from pyemo.candide.pose import Pose
from pyemo.candide.units import LANDMARKS, VERTICES

FACE_WIDTH = 200.0  # pixels


def pose_of(mesh: FaceMesh, yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> Pose:
    """Turned by so many degrees, the face 200 pixels wide."""
    turn = Rotation.from_euler("YXZ", (yaw, pitch, roll), degrees=True)
    return Pose(FACE_WIDTH / float(np.ptp(mesh.vertices[:, 0])), turn.as_rotvec(), np.array((310.0, 240.0)))


def project(mesh: FaceMesh, pose: Pose, shape=(0,) * 7, units=(0,) * 8) -> np.ndarray:
    """(68, 2) landmarks of a face; those without a vertex lie in the middle of the others."""
    points = np.empty((68, 2))
    deformed = mesh.shaped(np.asarray(shape)) + np.tensordot(np.asarray(units, float), mesh.action_units, axes=1)
    points[:] = pose.project(deformed[VERTICES].mean(axis=0))
    points[LANDMARKS] = pose.project(deformed[VERTICES])
    return points


def turn_between(a: Pose, b: Pose) -> float:
    """Degrees."""
    return float(np.degrees(Rotation.from_matrix(a.matrix @ b.matrix.T).magnitude()))
