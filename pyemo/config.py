"""Recipes: YAML -> typed configuration.

A recipe says what a system is made of and how it is trained. Unknown keys and wrong types are errors that name the key in dotted form;
nothing is converted silently. ``key=value`` overrides are parsed as YAML and checked by the same rules.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from pyemo.errors import ConfigError, did_you_mean


class Section(BaseModel):
    """Base of every part of a recipe: no unknown keys, no silent conversion, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PluginConfig(Section):
    """A plug-in by its name (or ``distribution:name``) and the options it is created with."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class FaceInput(Section):
    """How a face crop (uint8) becomes the tensor a face backbone sees.

    ``per-image`` subtracts the crop's mean and divides by its standard deviation + 0.05 (intensities in [0, 1]); ``fixed`` uses ``mean``
    and ``std`` (of intensities in [0, 1]).
    """

    size: Annotated[int, Field(ge=8, le=1024)]
    channels: Literal[1, 3] = 1
    normalization: Literal["fixed", "per-image"] = "fixed"
    mean: float = 0.5
    std: Annotated[float, Field(gt=0)] = 0.5


class ModalityConfig(Section):
    input: FaceInput
    backbone: PluginConfig
    aggregator: PluginConfig = PluginConfig(name="mean")


class ModelConfig(Section):
    modalities: Annotated[dict[Literal["face"], ModalityConfig], Field(min_length=1)]
    fusion: PluginConfig = PluginConfig(name="linear")


Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Range = Annotated[list[float], Field(min_length=2, max_length=2)]


class AugmentationConfig(Section):
    """Random changes of a training image. The defaults are those of the thesis (chapter 4); zeros and 1-to-1 ranges switch off.

    Intensities are counted from 0 to 255. Each geometric change is drawn per image and all are applied in one resampling.
    """

    mirror: Probability = 0.5
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Up to this share of the width and of the height is cut away, at a random place."""
    blur_probability: Probability = 0.5
    blur_sigma: NonNegative = 0.5
    """Gaussian blur with sigma from U(0, blur_sigma) pixels."""
    contrast: Range = [0.75, 1.5]
    """Factor of the distance to 128."""
    brightness: NonNegative = 0.0
    """Added intensity, from U(-brightness, brightness)."""
    noise: NonNegative = 25.0
    """Standard deviation of the added Gaussian noise."""
    scale: Range = [0.9, 1.1]
    shift: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the width and of the height."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 25.0
    """Degrees, either way."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 8.0
    """Degrees, either way."""
    erase_probability: Probability = 0.0
    """Random erasing: a rectangle with sides of 0.1 to ``erase_size`` of the image gets one random grey."""
    erase_size: Annotated[float, Field(gt=0, le=1)] = 0.4


class OptimizerConfig(Section):
    name: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    """Applied to weights of two and more dimensions only."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's (Nesterov) momentum."""
    betas: Range = [0.9, 0.999]


class ScheduleConfig(Section):
    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps in which the rate rises linearly from 0 (cosine)."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without a fall of the validation loss before the rate is multiplied by ``factor`` (plateau)."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class LossConfig(Section):
    name: Literal["cross-entropy"] = "cross-entropy"
    class_weights: Literal["none", "inverse-frequency"] | list[float] = "none"
    """Inverse frequency: n / (classes * n_c), from the training rows."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DistillationConfig(Section):
    """Training towards a trained model's opinion as well (Hinton et al. 2015): (1 - w) * loss + w * T^2 * KL(teacher || student)."""

    teacher: str
    """Name or folder of a model, as for ``pyemo.load``; its labels must be those of the recipe."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 2.0


class TrainingConfig(Section):
    start_from: str | None = None
    """Name or folder of a model of the same architecture and labels whose weights training starts from; none: random ones."""
    start_partially: bool = False
    """Let that model's architecture differ: what fits by name and shape is taken over, the rest starts at random and is named."""
    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=1)] = 128
    train_splits: Annotated[list[str], Field(min_length=1)] = ["train"]
    validation_splits: list[str] = ["validation"]
    """Empty: nothing is validated, the last epoch's weights are kept."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    distillation: DistillationConfig | None = None
    mixup: NonNegative = 0.0
    """alpha of the Beta distribution; 0 switches mixup off."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Exponential moving average of the weights, evaluated and saved instead of the raw ones; 0 switches it off."""
    gradient_clip: NonNegative = 0.0
    """Largest gradient norm; 0 switches clipping off."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights become the model: the best validation accuracy's or the last."""
    early_stopping: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better validation accuracy before training stops; 0 switches it off."""
    precision: Literal["32", "bf16"] = "32"
    storage: Literal["float32", "float16"] = "float32"
    """Number format of the saved weights."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _best_needs_validation(self) -> TrainingConfig:
        if not self.validation_splits and (
            self.early_stopping or self.keep == "best" or self.schedule.name == "plateau"
        ):
            raise ValueError(
                "without validation_splits, keep must be 'last', early_stopping 0 and schedule.name not 'plateau'"
            )
        return self


class Described(Section):
    name: str
    description: str = ""
    source: str = ""
    """The publication the recipe follows."""


class ClassifierRecipe(Described):
    """A neural network that gives one label a sample; trained by ``pyemo train``."""

    system: Literal["classifier"]
    labels: Annotated[list[str], Field(min_length=2)]
    model: ModelConfig
    augmentation: AugmentationConfig = AugmentationConfig()
    training: TrainingConfig = TrainingConfig()


class ThresholdRecipe(Described):
    """Threshold voting over the frames of a clip (Yang, Lee, Park); searched by ``pyemo crossval``."""

    system: Literal["threshold"]
    model: str = "default"
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


Recipe = Annotated[ClassifierRecipe | ThresholdRecipe, Field(discriminator="system")]
_ADAPTER: TypeAdapter[ClassifierRecipe | ThresholdRecipe] = TypeAdapter(Recipe)


class _Loader(yaml.SafeLoader):
    """YAML as people write it: ``1e-3`` is a number (YAML 1.1 wants ``1.0e-3``), a key given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)$"),
    list("-+.0123456789"),
)


def recipe_names() -> list[str]:
    """Names of the recipes inside the package."""
    return sorted(entry.name[:-5] for entry in files("pyemo.recipes").iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: str | os.PathLike[str], overrides: Sequence[str] = ()) -> ClassifierRecipe | ThresholdRecipe:
    """Read a packaged recipe by name, or a YAML file, and apply ``dotted.key=value`` overrides.

    Raises:
        ConfigError: unknown recipe, unreadable YAML, unknown key, wrong type or value; the message names the dotted key.
    """
    text, origin = _read(recipe)
    return parse_recipe(text, origin, overrides)


def parse_recipe(text: str, origin: str, overrides: Sequence[str] = ()) -> ClassifierRecipe | ThresholdRecipe:
    """Like :func:`load_recipe` for YAML text; ``origin`` names it in errors."""
    tree = _parse(text, origin)
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin}: expected a mapping of keys to values, got {type(tree).__name__}")
    for override in overrides:
        _apply(tree, override)
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise ConfigError(_explain(error, tree, origin)) from None


def dump_recipe(recipe: BaseModel) -> str:
    """The resolved recipe as YAML; :func:`parse_recipe` of it gives an equal recipe."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _read(recipe: str | os.PathLike[str]) -> tuple[str, str]:
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return path.read_text(encoding="utf-8"), str(path)
        except OSError as error:
            raise ConfigError(f"cannot read recipe {path}: {error.strerror or error}") from error
    packaged = files("pyemo.recipes") / f"{recipe}.yaml"
    if not packaged.is_file():
        raise ConfigError(
            f"no recipe is called {os.fspath(recipe)!r}; there are {', '.join(recipe_names())}{did_you_mean(os.fspath(recipe), recipe_names())} "
            "(or give a file that ends in .yaml)"
        )
    return packaged.read_text(encoding="utf-8"), f"recipe {os.fspath(recipe)}"


def _parse(text: str, origin: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not readable as YAML: {error}") from error


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"override {override!r}: expected dotted.key=value, for instance training.epochs=20")
    node = tree
    for depth, part in enumerate(parts[:-1]):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(parts[: depth + 1])} is a value, not a section")
    node[parts[-1]] = _parse(value, f"override {override!r}")


def _explain(error: ValidationError, tree: dict[str, Any], origin: str) -> str:
    lines = []
    for item in error.errors():
        # The discriminator of the union appears in the location; users do not write it.
        location = [part for part in item["loc"] if part not in {"classifier", "threshold", "[key]"}]
        key = ".".join(str(part) for part in location)
        if item["type"] == "extra_forbidden":
            known = _known_keys(tree.get("system"), location[:-1])
            lines.append(
                f"unknown key '{key}'{did_you_mean(str(location[-1]), known)} (known here: {', '.join(known)})"
            )
        elif item["type"] == "missing":
            lines.append(f"key '{key}' is missing")
        elif item["type"].startswith("union_tag"):
            lines.append(f"key 'system': expected 'classifier' or 'threshold', got {tree.get('system')!r}")
        else:
            lines.append(
                f"key '{key}': {item['msg'][0].lower() + item['msg'][1:]}, got {item['input']!r} ({type(item['input']).__name__})"
            )
    return f"{origin}: " + "; ".join(dict.fromkeys(lines))


def _known_keys(system: Any, location: list[Any]) -> list[str]:
    model: Any = ThresholdRecipe if system == "threshold" else ClassifierRecipe
    for part in location:
        field = model.model_fields.get(part) if part != "face" else None
        if part == "face":
            model = ModalityConfig
        elif field is None:
            return []
        elif part != "modalities":
            model = next(
                kind for kind in (field.annotation, *getattr(field.annotation, "__args__", ())) if _is_section(kind)
            )
    return sorted(model.model_fields)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
