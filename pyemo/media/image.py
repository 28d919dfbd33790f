"""Still images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pyemo.errors import MediaError
from pyemo.media.container import check_file

_JPEG_MAGIC = b"\xff\xd8"


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image as RGB, uint8 (H, W, 3), upright as its EXIF orientation says.

    Grey images get three equal channels, 16-bit images are scaled to 8 bits, transparent pixels are laid over white.
    Raises :class:`~pyemo.errors.MediaError` if there is no such file or it cannot be decoded.
    """
    path = Path(path)
    check_file(path, "an image")
    encoded = np.fromfile(path, dtype=np.uint8)
    try:
        image = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        alpha = None if encoded[:2].tobytes() == _JPEG_MAGIC else _alpha(encoded)
    except cv2.error as error:
        raise MediaError(f"{path}: cannot be decoded as an image ({error.err})") from error
    if image is None:
        raise MediaError(f"{path}: cannot be decoded as an image")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if alpha is not None and alpha.shape == image.shape[:2]:
        opacity = alpha[..., None].astype(np.float32)
        image = (image * opacity + 255.0 * (1 - opacity) + 0.5).astype(np.uint8)
    return image


def _alpha(encoded: np.ndarray) -> np.ndarray | None:
    """The opacity (H, W) in [0, 1], None where the image has no transparent pixel."""
    image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        return None
    largest = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}.get(image.dtype, 1)
    alpha = image[..., 3]
    return None if (alpha == largest).all() else alpha.astype(np.float32) / largest
