"""What is compared: single modalities and ways of fusing them, all with the backbones, the training and the data of one recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyemo.config import ClassifierRecipe, PluginConfig, load_recipe
from pyemo.errors import ConfigError, did_you_mean

RECIPE = Path(__file__).with_name("recipe.yaml")
REFERENCE = "n0"
"""The method that the others are compared with."""
LATE_AVERAGE = "late-average"
SINGLE = ("voice", "face")


@dataclass(frozen=True)
class Method:
    name: str
    about: str
    """In a few words."""
    modalities: tuple[str, ...] = SINGLE
    fusion: str | None = "linear"
    """None: nothing is trained, the probabilities of the single networks are averaged."""
    options: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = False
    """The backbones are those of the single networks and are not trained on."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The methods that must be trained before it."""
        return SINGLE if self.frozen or self.fusion is None else ()


METHODS = {
    method.name: method
    for method in (
        Method("voice", "voice only", ("voice",)),
        Method("face", "face only", ("face",)),
        Method(LATE_AVERAGE, "mean of the two single networks' probabilities, nothing trained", fusion=None),
        Method("n0-late", "the single networks frozen, n0's fusion trained", fusion="n0", frozen=True),
        Method("concat", "vectors side by side, one linear layer"),
        Method("pairwise", "pairwise concatenation, two layers", fusion="pairwise", options={"hidden_dim": 256}),
        Method("n0", "fusion component only", fusion="n0"),
        Method("n1", "n0 and a loss for each modality", fusion="n1"),
        Method("mrpn", "n1 on residual perceptrons", fusion="mrpn"),
        Method("mfm", "co-attention, encoder, ensemble of three", fusion="mfm", options={"dim": 64, "heads": 4}),
    )
}


@dataclass(frozen=True)
class Condition:
    name: str
    wrong_partner: float
    """Share of the training utterances that are replaced by one with another label; the face keeps its label."""
    about: str


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("clean", 0.0, "every training face has a voice of its label"),
        Condition("wrong-30", 0.3, "30 % of the training faces have a voice of another label"),
    )
}


def base_recipe(overrides: Sequence[str] = ()) -> ClassifierRecipe:
    """What all methods have in common, with ``key=value`` changes.

    Raises:
        ConfigError: a change does not fit.
    """
    recipe = load_recipe(RECIPE, overrides)
    assert isinstance(recipe, ClassifierRecipe)
    if recipe.training.validation_splits or "test" in recipe.training.train_splits:
        raise ConfigError("label-paired: nothing is chosen by validation, and the split test is for the test")
    return recipe


def recipe_of(
    base: ClassifierRecipe, method: Method, condition: Condition, seed: int, singles: Mapping[str, Path]
) -> ClassifierRecipe:
    """The recipe of a method that is trained.

    Args:
        base: :func:`base_recipe`.
        method: with a fusion.
        condition: of its training samples.
        seed: of weights, order and random changes.
        singles: folders of the single networks' models, for methods that need them.
    """
    assert method.fusion is not None
    parts = {name: base.model.modalities[name] for name in method.modalities}
    if method.frozen:
        parts = {
            name: part.model_copy(update={"start_from": str(singles[name]), "frozen": True})
            for name, part in parts.items()
        }
    fusion = PluginConfig(name=method.fusion, options=dict(method.options))
    changes = {
        "name": f"label-paired {method.name}",
        "model": base.model.model_copy(update={"modalities": parts, "fusion": fusion}),
        "training": base.training.model_copy(update={"seed": seed}),
    }
    if "voice" in method.modalities:
        changes["sampling"] = base.sampling.model_copy(update={"wrong_partner": condition.wrong_partner})
    return base.model_copy(update=changes)


def chosen(names: Sequence[str], known: Mapping[str, Any], what: str) -> list[str]:
    """The names in the order of ``known``, each once.

    Raises:
        ConfigError: one is not known.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"no {what} is called {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}")
    return [name for name in known if name in names]


def with_needs(names: Sequence[str]) -> list[str]:
    """The methods, and those that they need."""
    needed = {need for name in names for need in METHODS[name].needs}
    return [name for name in METHODS if name in names or name in needed]
