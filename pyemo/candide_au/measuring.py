"""Landmarks of the rows of a data set: the slow part, kept in a file from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pyemo.contracts import Face, LandmarkDetector
from pyemo.data.preparation.sources import ImageSequence
from pyemo.errors import MediaError
from pyemo.files import written_whole
from pyemo.media import VideoFrame, VideoReader, kind, read_image, track_faces

CROP_SIDE = 128
"""An image whose longer side is shorter than this is taken for a face cut out as FER2013 frames it: no detector would find a face in it."""
_ENLARGED = 240  # pixels, of such a face: dlib's features were trained on faces of about that size
_SAVE_EVERY = 500
_SEQUENCE_RATE = 25.0  # images a second, for the tracker's time spans
NO_FACE, TOO_SMALL = "no face found", "the face is too small for landmarks"

Progress = Callable[[int, int], None]
"""Called with the number of inputs done and in all."""


@dataclass(frozen=True)
class Input:
    """One image, clip or part of a clip."""

    path: str
    start: float = np.nan
    end: float = np.nan
    """Seconds, of a part; NaN: from the beginning, to the end."""
    image: np.ndarray | None = field(default=None, compare=False)
    """The image, where it comes decoded: uint8 (H, W) or (H, W, 3)."""


@dataclass
class Landmarks:
    """Of the inputs, one after another."""

    points: list[np.ndarray] = field(default_factory=list)
    """(T, 68, 2) float32 an input, T the frames with a face; empty where there is none."""
    problems: list[str] = field(default_factory=list)
    """Why, in words; empty strings elsewhere."""


def measure(
    inputs: Sequence[Input], detector: LandmarkDetector, *, settings: str, file: Path | None, progress: Progress | None
) -> Landmarks:
    """Landmarks of each input: of the surest face of an image, of the person seen longest in a clip.

    Args:
        inputs: what to look at.
        detector: finds and marks faces.
        settings: what the result depends on beside the inputs, in words; a file made with others is not used.
        file: keeps what is done, now and then and when the run is interrupted; None keeps nothing.
        progress: called after each input.
    """
    stamp = hashlib.sha256(
        json.dumps([settings, [(i.path, repr(i.start), repr(i.end)) for i in inputs]]).encode()
    ).hexdigest()
    done = _read(file, stamp) if file else Landmarks()
    began = len(done.points)
    try:
        for position in range(began, len(inputs)):
            points, problem = _measure(inputs[position], detector)
            done.points.append(points)
            done.problems.append(problem)
            if progress:
                progress(position + 1, len(inputs))
            if file and (position + 1) % _SAVE_EVERY == 0:
                _write(file, stamp, done)
    finally:
        if file and len(done.points) > began:
            _write(file, stamp, done)
    return done


def _measure(source: Input, detector: LandmarkDetector) -> tuple[np.ndarray, str]:
    nothing = np.empty((0, 68, 2), np.float32)
    try:
        if source.image is not None:
            points = _of_crop(source.image, detector)
        elif Path(source.path).is_dir() or kind(Path(source.path)) == "video":
            return _of_clip(source, detector)
        else:
            image = read_image(source.path)
            points = _of_crop(image, detector) if max(image.shape[:2]) < CROP_SIDE else None
            if points is None:
                faces = detector.detect([image])[0]
                if not faces:
                    return nothing, NO_FACE
                points = faces[0].landmarks
    except MediaError as error:
        return nothing, str(error)
    return (nothing, TOO_SMALL) if points is None else (points[None], "")


def _of_crop(image: np.ndarray, detector: LandmarkDetector) -> np.ndarray | None:
    """The landmarks of a face that fills the image."""
    rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image
    zoom = max(1.0, _ENLARGED / max(image.shape[:2]))
    enlarged = cv2.resize(rgb, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    height, width = enlarged.shape[:2]
    frame = detector.crop_frame
    side = np.sqrt(height * width) / frame.scale
    box = (width / 2 - (0.5 + frame.dx) * side, height / 2 - (0.5 + frame.dy) * side, side, side)
    points = detector.mark(enlarged, [Face(box, 1.0)])[0].landmarks
    # Pixel centres, as resizing has them.
    return None if points is None else ((points + 0.5) / zoom - 0.5).astype(np.float32)


def _of_clip(source: Input, detector: LandmarkDetector) -> tuple[np.ndarray, str]:
    found: dict[int, list[np.ndarray]] = {}
    seen = False
    for tracked in track_faces(_frames(source), detector):
        faces = [face.face for face in tracked.faces]
        seen |= bool(faces)
        for face, marked in zip(tracked.faces, detector.mark(tracked.frame.image, faces), strict=True):
            if marked.landmarks is not None:
                found.setdefault(face.track, []).append(marked.landmarks)
    if not found:
        return np.empty((0, 68, 2), np.float32), TOO_SMALL if seen else NO_FACE
    return np.stack(max(found.values(), key=len)), ""


def _frames(source: Input) -> Iterator[VideoFrame]:
    path = Path(source.path)
    if path.is_dir():
        with ImageSequence(path, numbered=False, rate=_SEQUENCE_RATE) as images:
            yield from images
        return
    with VideoReader(path) as reader:
        for frame in reader:
            if not frame.time < source.start:  # NaN: no limit
                if frame.time >= source.end:
                    break
                yield frame


def _write(file: Path, stamp: str, landmarks: Landmarks) -> None:
    counts = np.array([len(points) for points in landmarks.points], np.int64)
    arrays = {"points": np.concatenate(landmarks.points), "counts": counts}
    with written_whole(file) as temporary:
        save_file(arrays, temporary, {"stamp": stamp, "problems": json.dumps(landmarks.problems)})


def _read(file: Path, stamp: str) -> Landmarks:
    """What was done before, if ``file`` is of the same inputs; else nothing."""
    try:
        with safe_open(file, "numpy") as stored:
            metadata = stored.metadata() or {}
            if metadata.get("stamp") == stamp:
                ends = np.cumsum(stored.get_tensor("counts"))[:-1]
                return Landmarks(np.split(stored.get_tensor("points"), ends), json.loads(metadata["problems"]))
    except (OSError, SafetensorError):
        pass
    return Landmarks()
