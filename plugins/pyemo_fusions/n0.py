"""The thesis's network N0: fusion component only (Chang, equation 30, figure 5.4 left)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo_fusions.fusion_component import FeatureNorm, FusionComponent


class N0(nn.Module):
    """Each modality's vector normalised, then the fusion component on all of them. With frozen modalities this is the thesis's late fusion.

    Args:
        dims: sizes of each modality, of any number (given by pyemo).
        num_classes: number of logits (given by pyemo).
        hidden_dim: hidden size of the scoring.
        dropout: before the last dense layer, in training.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self, dims: Mapping[str, ModalityDims], num_classes: int, hidden_dim: int = 256, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({modality: FeatureNorm(size.vector) for modality, size in dims.items()})
        self.fusion = FusionComponent(sum(size.vector for size in dims.values()), num_classes, hidden_dim, dropout)

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        return FusionOutput(self.fusion(list(self.normalized(inputs).values())))

    def normalized(self, inputs: Mapping[str, FusionInput]) -> dict[str, Tensor]:
        """Each modality's FeatureNorm(f), in the order of ``dims``."""
        return {modality: norm(inputs[modality].vector) for modality, norm in self.norms.items()}
