"""Gated multimodal units as a fusion for pyemo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims

__all__ = ["GatedFusion"]


class GatedFusion(nn.Module):
    """Gated multimodal unit and a linear classifier, for any number of modalities.

    Arevalo, Solorio, Montes-y-Gómez, González, "Gated Multimodal Units for Information Fusion", 2017 (arXiv:1702.01992), figure 2:
    h_i = tanh(W_i x_i), z_i = sigmoid(Wz_i [x_1, ..., x_k]), h = sum_i z_i * h_i; with two modalities z_2 = 1 - z_1.
    There are no biases, so a modality whose vector is zero (none of its steps exist) adds nothing to h.

    Args:
        dims: sizes of each modality (given by pyemo).
        num_classes: number of logits (given by pyemo).
        hidden_dim: size of h.
        dropout: probability with which a value of h is zeroed in training.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self, dims: Mapping[str, ModalityDims], num_classes: int, hidden_dim: int = 128, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.modalities = tuple(dims)
        total = sum(size.vector for size in dims.values())
        gates = 1 if len(dims) == 2 else len(dims)
        self.projections = nn.ModuleList(nn.Linear(size.vector, hidden_dim, bias=False) for size in dims.values())
        self.gates = nn.Linear(total, gates * hidden_dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_dim, num_classes)

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        vectors = [inputs[modality].vector for modality in self.modalities]
        states = torch.stack([project(x).tanh() for project, x in zip(self.projections, vectors, strict=True)], dim=1)
        hidden = (self._weights(vectors, states.shape[-1]) * states).sum(dim=1)
        return FusionOutput(self.classifier(self.dropout(hidden)))

    def _weights(self, vectors: list[Tensor], hidden_dim: int) -> Tensor:
        """Gates z, (B, modalities, hidden_dim), from 0 to 1."""
        z = self.gates(torch.cat(vectors, dim=-1)).sigmoid().unflatten(-1, (-1, hidden_dim))
        return torch.cat([z, 1 - z], dim=1) if len(vectors) == 2 else z
