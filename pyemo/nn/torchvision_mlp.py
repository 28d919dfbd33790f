"""torchvision's MLPs (``torchvision.ops.MLP``), and that of its Vision Transformers."""

from __future__ import annotations

from typing import Any

from torchvision.models.vision_transformer import MLPBlock
from torchvision.ops.misc import MLP

from pyemo.nn.fused_mlp import FusedMLP, Layers


def _layers(module: Any) -> Layers | None:
    if len(module) != 5:
        return None
    first, activation, dropout, second, last = module
    return Layers(first, activation, second, (dropout, last))


class FusedTorchvisionMLP(FusedMLP, MLP):
    layers = staticmethod(_layers)


class FusedTorchvisionMLPBlock(FusedMLP, MLPBlock):
    layers = staticmethod(_layers)


FUSED = {MLP: FusedTorchvisionMLP, MLPBlock: FusedTorchvisionMLPBlock}
