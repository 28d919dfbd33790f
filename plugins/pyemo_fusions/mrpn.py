"""The thesis's network N2, the multi-modal residual perceptron network (Chang, equations 29 and 32, figures 5.4 right and 5.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo_fusions.fusion_component import FeatureNorm, FusionComponent


class Mrpn(nn.Module):
    """A residual perceptron for each modality; the fusion component and, in training, one scorer a modality work on what they give.

    Any number of modalities and of targets (figure 5.5): each further target has a fusion component and scorers of its own on the same
    residual perceptrons.

    ``logits`` are the fused ones of the main target. In training ``auxiliary`` has each modality's logits by its name. A further target
    ``t`` adds its fused logits as ``"t"`` and, in training, those of a modality ``m`` as ``"t/m"``. In evaluation no scorer runs.

    Args:
        dims: sizes of each modality (given by pyemo).
        num_classes: number of logits of the main target (given by pyemo).
        hidden_dim: hidden size of the scorings.
        dropout: before the last dense layer of a fusion component, in training.
        targets: further targets by name, with the number of their outputs.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        dims: Mapping[str, ModalityDims],
        num_classes: int,
        hidden_dim: int = 256,
        dropout: float = 0.0,
        targets: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        targets = targets or {}
        for name, outputs in targets.items():
            if name in dims or not name.replace("-", "_").isidentifier():
                raise ValueError(f"targets: {name!r} must be a word that is no modality ({', '.join(dims)})")
            if outputs < 1:
                raise ValueError(f"targets: {name!r} must have one output or more, got {outputs}")
        sizes = {modality: size.vector for modality, size in dims.items()}
        self.perceptrons = nn.ModuleDict({modality: ResidualPerceptron(size) for modality, size in sizes.items()})
        self.main = _Target(sizes, num_classes, hidden_dim, dropout)
        # A prefix, since a ModuleDict has attributes of its own that a target may be called like.
        self.further = nn.ModuleDict(
            {f"to-{name}": _Target(sizes, outputs, hidden_dim, dropout) for name, outputs in targets.items()}
        )

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Vectors (B, D'_i) -> logits (B, num_classes)."""
        vectors = {modality: perceptron(inputs[modality].vector) for modality, perceptron in self.perceptrons.items()}
        logits, auxiliary = self.main(vectors)
        for key, target in self.further.items():
            name = key.removeprefix("to-")
            auxiliary[name], scores = target(vectors)
            auxiliary |= {f"{name}/{modality}": score for modality, score in scores.items()}
        return FusionOutput(logits, auxiliary)


class ResidualPerceptron(nn.Module):
    """f^ = FeatureNorm(f); f' = f^ + FeatureNorm(Sigmoid(Dense(f^))) (equation 29). (B, D) -> (B, D)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = FeatureNorm(size)
        self.dense = nn.Linear(size, size)
        self.residual_norm = FeatureNorm(size)

    def forward(self, vector: Tensor) -> Tensor:
        normalized = self.norm(vector)
        residual: Tensor = self.residual_norm(self.dense(normalized).sigmoid())
        return normalized + residual


class _Target(nn.Module):
    def __init__(self, sizes: Mapping[str, int], outputs: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.fusion = FusionComponent(sum(sizes.values()), outputs, hidden_dim, dropout)
        self.scorers = nn.ModuleDict({modality: nn.Linear(size, outputs) for modality, size in sizes.items()})

    def forward(self, vectors: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Fused logits, and in training those of each modality."""
        logits = self.fusion(list(vectors.values()))
        if not self.training:
            return logits, {}
        return logits, {modality: scorer(vectors[modality]) for modality, scorer in self.scorers.items()}
