"""Dense layers by oneDNN, which PyTorch itself asks for few of them.

In float32, PyTorch's ``linear`` goes to MKL, whose products took a third longer than oneDNN's on an AMD EPYC (Zen 4). In either dtype it
writes the bias to all of the output first, for the product to be added to. oneDNN adds the bias, and the GELU of an MLP, to the product in
registers. PyTorch has an operator for that, which ``torch.compile`` uses.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

_LEAST_OPERATIONS = 2**24
"""Multiplications and additions of a layer; smaller ones are done before oneDNN has looked up its kernel (20 microseconds)."""


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
        single operations matter to somebody (:func:`watched`). Second derivatives are PyTorch's too.
    """
    if watched() or not _large(x, weight):
        return F.linear(x, weight, bias)
    given = x, weight, bias
    if torch.is_autocast_enabled("cpu"):
        x, weight, bias = autocast(x, weight, bias)
    if not _serves(x, weight, bias):
        return F.linear(*given)
    rows = x.reshape(
        -1, x.shape[-1]
    )  # of more dimensions, the operator returns a view, which must not be a Function's result
    if torch.is_grad_enabled() and (
        x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        y: Tensor = _Linear.apply(rows, weight, bias)
    else:
        y = _product(rows, weight, bias)
    return y.view(*x.shape[:-1], y.shape[1])


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, approximate: str) -> Tensor:
    """``gelu(linear(x, weight, bias), approximate)``, of which no gradient is recorded; nothing is cast."""
    if _large(x, weight) and _serves(x, weight, bias):
        y: Tensor = _operator(x, weight, bias, "gelu", [], approximate)
        return y
    return F.gelu(F.linear(x, weight, bias), approximate=approximate)


def watched() -> bool:
    """Whether somebody wants to look at every operation: a compiler, a tracer, a function transform, forward mode, a mode's hook."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
    )


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
    for tensor in (x, weight) if bias is None else (x, weight, bias):
        if (
            type(tensor) not in (Tensor, nn.Parameter)
            or not tensor.is_cpu
            or tensor.dtype != x.dtype
            or tensor.is_sparse
        ):
            return False
    if x.dim() < 2 or x.shape[-1] != weight.shape[1]:
        return False
    return bias is None or bias.shape == weight.shape[:1]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = _operator(x, weight, bias, "none", [], "")
    return y


class _Linear(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        dx = dweight = dbias = None
        if wants_x:
            recorded = torch.is_grad_enabled()  # for second derivatives, which oneDNN's operator has not
            dx = dy @ weight if recorded or watched() else _product(dy, weight.t(), None)
        if wants_weight:
            dweight = dy.t() @ x  # oneDNN would turn both first
        if wants_bias:
            dbias = dy.sum(0)
        return dx, dweight, dbias
