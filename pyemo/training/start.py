"""Which weights a training starts with."""

from __future__ import annotations

import logging

from pydantic import BaseModel
from torch import Tensor, nn

from pyemo.config import ClassifierRecipe, ModalityConfig
from pyemo.errors import ModelError
from pyemo.model import EmotionModel
from pyemo.weights import load_model

_log = logging.getLogger(__name__)


def start(recipe: ClassifierRecipe, network: EmotionModel) -> None:
    """Give a fresh network the weights of the models that the recipe names in ``start_from``: of its modalities, and of its training.

    A modality takes the backbone of one with the same input, and its aggregator where that is the same too; a frozen one must get both.

    Raises:
        ModelError: a model does not fit.
    """
    for modality, part in recipe.model.modalities.items():
        if part.start_from is not None:
            _start_modality(part.start_from, recipe, network, modality)
    if recipe.training.start_from is not None:
        _start_whole(recipe.training.start_from, recipe, network)


def _start_modality(name: str, recipe: ClassifierRecipe, network: EmotionModel, modality: str) -> None:
    trained = load_model(name)
    wanted = recipe.model.modalities[modality]
    there = {key: part for key, part in trained.recipe.model.modalities.items() if part.input.kind == wanted.input.kind}
    source = modality if modality in there else next(iter(there), None)
    where = f"model.modalities.{modality}.start_from"
    if source is None or (source != modality and len(there) > 1):
        raise ModelError(
            f"{where}: {name} has the modalities {', '.join(trained.recipe.model.modalities)}, none to take"
        )
    own, given = _without_start(wanted), _without_start(there[source])
    same_aggregator = own.aggregator == given.aggregator
    if own.model_copy(update={"aggregator": given.aggregator}) != given or (wanted.frozen and not same_aggregator):
        raise ModelError(f"{where}: '{source}' of {name} differs from the recipe ({difference(given, own)})")
    network.backbones[modality].load_state_dict(trained.model.backbones[source].state_dict())
    if same_aggregator:
        network.aggregators[modality].load_state_dict(trained.model.aggregators[source].state_dict())
    else:
        _log.warning("%s: %s has another aggregator; that of %s starts at random", where, name, modality)


def _without_start(part: ModalityConfig) -> ModalityConfig:
    """Without what only says which weights it begins with."""
    options = {key: value for key, value in part.backbone.options.items() if key not in ("pretrained", "weights")}
    backbone = part.backbone.model_copy(update={"options": options})
    return part.model_copy(update={"start_from": None, "frozen": False, "backbone": backbone})


def _start_whole(name: str, recipe: ClassifierRecipe, network: EmotionModel) -> None:
    trained = load_model(name)
    partially = recipe.training.start_partially
    if trained.recipe.labels != recipe.labels or not (partially or trained.recipe.model == recipe.model):
        raise ModelError(
            f"training.start_from: {name} differs from the recipe ({difference(trained.recipe, recipe, 'model', 'labels')})"
        )
    if partially:
        _take_over(name, trained.model.state_dict(), network)
    else:
        network.load_state_dict(trained.model.state_dict())


def _take_over(name: str, weights: dict[str, Tensor], network: nn.Module) -> None:
    """What fits by name and shape."""
    own = network.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    parameters = [key for key, _ in network.named_parameters()]
    # A bias as long as there are classes fits any network.
    if not any(fitting[key].ndim > 1 for key in parameters if key in fitting):
        raise ModelError(f"training.start_from: no weight of {name} fits the recipe by name and shape")
    network.load_state_dict(fitting, strict=False)
    if missing := [key for key in parameters if key not in fitting]:
        _log.warning("training.start_from: not in %s, so they start at random: %s", name, ", ".join(missing))


def difference(there: BaseModel, here: BaseModel, *sections: str) -> str:
    """The first three keys that differ, in all sections or in those given."""

    def flat(tree: object, prefix: str = "") -> dict[str, object]:
        if not isinstance(tree, dict):
            return {prefix: tree}
        return {
            key: value
            for name, part in tree.items()
            for key, value in flat(part, f"{prefix}.{name}" if prefix else name).items()
        }

    old, new = (flat(recipe.model_dump(include=set(sections) or None)) for recipe in (there, here))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in changed[:3])
