"""A trained ``candide-au`` system, and its folder: ``config.yaml``, ``model.safetensors`` and ``card.md``. Nothing is ever unpickled."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pyemo import __version__
from pyemo.candide_au.dense import DenseClassifier, DenseNetwork, train_dense
from pyemo.candide_au.features import ACTION_UNIT_FEATURES, LANDMARK_FEATURES
from pyemo.candide_au.svm import SvmClassifier, train_svm
from pyemo.config import dump_recipe
from pyemo.config.candide_au import CandideAuRecipe
from pyemo.errors import ModelError

CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "card.md"


@dataclass(frozen=True)
class CandideAuModel:
    recipe: CandideAuRecipe
    classifier: SvmClassifier | DenseClassifier

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.recipe.labels)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(N, F) features as the recipe says -> (N, labels) float32; rows sum to 1.

        Raises:
            ValueError: another number of features.
        """
        expected = ACTION_UNIT_FEATURES if self.recipe.features == "au" else LANDMARK_FEATURES
        if features.ndim != 2 or features.shape[1] != expected:
            raise ValueError(f"features must be (N, {expected}), got {features.shape}")
        if not len(features):
            return np.empty((0, len(self.labels)), np.float32)
        return self.classifier.probabilities(features, len(self.labels))


def train_model(
    recipe: CandideAuRecipe,
    features: np.ndarray,
    targets: np.ndarray,
    groups: list[str | None],
    validation: tuple[np.ndarray, np.ndarray],
) -> CandideAuModel:
    """Train the recipe's classifier.

    Args:
        recipe: which classifier of which features.
        features: (N, F) float32.
        targets: (N,) class indices, positions in ``recipe.labels``.
        groups: subject of each sample (None: stands for itself), for cross-validation within the training samples.
        validation: features and targets that are not trained on; only the dense network looks at them. May be empty.

    Raises:
        DataError: too few samples, classes or subjects.
    """
    config = recipe.classifier
    if config.name == "dense":
        classes = len(recipe.labels)
        dense = train_dense(
            features, targets, validation, config, kind=recipe.features, classes=classes, seed=recipe.seed
        )
        return CandideAuModel(recipe, dense)
    return CandideAuModel(recipe, train_svm(features, targets, groups, config, recipe.seed))


def save_candide_au(folder: str | os.PathLike[str], model: CandideAuModel, card: str) -> Path:
    """Write a model folder whole; one that is already there is replaced.

    Raises:
        ModelError: ``folder`` is something else than a model folder, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / CONFIG).is_file() or not any(folder.iterdir()))):
        raise ModelError(f"{folder} is not a model folder; it is not overwritten")
    arrays = {name: np.array(array, order="C") for name, array in model.classifier.arrays().items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            (new / CONFIG).write_text(dump_recipe(model.recipe), encoding="utf-8")
            (new / CARD).write_text(card, encoding="utf-8")
            save_file(arrays, new / WEIGHTS, {"format_version": "1", "pyemo_version": __version__})
            shutil.copymode(new / CONFIG, new / WEIGHTS)  # safetensors lets only the owner read it
            if folder.exists():
                os.replace(folder, Path(temporary) / "old")
            os.replace(new, folder)
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def read_candide_au(folder: str | os.PathLike[str]) -> CandideAuModel:
    """Read a model folder.

    Raises:
        ModelError: incomplete, of another system, or arrays that do not fit the recipe.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a complete model folder: {name} is missing")
    try:
        recipe = CandideAuRecipe.model_validate(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ModelError(f"{folder / CONFIG} is not a recipe of the system candide-au: {error}") from error
    try:
        arrays = load_file(folder / WEIGHTS)
        if recipe.classifier.name == "dense":
            network = DenseNetwork(recipe.features, len(recipe.labels))
            return CandideAuModel(recipe, DenseClassifier.from_arrays(arrays, network))
        return CandideAuModel(recipe, SvmClassifier.from_arrays(arrays))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder / WEIGHTS} does not fit {folder / CONFIG}: {error}") from error
