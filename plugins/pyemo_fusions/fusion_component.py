"""The parts that the thesis's networks n0, n1 and mrpn share (Chang, section 5.2.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyemo.errors import TrainingError


class FeatureNorm(nn.BatchNorm1d):
    """Batch normalisation of feature vectors (B, D), which is what the thesis implements FeatureNorm as (remark 1 to figure 5.4).

    Raises:
        TrainingError: in training, a batch of one sample: it has no variance.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) < 2:
            raise TrainingError(
                f"a fusion with batch normalisation cannot train on a batch of {len(input)}: choose a training.batch_size that "
                "leaves no single sample over"
            )
        return super().forward(input)


class FusionComponent(nn.Module):
    """Concatenate -> FeatureNorm -> Scoring, where Scoring is Dense -> ReLU -> FeatureNorm -> Dense (equations 25 to 27).

    Equation 27 leaves out the normalisation of the concatenation that equation 26 and its own text have; it is here.

    Args:
        in_features: sum of the sizes of the vectors.
        num_classes: number of logits.
        hidden_dim: outputs of the first dense layer. The thesis's parameter count implies 256 (see the aggregator ``lstm``).
        dropout: probability with which an input of the last dense layer is zeroed in training. Equation 25 has none; the text lists
            dropout among the units.
    """

    def __init__(self, in_features: int, num_classes: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = FeatureNorm(in_features)
        self.scoring = nn.Sequential(
            nn.Linear(in_features, hidden_dim),
            nn.ReLU(),
            FeatureNorm(hidden_dim),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, num_classes),
        )

    def forward(self, vectors: list[Tensor]) -> Tensor:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        logits: Tensor = self.scoring(self.norm(torch.cat(vectors, dim=-1)))
        return logits
