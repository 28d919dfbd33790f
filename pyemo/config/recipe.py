"""The kinds of recipes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pyemo.config.augmentation import AugmentationConfig, VoiceAugmentationConfig
from pyemo.config.model import ModelConfig
from pyemo.config.sampling import FoldsConfig, SamplingConfig
from pyemo.config.section import Positive, Section
from pyemo.config.training import TrainingConfig
from pyemo.errors import ConfigError


class Described(Section):
    name: str
    description: str = ""
    source: str = ""
    """The publication the recipe follows."""


class PublishedFigures(Section):
    """What the publication reports, to stand beside what a cross-validation gives."""

    data: str
    """The data set's name."""
    metric: Literal["accuracy", "macro F1"] = "accuracy"
    mean: float
    """In percent."""
    folds: list[float] = []
    """In percent, in the order of the folds."""
    note: str = ""


class ClassifierRecipe(Described):
    """A neural network that gives one label a sample; trained by ``pyemo train``."""

    system: Literal["classifier"]
    labels: Annotated[list[str], Field(min_length=2)]
    other_labels: Literal["refuse", "leave-out"] = "refuse"
    """What becomes of a data set that has other labels too: an error, or its rows and frames with these are left out and counted."""
    targets: dict[str, list[str]] = Field(default_factory=dict)
    """Further targets: a column of the data set's table and its values, in the order of the fusion's outputs for it."""
    model: ModelConfig
    sampling: SamplingConfig = SamplingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    voice_augmentation: VoiceAugmentationConfig = VoiceAugmentationConfig()
    training: TrainingConfig = TrainingConfig()
    folds: FoldsConfig = FoldsConfig()
    published: list[PublishedFigures] = []

    @model_validator(mode="after")
    def _sequences_are_of_faces(self) -> ClassifierRecipe:
        if self.sampling.sequences and "face" not in self.model.kinds:
            raise ValueError("sampling.sequences are of face frames; no modality of the model sees faces")
        return self

    def of_fold(self, fold: int | None) -> ClassifierRecipe:
        """With the number of a fold, two digits, for ``{fold}`` in the models that parts start from: so that none has seen who is held out.

        Raises:
            ConfigError: ``fold`` is None, and there is such a place.
        """
        names = {name: part.start_from for name, part in self.model.modalities.items() if part.start_from is not None}
        if not any("{fold}" in name for name in names.values()):
            return self
        if fold is None:
            key = next(name for name, value in names.items() if "{fold}" in value)
            raise ConfigError(
                f"model.modalities.{key}.start_from={names[key]}: {{fold}} is the number of a fold, and this run has none; give a model"
            )
        parts = {
            name: part.model_copy(update={"start_from": names[name].replace("{fold}", f"{fold:02d}")})
            if name in names
            else part
            for name, part in self.model.modalities.items()
        }
        return self.model_copy(update={"model": self.model.model_copy(update={"modalities": parts})})


class LateFusionRecipe(Described):
    """Models of one modality each; the recogniser averages their probabilities over the labels that all have."""

    system: Literal["late-fusion"]
    members: Annotated[dict[Literal["face", "voice"], str], Field(min_length=1)]
    """Modality -> name or folder of a model."""
    weights: dict[Literal["face", "voice"], Positive] = Field(default_factory=dict)
    """Of the average; 1 where not named."""

    @model_validator(mode="after")
    def _weights_of_members(self) -> LateFusionRecipe:
        if foreign := sorted(set(self.weights) - set(self.members)):
            raise ValueError(f"a weight for {foreign[0]!r}, which is no member")
        return self


class ThresholdRecipe(Described):
    """Threshold voting over the frames of a clip (Yang, Lee, Park); searched by ``pyemo crossval``."""

    system: Literal["threshold"]
    model: str = "compact-resnet"
    """The image model that labels the frames: a name or a folder, as for ``pyemo.load``."""
    neutral: str = "neutral"
    labels: Literal[3, 7] = 7
    groups: dict[str, list[str]] = Field(default_factory=dict)
    """With 3 labels: which emotions each broad label stands for."""
    thresholds: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    folds: Annotated[int, Field(ge=2)] = 5
    group_by_subject: bool = True
    """Clips of one subject stay in one fold (where subjects are known)."""
    seed: int = 0
