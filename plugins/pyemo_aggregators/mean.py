"""Average over time."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Mean(nn.Module):
    """Mean of the steps that exist; zeros where none does."""

    contract_version: ClassVar[int] = 1

    def __init__(self, feature_dim: int) -> None:
        super().__init__()
        self.output_dim = feature_dim

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), boolean (B, T) -> (B, D)."""
        # Filled, not multiplied: a step that does not exist may hold anything, NaN included.
        total = sequence.masked_fill(~mask.unsqueeze(-1), 0).sum(dim=1)
        return total / mask.sum(dim=1, keepdim=True).clamp(min=1).to(total.dtype)
