"""Dense layers, and GELUs after them, on a CPU: by oneDNN, which PyTorch itself asks for few of them, and by kernels of pyemo's own.

In float32, PyTorch's ``linear`` goes to MKL, whose products take longer than oneDNN's on an AMD EPYC (Zen 4). In either dtype it writes the
bias to all of the output first, for the product to be added to. oneDNN adds the bias, and the GELU of an MLP, to the product in
registers. PyTorch has an operator for that, which ``torch.compile`` uses. Gradients of weights, which oneDNN would copy both factors for,
and GELUs in training are pyemo's own, with the sums that are the gradients of biases made on the way.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.ops.direct import in_memory, watched
from pyemo.ops.native import code_of, native, tensor_view

_LEAST_OPERATIONS = 2**24
"""Multiplications and additions of a layer; smaller ones are done before oneDNN has looked up its kernel."""


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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``torch.nn.functional.linear``, by oneDNN where that is faster; with its gradients, errors and autocast.

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
    if watched() or not _large(x, weight):
        return _plain(x, weight, bias, gelu)
    given = x, weight, bias
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = autocast(x, weight, bias)
    if not _serves(x, weight, bias):
        return _plain(*given, gelu)
    # Of more than two dimensions, the operator returns a view, which must not be a Function's result.
    rows = x.reshape(-1, x.shape[-1])
    if not _learned(x, weight, bias):
        y = _product(rows, weight, bias, gelu)
    elif gelu == "none" and native is not None and native.has_gelu(code_of(x.dtype)):
        y = _LinearGelu.apply(rows, weight, bias)
    else:
        y = _Linear.apply(rows, weight, bias)
        y = y if gelu is None else F.gelu(y, approximate=gelu)
    return y.view(*x.shape[:-1], y.shape[1])


def _plain(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None) -> Tensor:
    y = F.linear(x, weight, bias)
    return y if gelu is None else F.gelu(y, approximate=gelu)


def autocast(*tensors: Tensor | None) -> tuple[Any, ...]:
    """The arguments of a dense layer, cast as autocast does on a CPU."""
    dtype = torch.get_autocast_dtype("cpu")
    return tuple(
        tensor
        if tensor is None or not tensor.is_floating_point() or tensor.dtype == torch.float64
        else tensor.to(dtype)
        for tensor in tensors
    )


def _large(x: Tensor, weight: Tensor) -> bool:
    return weight.dim() == 2 and 2 * x.numel() * weight.shape[0] >= max(_LEAST_OPERATIONS, 1)


def _serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether oneDNN can compute it; what PyTorch would not accept is left to its errors."""
    if _operator is None or x.dtype not in _dtypes or not torch._C._get_mkldnn_enabled():
        return False
    if not in_memory(x, weight, bias) or any(each is not None and each.dtype != x.dtype for each in (weight, bias)):
        return False
    if x.dim() < 2 or x.shape[-1] != weight.shape[1]:
        return False
    return bias is None or bias.shape == weight.shape[:1]


def _learned(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: str | None = None) -> Tensor:
    y: Tensor = _operator(x, weight, bias, *(("none", [], "") if gelu is None else ("gelu", [], gelu)))
    return y


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class _Linear(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        x, weight, bias = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            return _differentiable(ctx, dy, None, x, weight, bias)
        return _gradients(ctx, dy, x, weight)


class _LinearGelu(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        hidden = _product(x, weight, bias)
        ctx.save_for_backward(x, weight, bias, hidden)
        y = torch.empty_like(hidden)
        native.gelu(tensor_view(hidden), tensor_view(y), torch.get_num_threads())  # type: ignore[union-attr]
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Gradients:
        x, weight, bias, hidden = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            return _differentiable(ctx, dy, "none", x, weight, bias)
        dy = dy.contiguous()  # alive as long as its address is used
        dhidden = torch.empty_like(hidden)
        dbias = hidden.new_empty(hidden.shape[1]) if ctx.needs_input_grad[2] else None
        views = [None if each is None else tensor_view(each) for each in (dy, hidden, dhidden, dbias)]
        native.gelu_backward(*views, torch.get_num_threads())  # type: ignore[union-attr]
        return _gradients(ctx, dhidden, x, weight, dbias)


def _rows(matrix: Tensor) -> Tensor:
    """The same with the columns side by side, as the native kernels read it."""
    return matrix if matrix.stride(1) == 1 else matrix.contiguous()


def _gradients(ctx: Any, dy: Tensor, x: Tensor, weight: Tensor, dbias: Tensor | None = None) -> Gradients:
    """Of the output dy of a dense layer, those that are wanted. That of the bias may be there already."""
    wants_x, wants_weight, wants_bias = ctx.needs_input_grad
    dx = dweight = None
    if wants_x:  # in bfloat16, PyTorch's product is oneDNN's too, with less around it
        dx = dy @ weight if dy.dtype == torch.bfloat16 else _product(dy, weight.t(), None)
    adds_up = wants_bias and dbias is None
    if wants_weight and native is not None and native.has_weight_gradient(code_of(x.dtype)):
        dy, x = _rows(dy), _rows(x)
        dweight = torch.empty_like(weight, memory_format=torch.contiguous_format)
        dbias = dy.new_empty(dy.shape[1]) if adds_up else dbias
        sums = tensor_view(dbias) if adds_up and dbias is not None else None
        native.weight_gradient(tensor_view(dy), tensor_view(x), tensor_view(dweight), sums, torch.get_num_threads())
    else:
        dweight = dy.t() @ x if wants_weight else None
        dbias = dy.sum(0) if adds_up else dbias
    return dx, dweight, dbias


def _differentiable(
    ctx: Any, dy: Tensor, gelu: str | None, x: Tensor, weight: Tensor, bias: Tensor | None
) -> Gradients:
    """By PyTorch's operations alone: for second derivatives, and for whoever wants to see every operation."""
    recorded = torch.is_grad_enabled()
    wanted = [tensor for tensor, wants in zip((x, weight, bias), ctx.needs_input_grad, strict=True) if wants]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(_plain(x, weight, bias, gelu), wanted, dy, create_graph=recorded))  # type: ignore[arg-type]
    dx, dweight, dbias = (next(found) if wants else None for wants in ctx.needs_input_grad)
    return dx, dweight, dbias
