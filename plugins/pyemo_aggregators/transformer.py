"""Transformer encoder with averaged outputs, the aggregator of the thesis's best figures (Chang, section 5.4, table 5.4)."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pyemo.nn.sequences import attended, pool, zero_missing


class Transformer(nn.Module):
    """Mean of a transformer encoder's outputs over the steps that exist; zeros where none does.

    The thesis says no more than that the outputs are averaged. Layers are normalised first and end in a normalisation, as in ViT, to which
    it refers; positions are the sines and cosines of Vaswani et al. 2017 (section 3.5), counted over the steps that exist.

    Args:
        feature_dim: D (given by pyemo).
        dim: size of the encoder, D'; another than D puts a linear layer before it. Default: D.
        layers: encoder layers.
        heads: attention heads; must divide ``dim``.
        feed_forward: hidden size of the feed-forward parts. Default: 4 times ``dim``.
        dropout: of each layer, in training.
        positions: ``sinusoidal``, or ``none``: the order of the steps then counts for nothing.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        feature_dim: int,
        dim: int | None = None,
        layers: int = 2,
        heads: int = 8,
        feed_forward: int | None = None,
        dropout: float = 0.1,
        positions: Literal["sinusoidal", "none"] = "sinusoidal",
    ) -> None:
        super().__init__()
        dim = dim or feature_dim
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads, got {dim} and {heads}")
        if positions not in {"sinusoidal", "none"}:
            raise ValueError(f"positions: expected 'sinusoidal' or 'none', got {positions!r}")
        self.output_dim = dim
        self.positions = positions
        self.projection = nn.Identity() if dim == feature_dim else nn.Linear(feature_dim, dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, feed_forward or 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), boolean (B, T) -> (B, D')."""
        if not sequence.shape[1]:
            return sequence.new_zeros(len(sequence), self.output_dim)
        steps = self.projection(zero_missing(sequence, mask))
        if self.positions == "sinusoidal":
            steps = steps + _sinusoids((mask.cumsum(dim=1) - 1).clamp(min=0), self.output_dim).to(steps.dtype)
        return pool(self.encoder(steps, src_key_padding_mask=~attended(mask)), mask, "mean")


def _sinusoids(positions: Tensor, dim: int) -> Tensor:
    """(...) integers -> (..., dim) float32: sin and cos in turns, with wavelengths from 2 pi to 10000 * 2 pi."""
    even = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32)
    angles = positions.unsqueeze(-1) * torch.exp(even * (-math.log(10_000) / dim))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :dim]
