"""Images, videos and image sequences -> emotions."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyemo import plugins
from pyemo.contracts import Detector
from pyemo.errors import ConfigError, MediaError
from pyemo.media import VideoFrame, VideoReader, find_media, kind, prefetch, read_image
from pyemo.recognition.classifier import FaceClassifier
from pyemo.recognition.pipeline import Analysis, Pipeline
from pyemo.recognition.result import Kind, Result
from pyemo.recognition.stopwatch import Stopwatch
from pyemo.weights import LoadedModel, load_model
from pyemo.weights.store import WEIGHTS

DEFAULT_THRESHOLD = 0.2
"""The paper's optimum for seven labels on two of its three collections (0.05 on the third)."""
DEFAULT_EVERY = 8
_SEQUENCE_RATE = 25.0  # images a second, for the tracker only: it bridges gaps of so many seconds. Results of sequences have no times.

Progress = Callable[[float], None]
"""Called with the share that is done, 0 to 1."""


class Recogniser:
    """A face detector, a tracker and a face model in a pipeline.

    Args:
        model: as :func:`pyemo.weights.load_model` gives it.
        detector: finds the faces: a plug-in of the group ``pyemo.detectors`` by its name, or an object that keeps its contract.
        detector_options: what the named plug-in is created with.
        device: where the model runs: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        every: in videos the detector looks at every ``every``-th frame (and wherever faces come, go or move fast); faces are tracked
            between, and every frame is classified. 1 detects in each frame.

    Raises:
        ModelError: the model needs more than faces.
        PluginError: no such detector, or it refuses the options.
        ConfigError: no such device, or ``every`` below 1.
    """

    def __init__(
        self,
        model: LoadedModel,
        detector: str | Detector = "dlib",
        *,
        detector_options: Mapping[str, Any] | None = None,
        device: str = "auto",
        every: int = DEFAULT_EVERY,
    ) -> None:
        if every < 1:
            raise ConfigError(f"every must be at least 1, got {every}")
        self._model = model
        self._classifier = FaceClassifier(model, device)
        self._detector: Detector
        if isinstance(detector, str):
            self._detector = plugins.create("detectors", detector, **(detector_options or {}))
            self._detector_name = detector
        else:
            self._detector = detector
            self._detector_name = f"{type(detector).__module__}.{type(detector).__qualname__}"
        self._detector_options = dict(detector_options or {})
        self._every = every

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions, in the order of the columns of a timeline."""
        return self._classifier.labels

    def settings(self) -> dict[str, Any]:
        """What a timeline depends on beside its input."""
        return {
            "model": self._model.recipe.name,
            "weights_sha256": hashlib.sha256((self._model.folder / WEIGHTS).read_bytes()).hexdigest(),
            "detector": self._detector_name,
            "detector_options": self._detector_options,
            "every": self._every,
        }

    def predict(
        self,
        source: str | Path | np.ndarray,
        *,
        threshold: float | None = DEFAULT_THRESHOLD,
        progress: Progress | None = None,
    ) -> Result:
        """Recognise one input.

        Videos are streamed: the pictures in memory are bounded, whatever the length; the timeline grows by about 100 bytes a face and
        frame.

        Args:
            source: path of a video or an image; of a folder, whose images (in natural order of their names) are the frames of one clip;
                or an image as an array, RGB uint8 (H, W, 3).
            threshold: of equation 1 (:mod:`pyemo.recognition.threshold`), 0 to 1; None: the most frequent label wins (Top-1).
            progress: called now and then while a video or a sequence is analysed, if its length is known.

        Raises:
            MediaError: the source is not there, cannot be decoded, or is a sound.
            ConfigError: the threshold is outside [0, 1].
            ValueError: an array of another shape or dtype.
        """
        check_threshold(threshold)
        clock, began = Stopwatch(), time.perf_counter()
        pipeline = Pipeline(self._detector, self._classifier, clock)
        medium, analysis, troubles = self._analyse(source, pipeline, clock, progress)
        timing = {stage: seconds for stage, seconds in clock.seconds.items() if stage != "wait"}
        timing["total"] = time.perf_counter() - began
        return Result(
            kind=medium,
            source=None if isinstance(source, np.ndarray) else str(source),
            labels=self.labels,
            timeline=analysis.timeline,
            frames=analysis.frames,
            duration=None if math.isnan(analysis.duration) else analysis.duration,
            threshold=threshold,
            warnings=tuple(troubles),
            timing=timing,
            thumbnails=analysis.thumbnails,
            card=self._model.card,
        )

    def _analyse(
        self, source: str | Path | np.ndarray, pipeline: Pipeline, clock: Stopwatch, progress: Progress | None
    ) -> tuple[Kind, Analysis, list[str]]:
        if isinstance(source, np.ndarray):
            if source.ndim != 3 or source.shape[2] != 3 or not source.size or source.dtype != np.uint8:
                raise ValueError(f"expected an RGB image, uint8 (H, W, 3), got {source.dtype} {source.shape}")
            return "image", pipeline.image(source), []
        path = Path(source)
        if path.is_dir():
            return self._analyse_sequence(path, pipeline, clock, progress)
        medium = kind(path)
        if medium == "image":
            with clock.measure("decode"):
                image = read_image(path)
            return "image", pipeline.image(image), []
        if medium == "video":
            with VideoReader(path) as reader:
                analysis = pipeline.video(
                    reader,
                    every=self._every,
                    last_interval=1 / reader.info.average_rate,
                    progress=_shares(progress, reader.info.frame_count),
                )
                clock.seconds["decode"] = reader.decode_seconds
                return "video", analysis, [reader.warning] if reader.warning else []
        raise MediaError(f"{path}: a sound has no faces; expected an image or a video")

    def _analyse_sequence(
        self, folder: Path, pipeline: Pipeline, clock: Stopwatch, progress: Progress | None
    ) -> tuple[Kind, Analysis, list[str]]:
        media = find_media([folder])
        paths = sorted((path for path in media if path.parent == folder and kind(path) == "image"), key=_natural)
        if not paths:
            raise MediaError(f"{folder}: no image in this folder")
        troubles: list[str] = []

        def frames() -> Iterator[VideoFrame]:
            index = 0
            for path in paths:
                try:
                    with clock.measure("decode"):
                        image = read_image(path)
                except MediaError as error:
                    troubles.append(f"left out: {error}")
                    continue
                yield VideoFrame(index, index / _SEQUENCE_RATE, image)
                index += 1

        analysis = pipeline.video(
            prefetch(frames()), every=self._every, last_interval=math.nan, progress=_shares(progress, len(paths))
        )
        if not analysis.frames:
            raise MediaError(f"{folder}: none of its {len(paths)} images can be read; {troubles[0]}")
        return "sequence", analysis, troubles


def load(
    model: str | Path = "default",
    *,
    detector: str | Detector = "dlib",
    detector_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    every: int = DEFAULT_EVERY,
) -> Recogniser:
    """The recogniser with a packaged model, a model folder or ``hf-hub:organisation/name``.

    Other arguments and errors: :class:`Recogniser`; for ``model`` also :func:`pyemo.weights.load_model`.

    >>> recogniser = pyemo.load()                          # doctest: +SKIP
    >>> recogniser.predict("clip.mp4").label               # doctest: +SKIP
    'happy'
    """
    return Recogniser(load_model(model), detector, detector_options=detector_options, device=device, every=every)


def check_threshold(threshold: float | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be a number from 0 to 1, or none, got {threshold}")


def _shares(progress: Progress | None, expected: int | None) -> Callable[[int], None] | None:
    if progress is None or not expected:
        return None
    return lambda done: progress(min(done / expected, 1.0))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
