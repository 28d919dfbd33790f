"""What the swapped classes of MLPs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

from pyemo.nn.feed_forward import feed_forward
from pyemo.nn.fused import Fused


@dataclass(frozen=True)
class Layers:
    """Of an MLP."""

    first: Any
    activation: Any
    second: Any
    others: tuple[Any, ...]
    """Dropouts, and what does nothing."""


class FusedMLP(Fused):
    """An MLP with a GELU, by :func:`pyemo.nn.feed_forward.feed_forward`."""

    DROPPED = "activations"

    @staticmethod
    def layers(module: Any) -> Layers | None:
        """None if they are not those that such an MLP has."""
        raise NotImplementedError

    @classmethod
    def altered(cls, module: Any) -> str | None:
        layers = cls.layers(module)
        if layers is None:
            return "it has other layers than two linear ones, an activation and dropouts"
        for layer, kinds in (
            (layers.first, (nn.Linear,)),
            (layers.activation, (nn.GELU, GELU, GELUTanh)),
            (layers.second, (nn.Linear,)),
            *((other, (nn.Dropout, nn.Identity)) for other in layers.others),
        ):
            if type(layer) not in kinds:
                return f"it has a {type(layer).__name__} in place of a {kinds[0].__name__}"
            if "forward" in vars(layer):
                return f"{type(layer).__name__}.forward is replaced on one of its layers"
        if any(type(layer.weight) not in (Tensor, nn.Parameter) for layer in (layers.first, layers.second)):
            return "its weights are a special kind of tensor"
        return None

    def serves(self, x: Tensor) -> bool:
        return x.is_cpu and not torch.compiler.is_compiling()

    def dropped_share(self) -> float:
        return max((part.p for part in self.children() if isinstance(part, nn.Dropout)), default=0.0)

    def forward(self, x: Tensor) -> Tensor:
        layers = self.layers(self) if self.fuses(x) else None
        if layers is None:
            return super().forward(x)
        return feed_forward(
            x,
            layers.first.weight,
            layers.first.bias,
            layers.second.weight,
            layers.second.bias,
            "tanh" if isinstance(layers.activation, GELUTanh) else getattr(layers.activation, "approximate", "none"),
        )
