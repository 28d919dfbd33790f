"""Pairwise feature fusion: Qayyum, Razzak, Tanveer, Mazher, "Spontaneous Facial Behavior Analysis using Deep Transformer Based
Framework for Child-Computer Interaction" (equations 5 to 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.errors import PluginError


class Pairwise(nn.Module):
    """Pff = concat(F1F2, F2F1) of two modalities' vectors, then Linear, ReLU, dropout, Linear.

    With two vectors of 768, Pff has 3072 features; the head is Linear(3072, 768) and Linear(768, classes), as published. The paper gives no
    dropout probability; the default is the usual 0.5.

    Args:
        dims: sizes of exactly two modalities, F1 and F2 in this order (given by pyemo).
        num_classes: number of logits (given by pyemo).
        hidden_dim: outputs of the first linear layer.
        dropout: probability with which a hidden value is zeroed in training.

    Raises:
        PluginError: not two modalities.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self, dims: Mapping[str, ModalityDims], num_classes: int, hidden_dim: int = 768, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if len(dims) != 2:
            raise PluginError(f"fusion 'pairwise' takes two modalities, got {', '.join(dims)}")
        self.first, self.second = dims
        self.head = nn.Sequential(
            nn.Linear(2 * sum(size.vector for size in dims.values()), hidden_dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_1) and (B, D'_2) -> logits (B, num_classes)."""
        first, second = inputs[self.first].vector, inputs[self.second].vector
        return FusionOutput(self.head(torch.cat([first, second, second, first], dim=-1)))
