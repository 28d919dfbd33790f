"""PyTorch's layer normalization (``torch.nn.LayerNorm``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pyemo.nn.fused import Fused
from pyemo.nn.layer_norm import layer_norm
from pyemo.ops.native import native


class FusedLayerNorm(Fused, nn.LayerNorm):
    """Layer normalization over the last dimension, by :func:`pyemo.nn.layer_norm.layer_norm`."""

    @classmethod
    def altered(cls, module: Any) -> str | None:
        if len(module.normalized_shape) != 1:
            return "it normalizes over several dimensions"
        kinds = {type(each) for each in (module.weight, module.bias) if each is not None}
        return None if kinds <= {Tensor, nn.Parameter} else "its weight is a special kind of tensor"

    @classmethod
    def obstacle(cls, module: Any) -> str | None:
        return None if native is not None else "pyemo was built without its native module"

    def serves(self, x: Tensor) -> bool:
        return x.is_cpu

    def dropped_share(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        fuses = self.fuses(x) and x.shape[-1:] == self.normalized_shape
        return layer_norm(x, self.weight, self.bias, self.eps) if fuses else super().forward(x)


FUSED = {nn.LayerNorm: FusedLayerNorm}
