"""The encoder of the RegNet paper (:class:`pyemo.nn.wide_head.WideHeadEncoder`) as an aggregator."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from pyemo.nn.sequences import Pool, check_pool, pool
from pyemo.nn.wide_head import WideHeadEncoder


class WideHeadTransformer(nn.Module):
    """The encoder's outputs as one vector.

    The paper's whole head, with its residual and a decision for each frame, is the fusion ``concat-residual``.

    Args:
        feature_dim: D, also D' (given by pyemo).
        variant, depth, heads, head_dim, feed_forward, dropout: see :class:`~pyemo.nn.wide_head.WideHeadEncoder`.
        pool: the ``mean`` of the outputs of the steps that exist, or the ``last`` of them; zeros where none exists.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        feature_dim: int,
        variant: Literal["transformer", "attention"] = "transformer",
        depth: int = 1,
        heads: int = 2,
        head_dim: int = 64,
        feed_forward: int = 512,
        dropout: float = 0.0,
        pool: Pool = "mean",
    ) -> None:
        super().__init__()
        self.output_dim = feature_dim
        self.pool = check_pool(pool)
        self.encoder = WideHeadEncoder(feature_dim, variant, depth, heads, head_dim, feed_forward, dropout)

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), boolean (B, T) -> (B, D)."""
        return pool(self.encoder(sequence, mask), mask, self.pool)
