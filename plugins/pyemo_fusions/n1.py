"""The thesis's network N1: N0 and a scorer for each modality, so that the loss has a term for each (Chang, equation 31, figure 5.4
middle; the gradient blending of Wang, Tran, Feiszli 2020)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo_fusions.n0 import N0


class N1(N0):
    """As :class:`N0`, with one dense layer on each normalised vector. In evaluation it is N0: the scorers do not run.

    Equation 26 scores modalities with two dense layers, equation 31 with one; it is one, as in the definition of the network.

    In training ``auxiliary`` has the logits of each modality by the modality's name.
    """

    def __init__(
        self, dims: Mapping[str, ModalityDims], num_classes: int, hidden_dim: int = 256, dropout: float = 0.0
    ) -> None:
        super().__init__(dims, num_classes, hidden_dim, dropout)
        self.scorers = nn.ModuleDict({modality: nn.Linear(size.vector, num_classes) for modality, size in dims.items()})

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        vectors = self.normalized(inputs)
        logits = self.fusion(list(vectors.values()))
        if not self.training:
            return FusionOutput(logits)
        return FusionOutput(logits, {modality: scorer(vectors[modality]) for modality, scorer in self.scorers.items()})
