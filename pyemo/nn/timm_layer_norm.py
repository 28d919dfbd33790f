"""timm's layer normalization (``timm.layers.LayerNorm``), that of its Vision Transformers."""

from __future__ import annotations

from timm.layers.norm import LayerNorm
from torch import Tensor

from pyemo.nn.torch_layer_norm import FusedLayerNorm


class FusedTimmLayerNorm(FusedLayerNorm, LayerNorm):
    def fuses(self, x: Tensor) -> bool:
        return not self._fast_norm and super().fuses(x)  # that switch is for Apex, and casts under autocast


FUSED = {LayerNorm: FusedTimmLayerNorm}
