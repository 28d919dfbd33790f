"""Products of dense layers: who computes them, and how near to the truth they are to be."""

from __future__ import annotations

import torch
from torch import Tensor

from pyemo.nn import products
from pyemo.ops.native import code_of


class Products:
    """Those that PyTorch's ``linear`` does not compute: by whom, of which dtype, and what follows, as the native module calls it."""

    def __init__(self, kernels: str) -> None:
        self.kernels = kernels
        self.dtype = torch.float64 if kernels == "pytorch" else torch.float32  # of tests that do not choose another
        self.noted: list[tuple[str, torch.dtype, str]] = []

    def by(self, dtype: torch.dtype) -> str:
        """Who is to compute those of a dtype."""
        if self.kernels != "pyemo":
            return self.kernels
        there = products.native is not None and products.native.has_layer(code_of(dtype))
        return "pyemo" if there else "onednn"

    @property
    def then(self) -> list[str]:
        return [then for *_, then in self.noted]


def gradients_of_inputs_are_pytorchs(noted: Products, dtype: torch.dtype) -> bool:
    """In bfloat16, PyTorch's product is oneDNN's too."""
    return dtype == torch.bfloat16 and noted.by(dtype) == "onednn"


def compare(got: Tensor, other: Tensor, exact: Tensor) -> None:
    """``got`` is of the dtype of ``other``, PyTorch's, and not much further from the truth."""
    assert got.dtype == other.dtype
    assert got.shape == exact.shape
    error, usual = ((each.double() - exact).abs().max().item() for each in (got, other))
    scale = max(1, exact.abs().max().item())  # sums of numbers about 1 may cancel
    assert error <= 2 * usual + 8 * torch.finfo(got.dtype).eps * scale
