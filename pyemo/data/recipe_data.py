"""A data set as a recipe sees it: images in memory, or clips prepared beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyemo.config import CandideAuRecipe, ClassifierRecipe
from pyemo.contracts import Manifest
from pyemo.data.batch import Samples
from pyemo.data.clip_samples import ClipSamples, needed_modalities
from pyemo.data.folds import assign_folds, check_disjoint
from pyemo.data.label_selection import leave_out_other_labels
from pyemo.data.preparation import Failure, Listener, prepare
from pyemo.data.prepared import PreparedData, open_prepared
from pyemo.data.samples import image_samples, rows_of_splits
from pyemo.data.sources import read_data
from pyemo.errors import DataError
from pyemo.media import kind

PREPARED = "prepared"
"""The data set plug-in whose root is a prepared folder."""


@dataclass(frozen=True)
class RecipeData:
    """Rows of a data set that a recipe can be trained and evaluated on."""

    name: str
    manifest: Manifest
    recipe: ClassifierRecipe
    prepared: PreparedData | None = None
    """None: the rows are images."""
    failures: tuple[Failure, ...] = ()
    """Rows that preparation could not read."""

    def samples(self, rows: np.ndarray, *, training: bool) -> Samples:
        """Rows by their positions, for training (random slices, balance) or evaluation.

        Raises:
            DataError: they do not fit the recipe.
        """
        if self.prepared is None:
            return image_samples(self.manifest, self.recipe, rows)
        return ClipSamples(self.prepared, self.recipe, rows, training=training)

    def split(self) -> tuple[np.ndarray, np.ndarray | None]:
        """:func:`split_rows` of the data set."""
        return split_rows(self.manifest, self.recipe)

    @property
    def held_out_fold(self) -> int | None:
        """The fold that :meth:`split` validates with; None if it takes the data set's splits, or nothing."""
        if not splits_by_fold(self.manifest, self.recipe):
            return None
        return int(fold_numbers(self.manifest, self.recipe).min())


def split_rows(manifest: Manifest, recipe: ClassifierRecipe) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions of the rows to train on and of those to validate on (None: none), as the recipe's splits say.

    Where the data set has no splits, the first of the recipe's folds validates, if anything is to.

    Raises:
        DataError: a split has no rows, or a subject is on both sides though the recipe does not allow that.
    """
    training, table = recipe.training, manifest.table
    if table["split"].notna().any():
        train = rows_of_splits(table, training.train_splits)
        held_out = rows_of_splits(table, training.validation_splits) if training.validation_splits else None
    elif splits_by_fold(manifest, recipe):
        numbers = fold_numbers(manifest, recipe)
        train, held_out = np.flatnonzero(numbers != numbers.min()), np.flatnonzero(numbers == numbers.min())
    else:
        train, held_out = np.arange(len(table)), None
    if held_out is not None:
        check_disjoint(manifest, train, held_out, allow=recipe.folds.allow_subject_overlap)
    return train, held_out


def splits_by_fold(manifest: Manifest, recipe: ClassifierRecipe) -> bool:
    """Whether a fold validates: the recipe wants validation, and the data set has no splits."""
    return bool(recipe.training.validation_splits) and not manifest.table["split"].notna().any()


def fold_numbers(manifest: Manifest, recipe: ClassifierRecipe | CandideAuRecipe) -> np.ndarray:
    """The fold, from 1, that each row is held out in when the recipe is cross-validated: (rows,) int64.

    Raises:
        DataError: the rows cannot be split as the recipe says, or a subject is in two folds though the recipe does not allow that.
    """
    config = recipe.folds
    numbers = 1 + assign_folds(manifest, kind=config.kind, name=config.name, count=config.count, seed=config.seed)
    for number in np.unique(numbers):
        check_disjoint(manifest, numbers != number, numbers == number, allow=config.allow_subject_overlap)
    return numbers


def open_recipe_data(
    source: str,
    recipe: ClassifierRecipe,
    prepared: Path,
    *,
    options: Mapping[str, Any] | None = None,
    check: Callable[[Manifest], object] | None = None,
    listener: Listener | None = None,
    is_prepared: bool = False,
) -> RecipeData:
    """Read ``NAME:ROOT``; prepare it unless it is ``prepared:FOLDER`` or images that the recipe takes as they are.

    Args:
        source: as for :func:`pyemo.data.sources.read_data`.
        recipe: which modalities, and how large the faces are.
        prepared: folder that crops and sounds are kept in; what an earlier run left there is used again.
        options: of the data set plug-in, and ``labels``.
        check: called with the manifest before the long work of preparation; its errors end it.
        listener: told about the progress of preparation.
        is_prepared: another process has prepared it just now: what is in ``prepared`` is used as it is.

    Raises:
        DataError: the data set lacks a modality of the recipe, or cannot be read.
    """
    name, manifest = read_data(source, **(options or {}))
    if recipe.other_labels == "leave-out":
        manifest = leave_out_other_labels(manifest, recipe.labels)
    if check is not None:
        check(manifest)
    if missing := [wanted for wanted in recipe.model.kinds if wanted not in manifest.modalities]:
        raise DataError(
            f"the recipe {recipe.name} needs {' and '.join(recipe.model.kinds)}; {name} has {' and '.join(manifest.modalities)}, "
            f"no {missing[0]}"
        )
    if name.rpartition(":")[2] == PREPARED:
        folder = Path(source.partition(f"{name}:")[2])
        settings = open_prepared(folder).settings
        # Of the manifest read above: labels may have been renamed there and rows left out.
        return RecipeData(settings.data, manifest, recipe, PreparedData(folder, manifest, settings))
    if recipe.model.kinds == ("face",) and _are_images(manifest):
        return RecipeData(name, manifest, recipe)
    if is_prepared:
        there = open_prepared(prepared)
        return RecipeData(name, there.manifest, recipe, there)
    done = prepare(
        manifest,
        prepared,
        data=name,
        modalities=needed_modalities(manifest, recipe),
        size=recipe.model.crop_size,
        channels=recipe.model.crop_channels,
        sample_rate=recipe.model.sample_rate,
        listener=listener,
    )
    return RecipeData(name, done.data.manifest, recipe, done.data, tuple(done.failures))


def _are_images(manifest: Manifest) -> bool:
    if manifest.images is not None:
        return True
    paths = manifest.table["path"]
    return len(paths) > 0 and all(not Path(path).is_dir() and kind(path) == "image" for path in paths)
