"""Concatenate the modalities' vectors and classify them linearly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims


class Linear(nn.Module):
    """Dropout and one linear layer on the concatenated vectors, in the order of ``dims``; works with one modality as well.

    Args:
        dims: sizes of each modality.
        num_classes: number of logits.
        dropout: probability with which a feature is zeroed in training.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, dims: Mapping[str, ModalityDims], num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.modalities = tuple(dims)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(sum(size.vector for size in dims.values()), num_classes)

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        vector = torch.cat([inputs[modality].vector for modality in self.modalities], dim=-1)
        return FusionOutput(self.linear(self.dropout(vector)))
