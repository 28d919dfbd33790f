"""What the built-in detectors do with frames before they search them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def check_frames(frames: Sequence[np.ndarray]) -> None:
    """Raises ValueError unless all are RGB uint8 (H, W, 3) of one size."""
    for frame in frames:
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or 0 in frame.shape:
            raise ValueError(f"a frame must be uint8 (H, W, 3), got {frame.dtype} {frame.shape}")
        if frame.shape != frames[0].shape:
            raise ValueError(f"all frames must have one size, got {frames[0].shape} and {frame.shape}")


def shrink_to(image: np.ndarray, max_side: int | None) -> tuple[np.ndarray, float]:
    """The image with its longer side at most ``max_side`` pixels, and the factor by which it was shrunk (1 if it was not)."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image, 1.0
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale
