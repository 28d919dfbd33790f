"""Images, videos, sounds and image sequences -> emotions."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyemo import plugins
from pyemo.contracts import Detector
from pyemo.errors import ConfigError, MediaError
from pyemo.media import AudioReader, has_audio, kind
from pyemo.recognition.classifier import FaceClassifier
from pyemo.recognition.clips import ClipClassifier
from pyemo.recognition.late_fusion import common_labels
from pyemo.recognition.pipeline import Analysis, CropPipeline, Pipeline
from pyemo.recognition.result import Kind, Result
from pyemo.recognition.seeing import FaceAnalyser, Progress
from pyemo.recognition.stopwatch import Stopwatch
from pyemo.recognition.timeline import VOICE, timeline_rows
from pyemo.recognition.voice import SILENCE_DB, VoiceClassifier, VoiceStream, VoiceWindow
from pyemo.weights import AnyModel, LoadedCandideAu, LoadedFusion, LoadedModel, load_any
from pyemo.weights.store import WEIGHTS

DEFAULT_THRESHOLD = 0.2
"""The paper's optimum for seven labels on two of its three collections (0.05 on the third)."""
DEFAULT_EVERY = 8
MODALITIES = ("face", "voice")
FEATURES = ("au",)


class Recogniser:
    """Models of faces, voices or both, on whatever can be seen and heard.

    A model of single faces is run on every face of every frame; a model of voices on windows of the sound; late fusion does both and averages
    their probabilities. A model of sequences, or of faces and voice together, is run on stretches of a clip and its main face
    (:class:`~pyemo.recognition.clips.ClipClassifier`).

    Args:
        model: as :func:`pyemo.weights.load_any` gives it.
        detector: finds the faces: a plug-in of the group ``pyemo.detectors`` by its name, or an object that keeps its contract.
        detector_options: what the named plug-in is created with.
        device: where the model runs: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        every: in videos the detector looks at every ``every``-th frame (and wherever faces come, go or move fast); faces are tracked
            between, and every frame is classified. 1 detects in each frame.
        modalities: use only these of a late fusion: ``face``, ``voice`` or both.
        features: what else to measure of each face in each frame; ``au``: the columns :data:`pyemo.candide.timeline.COLUMNS` of the timeline,
            action units and the head's turn. Landmarks are those of the detector if it marks 68 points in a known face, else of ``dlib-68``.

    Raises:
        ModelError: the members of a fusion share fewer than two emotions.
        PluginError: no such detector, it refuses the options, or it is an object that marks no landmarks where these are needed.
        AssetError: action units are wanted, by ``features`` or by the model, and the mesh or the landmarks' model is not there.
        ConfigError: no such device, ``every`` below 1, a modality that the model does not have, an unknown feature, or one of faces with a
            model that does not look at each face.
    """

    def __init__(
        self,
        model: AnyModel,
        detector: str | Detector = "dlib",
        *,
        detector_options: Mapping[str, Any] | None = None,
        device: str = "auto",
        every: int = DEFAULT_EVERY,
        modalities: Sequence[str] | None = None,
        features: Sequence[str] = (),
    ) -> None:
        if every < 1:
            raise ConfigError(f"every must be at least 1, got {every}")
        self._model = model
        self._every = every
        self._members = _members(model, modalities)
        self._detector: Detector
        if isinstance(detector, str):
            self._detector = plugins.create("detectors", detector, **(detector_options or {}))
            self._detector_name = detector
        else:
            self._detector = detector
            self._detector_name = f"{type(detector).__module__}.{type(detector).__qualname__}"
        self._detector_options = dict(detector_options or {})
        self._feature_columns: tuple[str, ...] = ()
        self.labels = _labels(self._members)
        """The emotions, in the order of the columns of a timeline."""
        self._faces = self._voice = self._clips = None
        self._features = _features(features, self._members, model.recipe.name)
        if "face" in self._members:
            name = detector if isinstance(detector, str) else None
            self._faces = FaceAnalyser(self._pipelines(self._members["face"], name, device), every)
        if isinstance(voice := self._members.get("voice"), LoadedModel):
            self._voice = VoiceClassifier(voice, device, self.labels)
        if isinstance(clip := self._members.get("clip"), LoadedModel):
            self._clips = ClipClassifier(clip, lambda: self._detector, every, device)

    def _pipelines(
        self, model: LoadedModel | LoadedCandideAu, detector: str | None, device: str
    ) -> Callable[[Stopwatch], Pipeline]:
        """What makes the pipeline of an input; ``detector``: the name of the plug-in that finds the faces, if it is one."""
        if isinstance(model, LoadedModel) and not self._features:
            classifier = FaceClassifier(model, device, self.labels)
            return lambda clock: CropPipeline(self._detector, classifier, clock)
        # SciPy and scikit-learn are slow to import.
        from pyemo.candide.timeline import FaceLandmarks
        from pyemo.recognition.action_units import ActionUnits, marking_detector
        from pyemo.recognition.landmarks import LandmarkClassifier, LandmarkPipeline

        marker = marking_detector(self._detector, detector, self._detector_options)
        units = ActionUnits() if self._features else None
        self._feature_columns = () if units is None else units.columns
        if isinstance(model, LoadedCandideAu):
            of_landmarks = LandmarkClassifier(model)
            return lambda clock: LandmarkPipeline(self._detector, of_landmarks, clock, FaceLandmarks(marker), units)
        of_crops = FaceClassifier(model, device, self.labels)
        return lambda clock: CropPipeline(self._detector, of_crops, clock, FaceLandmarks(marker), units)

    def settings(self) -> dict[str, Any]:
        """What a timeline depends on beside its input."""
        sums = {
            name: hashlib.sha256((member.folder / WEIGHTS).read_bytes()).hexdigest()
            for name, member in self._members.items()
        }
        return {
            "model": self._model.recipe.name,
            "modalities": list(self._members),
            "weights_sha256": next(iter(sums.values())) if len(sums) == 1 else sums,
            "detector": self._detector_name,
            "detector_options": self._detector_options,
            "every": self._every,
            "features": list(self._features),
        }

    def takes(self, kind: str) -> bool:
        """Whether inputs of a kind (``image``, ``video`` or ``audio``) can have what the model sees or hears."""
        if kind == "image":
            return self._faces is not None
        if kind == "audio":
            return self._voice is not None or (self._clips is not None and "face" not in self._clips.kinds)
        return True

    def listen(self) -> VoiceStream:
        """For live sound: push chunks, get windows. The windows are those of :meth:`predict` for the same sound.

        Raises:
            ConfigError: the model does not hear.
        """
        if self._voice is None:
            raise ConfigError(f"model {self._model.recipe.name} does not hear; a voice model, or the default, does")
        return self._voice.stream()

    def predict(
        self,
        source: str | Path | np.ndarray,
        *,
        threshold: float | None = DEFAULT_THRESHOLD,
        progress: Progress | None = None,
    ) -> Result:
        """Recognise one input.

        Videos and sounds are streamed: what is in memory is bounded, whatever the length; the timeline grows by about 100 bytes a face
        and frame.

        Args:
            source: path of a video, a sound or an image; of a folder, whose images (in natural order of their names) are the frames of one
                clip; or an image as an array, RGB uint8 (H, W, 3).
            threshold: of equation 1 (:mod:`pyemo.recognition.threshold`), 0 to 1; None: the most frequent label wins (Top-1).
            progress: called now and then while a video or a sequence is analysed, if its length is known.

        Returns:
            Its ``missing`` says which modality the input lacks, and why; the other decides then.

        Raises:
            MediaError: the source is not there, cannot be decoded, or has nothing that the model sees or hears (a sound for a face model).
            ConfigError: the threshold is outside [0, 1].
            ValueError: an array of another shape or dtype.
        """
        check_threshold(threshold)
        clock, began = Stopwatch(), time.perf_counter()
        if not isinstance(source, np.ndarray):
            source = Path(source)
        if self._clips is not None:
            medium, analysis, missing, troubles = self._clip(source, clock)
        else:
            medium, analysis, missing, troubles = self._streams(source, clock, progress)
        timing = {stage: seconds for stage, seconds in clock.seconds.items() if stage != "wait"}
        timing["total"] = time.perf_counter() - began
        return Result(
            kind=medium,
            source=None if isinstance(source, np.ndarray) else str(source),
            labels=self.labels,
            timeline=self._completed(analysis.timeline),
            frames=analysis.frames,
            duration=None if math.isnan(analysis.duration) else analysis.duration,
            threshold=threshold,
            warnings=tuple(troubles),
            timing=timing,
            thumbnails=analysis.thumbnails,
            card=self._model.card,
            missing=missing,
            weights={name: self._model.weight(name) for name in self._members}
            if isinstance(self._model, LoadedFusion)
            else {},
        )

    def _completed(self, timeline: pd.DataFrame) -> pd.DataFrame:
        """With the columns of features, NaN where none were measured: rows of the voice, inputs without pictures."""
        if not self._feature_columns:
            return timeline
        absent = {name: np.float32(np.nan) for name in self._feature_columns if name not in timeline}
        return timeline.assign(**absent).astype(dict.fromkeys(self._feature_columns, np.float32))

    def _streams(
        self, source: Path | np.ndarray, clock: Stopwatch, progress: Progress | None
    ) -> tuple[Kind, Analysis, dict[str, str], list[str]]:
        """Every face of every frame, and windows of the sound."""
        missing: dict[str, str] = {}
        troubles: list[str] = []
        medium = kind(source) if isinstance(source, Path) and not source.is_dir() else None
        if medium == "audio":
            if self._voice is None:
                raise MediaError(f"{source}: a sound has no faces; expected an image or a video")
            if self._faces is not None:
                missing["face"] = "a sound has no pictures"
            found: tuple[Kind, Analysis] = ("audio", Analysis(timeline_rows(self.labels), 0, math.nan))
        elif self._faces is not None:
            seen, analysis, troubles = self._faces.analyse(source, clock, progress)
            if analysis.timeline.empty:
                missing["face"] = "no face was found"
            found = (seen, analysis)
        elif medium != "video":
            raise MediaError(
                f"{'an image' if isinstance(source, np.ndarray) else source}: no sound; expected a sound or a video"
            )
        else:
            found = ("video", Analysis(timeline_rows(self.labels), 0, math.nan))
        if self._voice is None:
            return *found, missing, troubles
        if medium not in ("audio", "video") or not isinstance(source, Path):
            missing["voice"] = "pictures have no sound"
        elif not has_audio(source):
            missing["voice"] = "the file has no sound"
            if self._faces is None:
                raise MediaError(f"{source}: no audio stream; expected a sound or a video with sound")
        else:
            found = (found[0], self._heard(source, found[1], clock, missing, troubles))
        return *found, missing, troubles

    def _heard(
        self, path: Path, analysis: Analysis, clock: Stopwatch, missing: dict[str, str], troubles: list[str]
    ) -> Analysis:
        """The analysis with the windows of the sound."""
        assert self._voice is not None
        with clock.measure("voice"):
            reader = AudioReader(path, self._voice.sample_rate)
            samples = 0
            stream = self._voice.stream()
            windows: list[VoiceWindow] = []
            try:
                for block in reader:
                    samples += len(block)
                    windows += stream.push(block)
            except MediaError as error:
                if self._faces is None:
                    raise
                missing["voice"] = str(error)
                return analysis
            windows += stream.flush()
        if reader.warning:
            troubles.append(reader.warning)
        if not windows:
            missing["voice"] = f"nobody speaks: the sound is never louder than {SILENCE_DB:g} dB, or too short"
        duration = samples / self._voice.sample_rate
        timeline = pd.concat([analysis.timeline, _rows(windows, self.labels)], ignore_index=True)
        return Analysis(
            timeline.sort_values(["start", "face"], kind="stable", ignore_index=True),
            analysis.frames,
            duration if math.isnan(analysis.duration) else analysis.duration,
            analysis.thumbnails,
        )

    def _clip(self, source: Path | np.ndarray, clock: Stopwatch) -> tuple[Kind, Analysis, dict[str, str], list[str]]:
        """Stretches of a clip."""
        assert self._clips is not None
        if isinstance(source, np.ndarray) or source.is_dir() or kind(source) == "image":
            shown = "an array" if isinstance(source, np.ndarray) else source
            raise MediaError(f"{shown}: model {self._model.recipe.name} needs clips; expected a video or a sound")
        medium = kind(source)
        if medium == "audio" and "face" in self._clips.kinds:
            raise MediaError(f"{source}: a sound has no faces; model {self._model.recipe.name} needs them")
        if "voice" in self._clips.kinds and not has_audio(source):
            raise MediaError(f"{source}: no audio stream; model {self._model.recipe.name} needs the voice too")
        with clock.measure("model"):
            windows, troubles = self._clips.windows(source)
        rows = _rows(windows, self.labels).assign(face=VOICE if self._clips.kinds == ("voice",) else 0)
        missing = (
            {} if windows else dict.fromkeys(self._clips.kinds, "no stretch of the clip has all that the model needs")
        )
        return (
            "audio" if medium == "audio" else "video",
            Analysis(rows, len(windows), windows[-1].end if windows else math.nan),
            missing,
            troubles,
        )


def load(
    model: str | Path = "default",
    *,
    detector: str | Detector = "dlib",
    detector_options: Mapping[str, Any] | None = None,
    device: str = "auto",
    every: int = DEFAULT_EVERY,
    modalities: Sequence[str] | None = None,
    features: Sequence[str] = (),
) -> Recogniser:
    """The recogniser with a packaged model, a model folder or ``hf-hub:organisation/name``.

    Other arguments and errors: :class:`Recogniser`; for ``model`` also :func:`pyemo.weights.load_any`.

    >>> recogniser = pyemo.load()                          # doctest: +SKIP
    >>> recogniser.predict("clip.mp4").label               # doctest: +SKIP
    'happy'
    """
    return Recogniser(
        load_any(model),
        detector,
        detector_options=detector_options,
        device=device,
        every=every,
        modalities=modalities,
        features=features,
    )


def check_threshold(threshold: float | None) -> None:
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold must be a number from 0 to 1, or none, got {threshold}")


def _members(model: AnyModel, modalities: Sequence[str] | None) -> dict[str, LoadedModel | LoadedCandideAu]:
    """``face`` and ``voice``, or ``clip``, each with its model."""
    members: dict[str, LoadedModel | LoadedCandideAu]
    if isinstance(model, LoadedCandideAu):
        members = {"face": model}
    elif isinstance(model, LoadedFusion):
        members = {name: model.members[name] for name in MODALITIES if name in model.members}
    else:
        config = model.recipe.model
        single = len(config.modalities) == 1
        if single and config.kinds == ("voice",):
            members = {"voice": model}
        elif single and model.recipe.sampling.single_faces:
            members = {"face": model}
        else:
            members = {"clip": model}
    if modalities is None:
        return members
    if foreign := [name for name in modalities if name not in members]:
        has = " and ".join(members) if "clip" not in members else "one network for all it sees and hears"
        raise ConfigError(f"modalities: {foreign[0]!r} cannot be chosen; {model.recipe.name} has {has}")
    if not modalities:
        raise ConfigError("modalities: at least one is needed")
    return {name: members[name] for name in members if name in modalities}


def _features(features: Sequence[str], members: Mapping[str, object], name: str) -> tuple[str, ...]:
    if foreign := [feature for feature in features if feature not in FEATURES]:
        raise ConfigError(f"features: expected {' or '.join(map(repr, FEATURES))}, got {foreign[0]!r}")
    if features and "face" not in members:
        raise ConfigError(
            f"features: {features[0]!r} is measured in each face of each frame, and {name} does not look at these"
        )
    return tuple(dict.fromkeys(features))


def _labels(members: Mapping[str, LoadedModel | LoadedCandideAu]) -> tuple[str, ...]:
    if len(members) == 1:
        return tuple(next(iter(members.values())).recipe.labels)
    return common_labels({member.recipe.name: member.recipe.labels for member in members.values()})


def _rows(windows: Sequence[Any], labels: tuple[str, ...]) -> pd.DataFrame:
    """Windows of sound, or stretches of a clip, as rows of a timeline."""
    return timeline_rows(
        labels,
        np.array([(window.start, window.end, VOICE) for window in windows]).reshape(-1, 3),
        np.array([window.probabilities for window in windows], np.float32).reshape(-1, len(labels)),
    )
