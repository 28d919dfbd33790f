"""dlib's frontal face detector: histograms of oriented gradients and five linear filters. Its model is inside dlib; nothing to download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import cv2
import dlib
import numpy as np

from pyemo.contracts import CropFrame, Face
from pyemo_detectors.frames import check_frames, shrink_to


class DlibDetector:
    """Frontal faces of at least 80 pixels in the shrunken frame, with boxes and scores, without landmarks.

    King, "Max-Margin Object Detection" (2015), after Dalal & Triggs, "Histograms of Oriented Gradients for Human Detection" (2005).

    Args:
        max_side: frames with a longer side are shrunk to this many pixels first. Time grows with its square; the smallest face found is
            80 pixels there, an eighth of the longer side by default. None: never shrink.
        upsample: how many times the (shrunken) frame is doubled first; each halves the smallest face and costs four times the time.
        threshold: least score of a face. dlib's own is 0; higher gives fewer false faces.
        min_face: faces narrower than this many pixels of the frame are left out.

    An instance may be used by one thread at a time; dlib releases Python's global lock while it searches.
    """

    contract_version: ClassVar[int] = 1
    # Medians over 4,000 random training images of FER2013, in 3,048 of which a face was found: scale 1.176 (quartiles 1.087 to 1.274),
    # dx 0.000, dy -0.076. `python tools/calibrate_crop.py dlib fer2013/train` measures it.
    crop_frame = CropFrame(scale=1.176, dx=0.0, dy=-0.076)

    def __init__(
        self, *, max_side: int | None = 640, upsample: int = 0, threshold: float = 0.0, min_face: float = 0.0
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ValueError(f"max_side must be a positive number of pixels or None, got {max_side}")
        if upsample < 0:
            raise ValueError(f"upsample must be 0 or more, got {upsample}")
        self.max_side = max_side
        self.upsample = upsample
        self.threshold = threshold
        self.min_face = min_face
        self._detector = dlib.get_frontal_face_detector()

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        check_frames(frames)
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> list[Face]:
        # Grey first: dlib would take each pixel's strongest gradient of three channels, for a fifth more time and no more faces.
        image, scale = shrink_to(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), self.max_side)
        rectangles, scores, _ = self._detector.run(image, self.upsample, self.threshold)
        faces = []
        for rectangle, score in zip(rectangles, scores, strict=True):
            box = rectangle.left(), rectangle.top(), rectangle.width(), rectangle.height()
            x, y, width, height = (value / scale for value in box)
            if width >= self.min_face:
                faces.append(Face((x, y, width, height), float(score)))
        return sorted(faces, key=lambda face: -face.score)
