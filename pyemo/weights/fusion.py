"""Models of any system. Those that join others are a folder with ``config.yaml`` (system: late-fusion) and ``card.md``, no weights of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pyemo.config import CandideAuRecipe, LateFusionRecipe, parse_recipe
from pyemo.errors import ModelError
from pyemo.weights.landmarks import LoadedCandideAu, read_landmark_model
from pyemo.weights.names import load_model, locate
from pyemo.weights.store import CARD, CONFIG, LoadedModel, read_model


@dataclass(frozen=True)
class LoadedFusion:
    members: dict[str, LoadedModel]
    """``face`` and ``voice`` -> a model that has this modality only."""
    recipe: LateFusionRecipe
    folder: Path

    @property
    def card(self) -> str:
        """What the models are: the fusion's card and its members'."""
        own = self.folder / CARD
        cards = [own.read_text(encoding="utf-8")] if own.is_file() else []
        return "\n\n".join([*cards, *(member.card for member in self.members.values())])

    def weight(self, modality: str) -> float:
        """Of the modality's probabilities in the average."""
        return next((weight for name, weight in self.recipe.weights.items() if name == modality), 1.0)


AnyModel = LoadedModel | LoadedFusion | LoadedCandideAu


def load_any(model: str | os.PathLike[str] = "default") -> AnyModel:
    """Load a trained network, a model of landmarks, or one that joins several; ``model`` and errors as for :func:`pyemo.weights.load_model`.

    Raises:
        ModelError: also if a member has other modalities than its own.
    """
    folder = locate(model)
    config = folder / CONFIG
    if not config.is_file():
        raise ModelError(f"{folder} is not a complete model folder: {CONFIG} is missing")
    recipe = parse_recipe(config.read_text(encoding="utf-8"), str(config))
    if isinstance(recipe, CandideAuRecipe):
        return read_landmark_model(folder)
    if not isinstance(recipe, LateFusionRecipe):
        return read_model(folder)
    members: dict[str, LoadedModel] = {}
    for modality, name in recipe.members.items():
        beside = folder / name
        members[modality] = load_model(str(beside) if beside.is_dir() else name)
        kinds = members[modality].recipe.model.kinds
        if kinds != (modality,):
            raise ModelError(f"{config}: members.{modality}: {name} needs {' and '.join(kinds)}")
    return LoadedFusion(members, recipe, folder)
