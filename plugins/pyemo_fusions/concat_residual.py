"""The head of Phan, Nguyen, Huynh, Kim, "Facial Expression Classification using Fusion of Deep Neural Network in Video" (ABAW3, 2022,
section 3): the backbone's features beside what an encoder makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.nn.sequences import Pool, check_pool, pool, zero_missing
from pyemo.nn.wide_head import WideHeadEncoder


class ConcatResidual(nn.Module):
    """concat(backbone features, encoder outputs) -> dropout -> dense, at each step.

    The paper says of the residual both that it is a sum (section 3.1) and that the representations are combined; it is a concatenation, so
    that the dense layer has 1776 inputs with the 888 features of RegNetY-1.6GF.

    Nor does it say which of a sequence's 64 outputs decides. Its labels and its F1 are those of frames, its encoder keeps the axis of time,
    and its dense layer is one of 8 neurons: it is read as one decision a frame, which is ``steps``. ``logits``, one decision a sample, are
    their ``mean`` over the steps that exist, or the ``last`` of them (for samples that are windows ending at the frame to be judged).

    With several modalities each has an encoder and a dense layer; ``logits`` are the sum of theirs, which is one dense layer on all their
    pooled features, and there are no ``steps``. The modalities' vectors are not used: their aggregator should be ``mean``, which has no weights.

    Args:
        dims: sizes of each modality (given by pyemo).
        num_classes: number of logits (given by pyemo).
        dropout: probability with which a feature is zeroed before the dense layer in training.
        variant, depth, heads, head_dim, feed_forward: see :class:`~pyemo.nn.wide_head.WideHeadEncoder`.
        pool: ``mean`` or ``last``.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        dims: Mapping[str, ModalityDims],
        num_classes: int,
        dropout: float = 0.5,
        variant: Literal["transformer", "attention"] = "transformer",
        depth: int = 1,
        heads: int = 2,
        head_dim: int = 64,
        feed_forward: int = 512,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        self.pool = check_pool(pool)
        sizes = {modality: size.sequence for modality, size in dims.items()}
        self.encoders = nn.ModuleDict(
            {
                modality: WideHeadEncoder(size, variant, depth, heads, head_dim, feed_forward)
                for modality, size in sizes.items()
            }
        )
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.ModuleDict({modality: nn.Linear(2 * size, num_classes) for modality, size in sizes.items()})

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Sequences (B, T_i, D_i) -> logits (B, num_classes) and, with one modality, steps (B, T, num_classes)."""
        steps = {}
        for modality, encoder in self.encoders.items():
            part = inputs[modality]
            sequence = zero_missing(part.sequence, part.mask)
            features = torch.cat([sequence, encoder(sequence, part.mask)], dim=-1)
            steps[modality] = self.dense[modality](self.dropout(features))
        logits = [pool(each, inputs[modality].mask, self.pool) for modality, each in steps.items()]
        return FusionOutput(sum(logits[1:], logits[0]), steps=steps[modality] if len(steps) == 1 else None)
