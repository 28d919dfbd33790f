"""Late fusion: the average of the modalities' probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo_fusions.probabilities import log_mean_probability


class LateAverage(nn.Module):
    """Dropout and one linear classifier on each modality's vector; ``logits`` are the log of the mean of their probabilities.

    A modality without any step in a sample is left out of that sample's mean. ``auxiliary`` always has each modality's logits by its name.

    Args:
        dims: sizes of each modality, of any number (given by pyemo).
        num_classes: number of logits (given by pyemo).
        dropout: probability with which a feature is zeroed in training.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, dims: Mapping[str, ModalityDims], num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.scorers = nn.ModuleDict({modality: nn.Linear(size.vector, num_classes) for modality, size in dims.items()})

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        each = {modality: scorer(self.dropout(inputs[modality].vector)) for modality, scorer in self.scorers.items()}
        present = [inputs[modality].mask.any(dim=1) for modality in each]
        return FusionOutput(log_mean_probability(list(each.values()), present), each)
