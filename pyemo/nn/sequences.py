"""Sequences with steps that do not exist: what aggregators and fusions need so that padding never changes a result.

``sequence`` is always (B, T, D) floating point, ``mask`` a boolean (B, T), true where a step exists. Steps may be missing anywhere, not
only at the end, and a missing step may hold anything, NaN included.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Pool = Literal["mean", "last"]


def check_pool(how: Pool) -> Pool:
    """``how``, if it is one that :func:`pool` knows; else a ValueError."""
    if how not in ("mean", "last"):
        raise ValueError(f"pool: expected 'mean' or 'last', got {how!r}")
    return how


def zero_missing(sequence: Tensor, mask: Tensor) -> Tensor:
    """(B, T, D) with zeros in the steps that do not exist."""
    # Filled, not multiplied: 0 times NaN is NaN.
    return sequence.masked_fill(~mask.unsqueeze(-1), 0)


def compact(sequence: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The steps that exist moved to the front in their order, zeros behind them; and how many there are, (B,) int64."""
    order = torch.argsort(~mask, dim=1, stable=True)
    front = zero_missing(sequence, mask).gather(1, order.unsqueeze(-1).expand_as(sequence))
    return front, mask.sum(dim=1)


def attended(mask: Tensor) -> Tensor:
    """Keys of an attention, (B, T): the steps that exist, or all where none does, since a softmax over nothing is NaN.

    The caller's steps must be zero where they do not exist (:func:`zero_missing`), and whatever an empty sequence gives must be dropped.
    """
    return mask | ~mask.any(dim=1, keepdim=True)


def pool(sequence: Tensor, mask: Tensor, how: Pool) -> Tensor:
    """One vector a sequence, (B, D): the ``mean`` of the steps that exist, or the ``last`` of them; zeros where none exists."""
    filled = zero_missing(sequence, mask)
    if how == "mean":
        return filled.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1).to(filled.dtype)
    if sequence.shape[1] == 0:
        return filled.sum(dim=1)
    steps = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, steps, 0).amax(dim=1)
    return filled.take_along_dim(last[:, None, None], dim=1).squeeze(1)
