"""What follows from a face's landmarks, whichever of the two schemes they are in."""

from __future__ import annotations

import numpy as np


def eye_centres(landmarks: np.ndarray) -> np.ndarray:
    """(5, 2) or (68, 2) landmarks as :class:`pyemo.contracts.Face` has them -> (2, 2): the person's right eye and left eye.

    Of 68 landmarks an eye's centre is the mean of its six.

    Raises:
        ValueError: another shape.
    """
    if landmarks.shape == (5, 2):
        return landmarks[:2]
    if landmarks.shape == (68, 2):
        return landmarks[36:48].reshape(2, 6, 2).mean(axis=1)
    raise ValueError(f"landmarks must be (5, 2) or (68, 2), got {landmarks.shape}")
