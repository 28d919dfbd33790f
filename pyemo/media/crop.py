"""Square, upright face crops for the models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from pyemo.contracts import CropFrame, Face
from pyemo.media.landmarks import eye_centres


def crop_faces(
    image: np.ndarray, faces: Sequence[Face], *, size: int, channels: int = 1, frame: CropFrame, margin: float = 1.0
) -> np.ndarray:
    """Cuts the faces out of an image as FER2013 frames them: (n, channels, size, size) uint8, n the number of faces.

    Args:
        image: RGB, uint8 (H, W, 3).
        faces: what a detector found in it. With landmarks, a crop is turned so that the eyes are level.
        size: side of a crop in pixels.
        channels: 1 for grey (ITU-R BT.601 luma) or 3 for RGB.
        frame: ``crop_frame`` of the detector that found the faces.
        margin: factor on the side of the square; above 1 shows more around the face.

    Each pixel of a crop is the mean of the area it covers, as far as it is smaller than in the image, else interpolated linearly. Beyond
    the image its border is repeated.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if channels not in (1, 3):
        raise ValueError(f"channels must be 1 or 3, got {channels}")
    if size < 1 or not margin > 0:
        raise ValueError(f"size and margin must be positive, got {size} and {margin}")
    crops = np.empty((len(faces), channels, size, size), np.uint8)
    for crop, face in zip(crops, faces, strict=True):
        patch = _crop(image, face, size, channels, frame, margin)
        crop[...] = patch if channels == 1 else patch.transpose(2, 0, 1)
    return crops


def _crop(image: np.ndarray, face: Face, size: int, channels: int, frame: CropFrame, margin: float) -> np.ndarray:
    x, y, width, height = face.box
    if not (width > 0 and height > 0 and math.isfinite(x + y + width + height)):
        raise ValueError(f"a face's box needs a finite position and a positive width and height, got {face.box}")
    side = frame.scale * margin * math.sqrt(width * height)
    # The offset is one of the face, so it turns with it about the centre of the box.
    roll = _roll(face)
    cos, sin = math.cos(roll), math.sin(roll)
    shift_x, shift_y = frame.dx * width, frame.dy * height
    centre_x = x + width / 2 + cos * shift_x - sin * shift_y
    centre_y = y + height / 2 + sin * shift_x + cos * shift_y

    reach = math.ceil(side / 2 * (abs(cos) + abs(sin))) + 2
    left, top = math.floor(centre_x) - reach, math.floor(centre_y) - reach
    region = _region(image, left, top, 2 * reach + 1)
    if channels == 1:
        region = cv2.cvtColor(region, cv2.COLOR_RGB2GRAY)
    # Warping looks at four neighbours only: what is larger than the crop is averaged down to twice its size before, for speed and against
    # aliasing, and from twice its size after, against the blur of interpolation.
    warped = size if side <= size else 2 * size
    if side > warped:
        shrunken = round(len(region) * warped / side)
        shrink = shrunken / len(region)
        region = cv2.resize(region, (shrunken, shrunken), interpolation=cv2.INTER_AREA)
    else:
        shrink = 1.0
    # From the centres of the crop's pixels to those of the region's.
    a, b = (shrink * side / warped * value for value in (cos, sin))
    middle = (warped - 1) / 2
    to_x = (centre_x - left) * shrink - 0.5 - (a - b) * middle
    to_y = (centre_y - top) * shrink - 0.5 - (b + a) * middle
    crop = cv2.warpAffine(
        region,
        np.array(((a, -b, to_x), (b, a, to_y))),
        (warped, warped),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop if warped == size else cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)


def _roll(face: Face) -> float:
    """Angle of the line from the right to the left eye (the person's own) to the horizontal, radians, clockwise in the picture."""
    if face.landmarks is None:
        return 0.0
    (right_x, right_y), (left_x, left_y) = eye_centres(face.landmarks).tolist()
    return math.atan2(left_y - right_y, left_x - right_x)


def _region(image: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """The square (side, side, 3) at ``left``, ``top``, the image's border repeated beyond it."""
    height, width = image.shape[:2]
    x0, x1 = np.clip((left, left + side), 0, width).tolist()
    y0, y1 = np.clip((top, top + side), 0, height).tolist()
    if x1 - x0 == side and y1 - y0 == side:
        return image[y0:y1, x0:x1]
    # A square wholly outside still repeats the nearest row or column.
    x0, x1 = (min(x0, width - 1), max(x1, 1))
    y0, y1 = (min(y0, height - 1), max(y1, 1))
    return cv2.copyMakeBorder(
        image[y0:y1, x0:x1],
        max(0, y0 - top),
        max(0, top + side - y1),
        max(0, x0 - left),
        max(0, left + side - x1),
        cv2.BORDER_REPLICATE,
    )
