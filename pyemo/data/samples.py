"""The rows of a data set as samples for a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyemo.config import ClassifierRecipe
from pyemo.contracts import Manifest
from pyemo.data.batch import Batch
from pyemo.data.faces import as_crops
from pyemo.errors import DataError, MediaError
from pyemo.media import read_image


@dataclass(frozen=True)
class ImageSamples:
    """Face crops in memory, (N, C, S, S) uint8, one step a sample (:class:`pyemo.data.batch.Samples`)."""

    labels: tuple[str, ...]
    crops: Tensor
    targets: Tensor
    rows: np.ndarray
    unit: str = "images"

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        index = torch.as_tensor(positions)
        mask = torch.ones(len(index), 1, dtype=torch.bool)
        return Batch(self.targets[index], faces=self.crops[index][:, None], face_mask=mask)

    def decisions(self, positions: Sequence[int]) -> list[tuple[int, int]]:
        return [(int(self.rows[position]), -1) for position in positions]

    def class_counts(self) -> Tensor:
        return torch.bincount(self.targets, minlength=len(self.labels))

    def start_epoch(self, seed: int, epoch: int) -> None:
        """Nothing here is random."""


def select(manifest: Manifest, recipe: ClassifierRecipe, splits: Sequence[str]) -> ImageSamples:
    """The images of ``splits``; see :func:`image_samples`.

    Raises:
        DataError: also if a split has no rows.
    """
    return image_samples(manifest, recipe, rows_of_splits(manifest.table, splits))


def rows_of_splits(table: pd.DataFrame, splits: Sequence[str]) -> np.ndarray:
    """Positions of the rows of ``splits``, (rows,) int64.

    Raises:
        DataError: a split has no rows.
    """
    known = sorted(set(table["split"].dropna()))
    absent = [split for split in splits if split not in known]
    if absent:
        raise DataError(f"the data set has no rows of split {absent[0]!r}; it has {', '.join(known) or 'no splits'}")
    return np.flatnonzero(table["split"].isin(splits))


def image_samples(manifest: Manifest, recipe: ClassifierRecipe, rows: np.ndarray) -> ImageSamples:
    """Some rows of a data set of images as the recipe's faces and labels want them.

    Raises:
        DataError: a label is not one of the recipe's, or a file is no image.
    """
    targets = class_indices(manifest.table["label"].to_numpy()[rows], recipe.labels)
    size, channels = recipe.model.crop_size, recipe.model.crop_channels
    if manifest.images is not None:
        crops = as_crops(manifest.images[rows], size, channels)
    else:
        paths = manifest.table["path"].to_numpy()[rows]
        crops = torch.cat([as_crops(_read(path)[None], size, channels) for path in paths])
    return ImageSamples(tuple(recipe.labels), crops, targets, rows)


def class_indices(values: Sequence[str] | np.ndarray, labels: Sequence[str], what: str = "label") -> Tensor:
    """Positions in ``labels``, (N,) int64.

    Raises:
        DataError: a value is not among them.
    """
    index = {label: position for position, label in enumerate(labels)}
    foreign = sorted({str(value) for value in values if value not in index})
    if foreign:
        raise DataError(f"the data set has the {what} {foreign[0]!r}, the recipe's are {', '.join(labels)}")
    return torch.tensor([index[value] for value in values], dtype=torch.int64)


def _read(path: str) -> np.ndarray:
    try:
        return read_image(Path(path))
    except MediaError as error:
        raise DataError(f"{error}; a data set of faces must hold images, or be prepared (pyemo prepare)") from error
