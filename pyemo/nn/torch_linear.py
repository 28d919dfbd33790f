"""PyTorch's dense layer (``torch.nn.Linear``)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pyemo.nn.dense import linear
from pyemo.nn.fused import Fused


class FusedLinear(Fused, nn.Linear):
    """A dense layer, by :func:`pyemo.nn.dense.linear`."""

    @classmethod
    def altered(cls, module: Any) -> str | None:
        return None if type(module.weight) in (Tensor, nn.Parameter) else "its weight is a special kind of tensor"

    def serves(self, x: Tensor) -> bool:
        return x.is_cpu

    def dropped_share(self) -> float:
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias) if self.fuses(x) else super().forward(x)


FUSED = {nn.Linear: FusedLinear}
