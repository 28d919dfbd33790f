"""Dense layers, and GELUs after them, on a CPU: the products of :mod:`pyemo.nn.products`, with gradients by kernels of pyemo's own.

oneDNN would copy both factors for the gradients of weights. The sums that are the gradients of biases are made on the way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.nn.plain_gradients import plain_gradients
from pyemo.nn.products import GELUS, input_gradient, large, product, product_and_gelu, rows_of, served
from pyemo.ops.direct import in_memory, watched
from pyemo.ops.native import code_of, native, view_of


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, faster; with its gradients, errors and autocast.

    Args:
        x: (..., C).
        weight: (D, C).
        bias: (D,), or none.

    Returns:
        (..., D). By PyTorch's own ``linear``: small products, dtypes other than float32 and bfloat16, other devices, and whenever
        single operations matter to somebody (:func:`pyemo.ops.direct.watched`). Second derivatives are PyTorch's too.
    """
    return _layer(x, weight, bias, None)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, approximate: str = "none") -> Tensor:
    """``torch.nn.functional.gelu(linear(x, weight, bias), approximate)``, as :func:`linear` has it."""
    return _layer(x, weight, bias, approximate)


def _layer(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None) -> Tensor:
    if watched() or not large(x, weight) or gelu not in GELUS:
        return _plain(x, weight, bias, gelu)
    given = x, weight, bias
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = autocast(x, weight, bias)
    if not served(x, weight, bias):
        return _plain(*given, gelu)
    # Of more than two dimensions, oneDNN's operator returns a view, which must not be a Function's result.
    rows = x.reshape(-1, x.shape[-1])
    if not learned(x, weight, bias):
        y = product(rows, weight, bias, gelu)
    elif gelu == "none" and native is not None and native.has_gelu(code_of(x.dtype)):
        y = _LinearGelu.apply(rows, weight, bias)
    else:
        y = _Linear.apply(rows, weight, bias)
        y = y if gelu is None else F.gelu(y, approximate=gelu)
    return y.view(*x.shape[:-1], y.shape[1])


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None) -> Tensor:
    y = F.linear(x, weight, bias)
    return y if gelu is None else F.gelu(y, approximate=gelu)


def _plain_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _plain(x, weight, bias, "none")


def autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The arguments of a dense layer, cast as autocast does on a CPU."""
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(
        tensor
        if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64
        else tensor.to(dtype)
        for tensor in tensors
    )


def learned(*tensors: Tensor | None) -> bool:
    """Whether a gradient is recorded."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


Gradients = tuple[Tensor | None, ...]


class _Linear(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            return plain_gradients(F.linear, (x, weight, bias), ctx.needs_input_grad, dy)
        return _gradients(ctx, dy, x, weight)


class _LinearGelu(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        hidden, y = product_and_gelu(x, weight, bias)
        ctx.save_for_backward(x, weight, bias, hidden)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        x, weight, bias, hidden = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            return plain_gradients(_plain_gelu, (x, weight, bias), ctx.needs_input_grad, dy)
        dy = dy.contiguous()  # alive as long as its address is used
        dhidden = torch.empty_like(hidden)
        dbias = hidden.new_empty(hidden.shape[1]) if ctx.needs_input_grad[2] else None
        native.gelu_backward(*map(view_of, (dy, hidden, dhidden, dbias)), torch.get_num_threads())  # type: ignore[union-attr]
        return _gradients(ctx, dhidden, x, weight, dbias)


def _gradients(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, dbias: Tensor | None = None) -> Gradients:
    """Of the output dy of a dense layer, those that are wanted. That of the bias may be there already."""
    wants_x, wants_weight, wants_bias = ctx.needs_input_grad
    dx = input_gradient(dy, weight) if wants_x else None
    dweight, sums = parameter_gradients(dy, x, weight, wants_weight, wants_bias and dbias is None)
    return dx, dweight, sums if dbias is None else dbias


def parameter_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, wants_weight: bool, wants_bias: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Of a dense layer's weight and bias, from that of its output dy (rows, D) and its input (rows, C)."""
    if not (wants_weight and native is not None and native.has_weight_gradient(code_of(x.dtype))):
        return dy.t() @ x if wants_weight else None, dy.sum(0) if wants_bias else None
    dy, x = rows_of(dy), rows_of(x)
    dweight = torch.empty_like(weight, memory_format=torch.contiguous_format)
    dbias = dy.new_empty(dy.shape[1]) if wants_bias else None
    native.weight_gradient(*map(view_of, (dy, x, dweight, dbias)), torch.get_num_threads())
    return dweight, dbias
