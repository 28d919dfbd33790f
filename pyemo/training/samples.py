"""The rows of a manifest as tensors in memory, served in whole batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from pyemo.config import ClassifierRecipe
from pyemo.contracts import Manifest
from pyemo.data.faces import to_crops
from pyemo.errors import DataError, MediaError
from pyemo.media import read_image


@dataclass(frozen=True)
class FaceSamples(Dataset[tuple[Tensor, Tensor]]):
    """Face crops (N, C, S, S) uint8 with their class indices (N,) int64; indexed by a list of positions, it gives a batch."""

    crops: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, positions: Sequence[int]) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(positions)
        return self.crops[index], self.targets[index]


def select(manifest: Manifest, recipe: ClassifierRecipe, splits: Sequence[str]) -> FaceSamples:
    """The samples of ``splits``, as the recipe's face input and labels want them.

    Raises:
        DataError: a split has no rows, or a label is not one of the recipe's.
    """
    table = manifest.table
    known = sorted(set(table["split"].dropna()))
    absent = [split for split in splits if split not in known]
    if absent:
        raise DataError(f"the data set has no rows of split {absent[0]!r}; it has {', '.join(known) or 'no splits'}")
    rows = np.flatnonzero(table["split"].isin(splits))
    labels = table["label"].to_numpy()[rows]
    foreign = sorted(set(labels) - set(recipe.labels))
    if foreign:
        raise DataError(f"the data set has the label {foreign[0]!r}, the recipe's are {', '.join(recipe.labels)}")
    index = {label: position for position, label in enumerate(recipe.labels)}
    targets = torch.tensor([index[label] for label in labels], dtype=torch.int64)
    face_input = recipe.model.modalities["face"].input
    if manifest.images is not None:
        return FaceSamples(to_crops(manifest.images[rows], face_input), targets)
    return FaceSamples(
        torch.cat([to_crops(_read(path)[None], face_input) for path in table["path"].to_numpy()[rows]]), targets
    )


def _read(path: str) -> np.ndarray:
    try:
        return read_image(Path(path))
    except MediaError as error:
        raise DataError(f"{error}; a data set of faces must hold images") from error


class _ShuffledBatches(BatchSampler):
    """Shuffles by (seed, epoch), so that a resumed run sees what an uninterrupted one would have seen."""

    def __init__(self, samples: FaceSamples, batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._generator = torch.Generator()
        self._seed, self._epoch = seed, epoch
        # Batch normalisation cannot train on one sample.
        super().__init__(
            RandomSampler(samples, generator=self._generator), batch_size, drop_last=len(samples) % batch_size == 1
        )

    def __iter__(self) -> Iterator[list[int]]:
        self._generator.manual_seed(self._seed * 1_000_003 + self._epoch())
        return super().__iter__()


def ordered_batches(samples: FaceSamples, batch_size: int) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches in the order of the rows."""
    return DataLoader(
        samples, sampler=BatchSampler(SequentialSampler(samples), batch_size, drop_last=False), batch_size=None
    )


def shuffled_batches(
    samples: FaceSamples, batch_size: int, seed: int, epoch: Callable[[], int]
) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches in an order that only ``seed`` and ``epoch()``, asked at the start of each epoch, decide."""
    return DataLoader(samples, sampler=_ShuffledBatches(samples, batch_size, seed, epoch), batch_size=None)
