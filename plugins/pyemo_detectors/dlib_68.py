"""dlib's 68 facial landmarks: an ensemble of regression trees in the box of a face."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import cv2
import dlib
import numpy as np

from pyemo import plugins
from pyemo.contracts import Detector, Face
from pyemo.errors import AssetError
from pyemo_detectors.dlib_hog import DlibDetector
from pyemo_detectors.frames import check_frames

_PACKAGE, _FILE = "face_recognition_models", "shape_predictor_68_face_landmarks.dat"
_POINTS = 68


class Dlib68Detector:
    """The faces of another detector, with the 68 points of iBUG 300-W.

    Kazemi and Sullivan, "One Millisecond Face Alignment with an Ensemble of Regression Trees" (2014). The model is a file of the package
    ``face_recognition_models`` (``pip install 'pyemo[landmarks]'``). Its author, King, put his rights in it into the public domain, but it
    was trained on iBUG 300-W, whose terms exclude commercial use and whose makers hold that this binds the model too.

    Args:
        detector: the plug-in that finds the faces. The model was trained on boxes like those of ``dlib``; others are converted by what the
            detectors' ``crop_frame`` tell of their boxes.
        detector_options: what that plug-in is created with.
        weights: the model file; None takes the package's.
        min_marked: faces narrower than this many pixels of the frame keep no landmarks: the points would be noise.

    Raises :class:`~pyemo.errors.AssetError` if the model is absent or something else. An instance may be used by one thread at a time.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        *,
        detector: str = "dlib",
        detector_options: Mapping[str, Any] | None = None,
        weights: str | Path | None = None,
        min_marked: float = 32.0,
    ) -> None:
        if not min_marked >= 0:
            raise ValueError(f"min_marked must be 0 or more pixels, got {min_marked}")
        if detector.rpartition(":")[2] == "dlib-68":
            raise ValueError("detector must be another one, which finds the faces")
        self.min_marked = min_marked
        self._predictor = _load(_packaged() if weights is None else Path(weights))
        self._detector: Detector = plugins.create("detectors", detector, **(detector_options or {}))
        self.crop_frame = self._detector.crop_frame

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        found = self._detector.detect(frames)
        return [self.mark(frame, faces) for frame, faces in zip(frames, found, strict=True)]

    def mark(self, frame: np.ndarray, faces: Sequence[Face]) -> list[Face]:
        """The faces with the landmarks that they have in ``frame``; (68, 2) float32."""
        check_frames([frame])
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        return [replace(face, landmarks=self._landmarks(grey, face)) for face in faces]

    def _landmarks(self, grey: np.ndarray, face: Face) -> np.ndarray | None:
        if face.box[2] < max(self.min_marked, 1.0):
            return None
        points = self._predictor(grey, self._rectangle(face)).parts()
        return np.array([(point.x, point.y) for point in points], np.float32)

    def _rectangle(self, face: Face) -> dlib.rectangle:
        """Where dlib's own detector would have drawn the box: around the same square, as FER2013 frames faces."""
        x, y, width, height = face.box
        other, own = self.crop_frame, DlibDetector.crop_frame
        side = other.scale * math.sqrt(width * height) / own.scale
        left = x + width * (0.5 + other.dx) - side * (0.5 + own.dx)
        top = y + height * (0.5 + other.dy) - side * (0.5 + own.dy)
        return dlib.rectangle(round(left), round(top), round(left + side) - 1, round(top + side) - 1)


def _packaged() -> Path:
    # Found, not imported: the package's own code needs pkg_resources, which setuptools no longer has.
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(
            f"the 68 landmarks need a model of the package {_PACKAGE}, which is not installed: pip install 'pyemo[landmarks]'"
        )
    return Path(spec.submodule_search_locations[0]) / "models" / _FILE


def _load(weights: Path) -> dlib.shape_predictor:
    if not weights.is_file():
        raise AssetError(f"{weights}: no such file; expected dlib's {_FILE}")
    try:
        predictor = dlib.shape_predictor(str(weights))
    except RuntimeError as error:
        raise AssetError(f"{weights}: not a shape predictor of dlib ({error})") from error
    blank = np.zeros((64, 64), np.uint8)
    if (points := predictor(blank, dlib.rectangle(0, 0, 63, 63)).num_parts) != _POINTS:
        raise AssetError(f"{weights}: a shape predictor of {points} points, expected {_POINTS}")
    return predictor
