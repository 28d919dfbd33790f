"""The features on which a model decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyemo.contracts import FusionOutput
from pyemo.errors import ModelError


class FusedFeatures:
    """What :func:`fused_features` has seen, call after call."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        self._parts.append(features.detach().float().cpu())

    def array(self) -> np.ndarray:
        """(decisions, D) float32, in the order of the calls."""
        return torch.cat(self._parts).numpy() if self._parts else np.empty((0, 0), np.float32)


@contextmanager
def fused_features(model: nn.Module) -> Iterator[FusedFeatures]:
    """While the block runs, keeps the fused features of each call of ``model``: what goes into the layer that gives the logits.

    That layer is the last linear one, or convolution whose maps are averaged, whose output is the logits; a model has further layers of
    this kind for auxiliary logits, which do not count.

    Args:
        model: an :class:`pyemo.model.EmotionModel`.

    Raises:
        ModelError: at a call, if no layer's output is the logits.
    """
    seen = FusedFeatures()
    calls: list[tuple[Tensor, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        averaged = isinstance(layer, nn.Conv2d)
        calls.append(tuple(x.mean(dim=(-2, -1)) if averaged else x for x in (inputs[0], output)))  # type: ignore[arg-type]

    def choose(_model: nn.Module, _inputs: Any, output: FusionOutput) -> None:
        logits = output.logits
        for features, given in reversed(calls):
            if given.numel() == logits.numel() and torch.allclose(given.reshape(logits.shape), logits, atol=1e-5):
                seen.add(features.reshape(len(logits), -1))
                break
        else:
            raise ModelError(
                f"{type(model).__name__}: no linear layer's output is its logits, so it has no fused features"
            )
        calls.clear()

    with ExitStack() as hooks:
        for part in model.modules():
            if isinstance(part, (nn.Linear, nn.Conv2d)):
                hooks.callback(part.register_forward_hook(note).remove)
        hooks.callback(model.register_forward_hook(choose).remove)
        yield seen
