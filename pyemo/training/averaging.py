"""Exponential moving average of the weights."""

from __future__ import annotations

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


def exponential_average(decay: float) -> WeightAveraging:
    """A callback that validates and saves the moving average instead of the raw weights.

    The decay rises as (1 + n) / (10 + n) with the number n of updates up to ``decay``, so that the first, random weights are soon forgotten.
    """

    def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        count = float(updates)
        return averaged.lerp(current, 1 - min(decay, (1 + count) / (10 + count)))

    return WeightAveraging(avg_fn=average)
