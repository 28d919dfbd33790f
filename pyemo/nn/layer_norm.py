"""Layer normalization on a CPU, by kernels of pyemo's own, which read a map once forwards and backwards.

PyTorch's takes longer, in bfloat16 above all, where it also rounds the sums that are the gradients of weights and biases over and over.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.nn.plain_gradients import plain_gradients
from pyemo.nn.products import rows_of
from pyemo.ops.direct import in_memory, watched
from pyemo.ops.native import code_of, native, tensor_view, view_of

_LEAST_ELEMENTS = 2**18
"""Of a map in bfloat16; in float32 four times as many. PyTorch is as fast with smaller ones."""


def layer_norm(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> Tensor:
    """``torch.nn.functional.layer_norm`` (Ba, Kiros and Hinton 2016) over the last dimension; with its gradients and errors.

    Args:
        x: (..., C).
        weight: (C,), of x's dtype or float32, or none.
        bias: (C,), likewise.
        eps: added to the variance.

    Returns:
        (..., C), of x's dtype. By PyTorch's own: small maps, dtypes other than float32 and bfloat16, other devices, and whenever single
        operations matter to somebody (:func:`pyemo.ops.direct.watched`). Second derivatives are PyTorch's too.
    """
    if watched() or not _large(x) or not _served(x, weight, bias):
        return _plain(x, weight, bias, eps)
    rows = rows_of(x.reshape(-1, x.shape[-1]))
    if torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (x, weight, bias)):
        y: Tensor = _LayerNorm.apply(rows, weight, bias, eps)
    else:
        y = torch.empty_like(rows, memory_format=torch.contiguous_format)
        _normalize(rows, weight, bias, eps, y, None, None)
    return y.view(x.shape)


def _large(x: Tensor) -> bool:
    return x.numel() >= max((1 if x.dtype == torch.bfloat16 else 4) * _LEAST_ELEMENTS, 1)


def _plain(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _served(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Whether there is a kernel; what PyTorch would not accept is left to its errors."""
    if native is None or x.dtype not in (torch.float32, torch.bfloat16) or not in_memory(x, weight, bias):
        return False
    if x.dim() == 0 or not native.has_layer_norm(code_of(x.dtype)):
        return False
    if weight is not None and bias is not None and weight.dtype != bias.dtype:
        return False
    return all(
        each is None or (each.shape == x.shape[-1:] and each.dtype in (x.dtype, torch.float32) and each.is_contiguous())
        for each in (weight, bias)
    )


def _normalize(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    y: Tensor,
    mean: Tensor | None,
    scale: Tensor | None,
) -> None:
    native.layer_norm(  # type: ignore[union-attr]
        tensor_view(x),
        view_of(weight),
        view_of(bias),
        eps,
        tensor_view(y),
        view_of(mean),
        view_of(scale),
        torch.get_num_threads(),
    )


class _LayerNorm(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        mean, scale = (x.new_empty(x.shape[0], dtype=torch.float32) for _ in range(2))
        _normalize(x, weight, bias, eps, y, mean, scale)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            inputs = x, weight, bias
            plain = plain_gradients(
                lambda x, weight, bias: _plain(x, weight, bias, ctx.eps), inputs, ctx.needs_input_grad[:3], dy
            )
            return *plain, None
        dy = rows_of(dy)
        dx, dweight, dbias = (
            torch.empty_like(each, memory_format=torch.contiguous_format) if wanted else None
            for each, wanted in zip((x, weight, bias), ctx.needs_input_grad, strict=False)
        )
        views = map(view_of, (dy, x, weight, mean, scale, dx, dweight, dbias))
        native.layer_norm_backward(*views, torch.get_num_threads())  # type: ignore[union-attr]
        return dx, dweight, dbias, None
