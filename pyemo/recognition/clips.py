"""Models that need more than single frames: sequences of faces, or faces and voice together."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pyemo.contracts import Detector, Manifest
from pyemo.data.clip_samples import ClipSamples
from pyemo.data.preparation import prepare
from pyemo.errors import MediaError
from pyemo.evaluation.classifier import evaluate
from pyemo.media import AudioReader, VideoReader, kind
from pyemo.recognition.classifier import choose_device
from pyemo.weights import LoadedModel

WINDOW_SECONDS = 10.0
"""Longer clips are classified in stretches of this length, or of the recipe's ``sampling.max_seconds``."""


class ClipWindow(NamedTuple):
    """What was seen and heard in a stretch of a clip."""

    start: float
    end: float
    """Seconds."""
    probabilities: np.ndarray
    """(labels,) float32, sum 1."""


class ClipClassifier:
    """A model of any modalities on stretches of a clip, prepared as its training data were.

    Of several people it sees the main one: the longest and largest track.

    Args:
        loaded: any model.
        make_detector: makes a face detector.
        every: the detector looks at every ``every``-th frame, faces are tracked between.
        device: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: no such device.
    """

    def __init__(
        self, loaded: LoadedModel, make_detector: Callable[[], Detector], every: int, device: str = "auto"
    ) -> None:
        self.labels = tuple(loaded.recipe.labels)
        self.kinds = loaded.recipe.model.kinds
        self._recipe = loaded.recipe
        self._model = loaded.model.to(choose_device(device))
        self._make_detector, self._every = make_detector, every

    def windows(self, path: Path) -> tuple[list[ClipWindow], list[str]]:
        """The stretches of a video or a sound that have all modalities of the model, and what is wrong with the others.

        Raises:
            MediaError: the file cannot be read.
        """
        length = self._recipe.sampling.max_seconds or WINDOW_SECONDS
        duration = _duration(path)
        # The last stretch may be up to half as long again: a rest of some frames would be no clip.
        starts = length * np.arange(max(1, round(duration / length)))
        whole = len(starts) == 1
        rows = {
            "path": str(path),
            # The true label is not known; whatever stands here is not looked at.
            "label": self.labels[0],
            "subject": None,
            "split": None,
            "start": [np.nan] if whole else starts,
            "end": [np.nan] if whole else np.append(starts[1:], duration),
        }
        manifest = Manifest(pd.DataFrame(rows), self.labels, modalities=self.kinds)
        model = self._recipe.model
        with tempfile.TemporaryDirectory(prefix="pyemo-") as folder:
            done = prepare(
                manifest,
                folder,
                modalities=self.kinds,
                size=model.crop_size,
                channels=model.crop_channels,
                detector=self._make_detector,
                every=self._every,
                sample_rate=model.sample_rate,
                workers=1,
            )
            usable = np.logical_and.reduce([done.data.usable(wanted) for wanted in self.kinds])
            troubles = list(done.data.manifest.problems)
            if not usable.any():
                return [], troubles
            samples = ClipSamples(done.data, self._recipe, np.flatnonzero(usable), training=False)
            evaluation = evaluate(self._model, self._recipe, samples, batch_size=4)
            found = []
            for row in np.unique(evaluation.decisions["row"]).tolist():
                start = 0.0 if whole else float(starts[row])
                end = duration if row == len(starts) - 1 else start + length
                own = evaluation.decisions["row"] == row
                frames = evaluation.decisions["frame"][own].to_numpy()
                edges = [start, end]
                if frames[0] >= 0:  # a decision for each frame
                    times = dict(zip(done.data.frame_numbers(row), done.data.frame_times(row), strict=True))
                    edges = [*(start + times[frame] for frame in frames), end]
                found += list(map(ClipWindow, edges[:-1], edges[1:], evaluation.probabilities[own]))
        return found, troubles


def _duration(path: Path) -> float:
    """Seconds, of the pictures or else of the sound.

    Raises:
        MediaError: the file cannot be read, or does not say how long it is.
    """
    if kind(path) == "video":
        with VideoReader(path) as reader:
            if reader.info.duration is None:
                raise MediaError(f"{path}: the file does not say how long it is")
            return float(reader.info.duration)
    return sum(len(block) for block in AudioReader(path, 16000)) / 16000
