"""timm's MLP (``timm.layers.Mlp``), that of nearly all of its transformers."""

from __future__ import annotations

from typing import Any

from timm.layers.mlp import Mlp

from pyemo.nn.fused_mlp import FusedMLP, Layers


class FusedTimmMlp(FusedMLP, Mlp):
    @staticmethod
    def layers(module: Any) -> Layers | None:
        return Layers(module.fc1, module.act, module.fc2, (module.drop1, module.norm, module.drop2))


FUSED = {Mlp: FusedTimmMlp}
