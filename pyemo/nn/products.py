"""Products of dense layers on a CPU: by pyemo's own kernels, or by oneDNN where those are not faster.

PyTorch's ``linear`` goes to MKL in float32, and in either dtype it writes the bias to all of the output first, for the product to be added
to. Here the bias, and the GELU of an MLP, join the product while it is in registers. oneDNN does so too; PyTorch has an operator for that, which
``torch.compile`` uses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyemo.ops.direct import in_memory
from pyemo.ops.native import code_of, native, tensor_view, view_of

_LEAST_OPERATIONS = 2**24
"""Multiplications and additions of a layer; smaller ones are done before anything else has begun."""

_LEAST_ROWS = 8
"""With fewer, the weights are read for so little that it is not worth packing them."""

GELUS = {None: "", "none": "gelu", "tanh": "gelu-tanh"}
"""What follows a layer, as PyTorch calls a GELU's approximation -> as the native module does."""


def _find_operator() -> Any:
    if not torch.backends.mkldnn.is_available():
        return None
    return getattr(getattr(torch.ops.mkldnn, "_linear_pointwise", None), "default", None)


def _find_dtypes() -> tuple[torch.dtype, ...]:
    try:
        bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except AttributeError:
        bfloat16 = False
    return (torch.float32, torch.bfloat16) if bfloat16 else (torch.float32,)


_operator = _find_operator()
_dtypes = _find_dtypes()


def large(x: Tensor, weight: Tensor) -> bool:
    """Whether it matters how the product is computed."""
    return weight.dim() == 2 and 2 * x.numel() * weight.shape[0] >= max(_LEAST_OPERATIONS, 1)


def served(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether :func:`product` can compute it; what PyTorch would not accept is left to its errors.

    With ``torch.backends.mkldnn.flags(enabled=False)``, which asks for PyTorch's own products, nothing is.
    """
    if not torch._C._get_mkldnn_enabled() or not in_memory(x, weight, bias):
        return False
    if any(each is not None and each.dtype != x.dtype for each in (weight, bias)):
        return False
    if x.dim() < 2 or weight.numel() == 0 or x.shape[-1] != weight.shape[1]:
        return False
    if bias is not None and bias.shape != weight.shape[:1]:
        return False
    return has_kernel(x, x.numel() // x.shape[-1]) or (_operator is not None and x.dtype in _dtypes)


def has_kernel(x: Tensor, rows: int) -> bool:
    """Whether pyemo's own kernels compute products of so many rows."""
    return (
        native is not None
        and rows >= _LEAST_ROWS
        and x.dtype in (torch.float32, torch.bfloat16)
        and native.has_layer(code_of(x.dtype))
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, gelu: str | None = None) -> Tensor:
    """x (rows, C) times the transpose of weight (D, C), with a bias (D,), and a GELU of an approximation, on top. What is :func:`served` only."""
    if has_kernel(x, x.shape[0]):
        return _layer(x, weight, bias, GELUS[gelu], None)
    bias = None if bias is None else bias.contiguous()  # the operator takes it for that in any case
    y: Tensor = _operator(x, weight, bias, *(("none", [], "") if gelu is None else ("gelu", [], gelu)))
    return y


def product_and_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The product, and the GELU of it. Where the native module has one only."""
    if has_kernel(x, x.shape[0]):
        hidden = x.new_empty(x.shape[0], weight.shape[0])
        return hidden, _layer(x, weight, bias, "gelu", hidden)
    hidden = product(x, weight, bias)
    y = torch.empty_like(hidden)
    native.gelu(tensor_view(hidden), tensor_view(y), torch.get_num_threads())  # type: ignore[union-attr]
    return hidden, y


def input_gradient(dy: Tensor, weight: Tensor) -> Tensor:
    """Of the output's gradient dy (rows, D) and the weight (D, C): (rows, C)."""
    if dy.dtype == torch.float32 or has_kernel(dy, dy.shape[0]):
        return product(dy, weight.t())
    return dy @ weight  # oneDNN's too, with less around it


def gradient_before_gelu(dy: Tensor, weight: Tensor, hidden: Tensor) -> Tensor:
    """The gradient of what a GELU was given, ``hidden`` (rows, C), from that of the next layer's output, dy (rows, D), whose weight is (D, C).
    By pyemo's kernels only."""
    return _layer(dy, weight.t(), None, "gelu-backward", hidden)


def _layer(x: Tensor, weight: Tensor, bias: Tensor | None, then: str, hidden: Tensor | None) -> Tensor:
    x, weight = rows_of(x), _some_side_by_side(weight)
    bias = None if bias is None else bias.contiguous()  # these names keep alive what the addresses are of
    y = x.new_empty(x.shape[0], weight.shape[0])
    native.layer(  # type: ignore[union-attr]
        tensor_view(x),
        tensor_view(weight),
        view_of(bias),
        then,
        tensor_view(y),
        view_of(hidden),
        torch.get_num_threads(),
    )
    return y


def chained(
    x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None, gelu: str
) -> Tensor:
    """Two layers with a GELU between them, whose hidden activations are not kept. By pyemo's kernels only."""
    x, weight1, weight2 = rows_of(x), _some_side_by_side(weight1), _some_side_by_side(weight2)
    bias1, bias2 = (None if each is None else each.contiguous() for each in (bias1, bias2))
    y = x.new_empty(x.shape[0], weight2.shape[0])
    native.feed_forward(  # type: ignore[union-attr]
        tensor_view(x),
        tensor_view(weight1),
        view_of(bias1),
        GELUS[gelu],
        tensor_view(weight2),
        view_of(bias2),
        tensor_view(y),
        torch.get_num_threads(),
    )
    return y


def rows_of(matrix: Tensor) -> Tensor:
    """The same with the columns side by side, as the native kernels read it."""
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()


def _some_side_by_side(weight: Tensor) -> Tensor:
    return weight if 1 in weight.stride() else weight.contiguous()
