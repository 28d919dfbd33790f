"""Candide-3 drawn over a face, to see whether a fit is right."""

from __future__ import annotations

import cv2
import numpy as np

from pyemo.candide.fit import Expression, PersonalFace
from pyemo.candide.units import LANDMARKS, VERTICES

MESH, MARKED, FITTED = (0, 200, 255), (255, 220, 0), (255, 0, 120)
"""RGB of the mesh, of the landmarks and of their vertices; apart in lightness too, for people who see colours alike."""
_SHIFT = 4  # OpenCV draws in steps of 1/16 pixel


def draw_fit(
    image: np.ndarray, face: PersonalFace, expression: Expression, landmarks: np.ndarray | None = None
) -> np.ndarray:
    """A copy of the image with the mesh, the landmarks that the fit used (discs) and the vertices that belong to them (rings).

    Args:
        image: RGB uint8 (H, W, 3).
        face: the person.
        expression: the fit to this image.
        landmarks: (68, 2) pixels; None leaves them out.

    Returns:
        RGB uint8 (H, W, 3). Triangles that look away from the viewer are not drawn.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    points = expression.pose.project(expression.vertices(face))
    triangles = points[face.mesh.faces[_towards_viewer(face, expression)]]
    drawn = image.copy()
    width = max(1, round(expression.pose.scale / 250))
    cv2.polylines(drawn, list(_fixed(triangles)), True, MESH, width, cv2.LINE_AA, _SHIFT)
    radius = max(1.5, expression.pose.scale / 90)
    if landmarks is not None:
        for point in _fixed(landmarks[LANDMARKS]):
            cv2.circle(drawn, point.tolist(), round(radius * 2**_SHIFT), MARKED, cv2.FILLED, cv2.LINE_AA, _SHIFT)
    for point in _fixed(points[VERTICES]):
        cv2.circle(drawn, point.tolist(), round(1.6 * radius * 2**_SHIFT), FITTED, width, cv2.LINE_AA, _SHIFT)
    return drawn


def _towards_viewer(face: PersonalFace, expression: Expression) -> np.ndarray:
    """(F,) boolean. Files list the corners in either order, so each triangle is compared with itself on a face that looks straight ahead."""
    turned = expression.vertices(face) @ expression.pose.matrix.T
    return _areas(turned, face.mesh.faces) * _areas(face.mesh.vertices, face.mesh.faces) > 0


def _areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) twice the signed area in the picture."""
    a, b, c = vertices[faces, :2].transpose(1, 0, 2)
    (ab_x, ab_y), (ac_x, ac_y) = (b - a).T, (c - a).T
    areas: np.ndarray = ab_x * ac_y - ab_y * ac_x
    return areas


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_SHIFT).astype(np.int32)
