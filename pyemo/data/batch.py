"""What one training or evaluation step gets, before it is normalised for a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

IGNORED = -100
"""Target of a step that has none; PyTorch's losses leave it out."""


@dataclass
class Batch:
    """B samples."""

    targets: Tensor
    """Class indices, int64: (B,), or (B, T) where each step of the faces has its own (:data:`IGNORED`: it has none)."""
    faces: Tensor | None = None
    """(B, T, C, S, S) uint8 crops."""
    face_mask: Tensor | None = None
    """(B, T) boolean, true where a crop exists."""
    voices: Tensor | None = None
    """(B, samples) int16, zeros behind the end."""
    voice_lengths: Tensor | None = None
    """(B,) int64, samples."""
    others: dict[str, Tensor] = field(default_factory=dict)
    """Further targets by name, (B,) int64."""


class Samples(Protocol):
    """Samples of a data set, served in whole batches; indexed by a list of positions."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def targets(self) -> Tensor:
        """(N,) int64: of each sample; :data:`IGNORED` where its steps have each their own."""

    @property
    def rows(self) -> np.ndarray:
        """(N,) int64: which row of the data set's table each sample is of."""

    @property
    def unit(self) -> str:
        """What they are, in the plural: images, clips, windows ..."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: Sequence[int]) -> Batch: ...

    def decisions(self, positions: Sequence[int]) -> list[tuple[int, int]]:
        """In evaluation: row and frame (-1: the row as a whole) of each target that is not ignored, sample after sample."""

    def class_counts(self) -> Tensor:
        """(classes,) int64: how many decisions of each class there are to learn."""

    def start_epoch(self, seed: int, epoch: int) -> None:
        """From here on random choices depend on these two and the sample alone."""


def move(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    moved: dict[str, Any] = {
        entry.name: value.to(device) if isinstance(value := getattr(batch, entry.name), Tensor) else value
        for entry in fields(batch)
    }
    moved["others"] = {name: values.to(device) for name, values in batch.others.items()}
    return Batch(**moved)
