"""Transformer encoder layers whose attention heads are as wide as one likes, after Phan, Nguyen, Huynh, Kim, "Facial Expression
Classification using Fusion of Deep Neural Network in Video" (ABAW3, 2022, section 3.3 and table 1)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from pyemo.nn.sequences import attended, zero_missing


class WideHeadEncoder(nn.Module):
    """Attention projects D to ``heads * head_dim`` and back to D, so that D need not be a multiple of the number of heads.

    Table 1 gives depth 1, 2 heads, an embedded dimension of 64, a feed-forward of 512 and no dropout. The 64 is read as the size of each
    head: the paper says that it is the heads that are enlarged flexibly. Otherwise the layers are those of Vaswani et al. 2017, which it
    cites (normalised after each residual sum, ReLU); it names no position encoding, and here there is none.

    Args:
        dim: D.
        variant: ``transformer``, or ``attention``: one multi-head attention alone, the paper's other row in table 2.
        depth: layers.
        heads: attention heads.
        head_dim: size of each head.
        feed_forward: hidden size of the feed-forward part.
        dropout: of the attention's and the feed-forward's outputs, in training.
    """

    def __init__(
        self,
        dim: int,
        variant: Literal["transformer", "attention"] = "transformer",
        depth: int = 1,
        heads: int = 2,
        head_dim: int = 64,
        feed_forward: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if variant not in {"transformer", "attention"}:
            raise ValueError(f"variant: expected 'transformer' or 'attention', got {variant!r}")
        if variant == "attention" and depth != 1:
            raise ValueError(f"variant 'attention' is a single attention: depth must be 1, got {depth}")
        self.layers = nn.ModuleList(
            _Attention(dim, heads, head_dim)
            if variant == "attention"
            else _EncoderLayer(dim, heads, head_dim, feed_forward, dropout)
            for _ in range(depth)
        )

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), boolean (B, T) -> (B, T, D); steps that do not exist are seen by none, and what they get means nothing."""
        steps, keys = zero_missing(sequence, mask), attended(mask)
        for layer in self.layers:
            steps = layer(steps, keys)
        return steps


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * heads * head_dim)
        self.projection = nn.Linear(heads * head_dim, dim)

    def forward(self, steps: Tensor, keys: Tensor) -> Tensor:
        query, key, value = self.qkv(steps).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys[:, None, None, :])
        out: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return out


class _EncoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(dim, heads, head_dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, feed_forward), nn.ReLU(), nn.Linear(feed_forward, dim))
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, keys: Tensor) -> Tensor:
        steps = self.attention_norm(steps + self.dropout(self.attention(steps, keys)))
        out: Tensor = self.feed_forward_norm(steps + self.dropout(self.feed_forward(steps)))
        return out
