"""YuNet: a small convolutional face detector with five landmarks, run by OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from pyemo.contracts import CropFrame, Face
from pyemo.errors import AssetError
from pyemo_detectors.frames import check_frames, shrink_to


class YuNetDetector:
    """Faces from about 10 pixels up in the shrunken frame, from all sides, with boxes, scores in [0, 1] and five landmarks.

    Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector" (2023).

    Args:
        weights: the ONNX file; None takes the asset ``yunet``.
        max_side: frames with a longer side are shrunk to this many pixels first. None: never shrink.
        threshold: least score of a face. 0.8 leaves out most faces that are blurred, tiny or turned away.
        min_face: faces narrower than this many pixels of the frame are left out.

    Raises :class:`~pyemo.errors.AssetError` if the weights are absent, altered or not YuNet's. An instance may be used by one thread at a
    time; OpenCV releases Python's global lock while it searches.
    """

    contract_version: ClassVar[int] = 1
    # Medians over 4,000 random training images of FER2013, in 3,522 of which a face was found: scale 1.119 (quartiles 1.018 to 1.234),
    # dx -0.001, dy -0.001. `python tools/calibrate_crop.py yunet fer2013/train` measures it.
    crop_frame = CropFrame(scale=1.119)

    def __init__(
        self,
        *,
        weights: str | Path | None = None,
        max_side: int | None = 640,
        threshold: float = 0.8,
        min_face: float = 0.0,
    ) -> None:
        if max_side is not None and max_side < 1:
            raise ValueError(f"max_side must be a positive number of pixels or None, got {max_side}")
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in [0, 1], got {threshold}")
        self.max_side = max_side
        self.threshold = threshold
        self.min_face = min_face
        self._detector = _load(_asset() if weights is None else Path(weights), threshold)

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        check_frames(frames)
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> list[Face]:
        image, scale = shrink_to(frame, self.max_side)
        self._detector.setInputSize(image.shape[1::-1])
        rows = self._detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
        faces = []
        # A row is x, y, width, height, then x and y of right eye, left eye, nose tip, right and left mouth corner, then the score.
        for row in [] if rows is None else rows:
            x, y, width, height = (float(value) / scale for value in row[:4])
            if width >= self.min_face and width > 0 and height > 0:
                landmarks = (row[4:14] / np.float32(scale)).reshape(5, 2)
                faces.append(Face((x, y, width, height), float(row[14]), landmarks))
        return sorted(faces, key=lambda face: -face.score)


def _asset() -> Path:
    from pyemo import assets

    return assets.path("yunet")


def _load(weights: Path, threshold: float) -> cv2.FaceDetectorYN:
    if not weights.is_file():
        raise AssetError(f"{weights}: no such file; expected the weights of YuNet (.onnx)")
    try:
        detector = cv2.FaceDetectorYN.create(str(weights), "", (320, 320), threshold)
        detector.detect(np.zeros((320, 320, 3), np.uint8))
    except cv2.error as error:
        raise AssetError(
            f"{weights}: not the weights of YuNet (.onnx) for OpenCV's FaceDetectorYN ({error.err})"
        ) from error
    return detector
