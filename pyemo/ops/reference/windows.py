"""Attention within the windows of a feature map, in plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -100.0
"""What is added to the logit of two tokens that only the cyclic shift has made neighbours, as in the authors' code."""

NORM_FLOOR = 1e-12
"""The least norm that queries and keys of cosine attention are divided by, as in ``torch.nn.functional.normalize``."""


def window_attention(
    qkv: Tensor,
    bias: Tensor | None = None,
    *,
    num_heads: int,
    window_size: int | Sequence[int],
    shift_size: int | Sequence[int] = 0,
    scale: float | None = None,
    logit_scale: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """See :func:`pyemo.ops.window_attention`."""
    window = (window_size, window_size) if isinstance(window_size, int) else window_size
    shift = (shift_size, shift_size) if isinstance(shift_size, int) else shift_size
    if scale is None:
        scale = default_scale(qkv, num_heads, logit_scale)
    return attend(qkv, bias, mask, logit_scale, num_heads, window, shift, scale)


def default_scale(qkv: Tensor, num_heads: int, logit_scale: Tensor | None) -> float:
    """One over the root of the channels of a head; 1 for cosine attention, whose scale is another."""
    return (qkv.shape[-1] // (3 * num_heads)) ** -0.5 if logit_scale is None else 1.0


def attend(
    qkv: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    scale: float,
) -> Tensor:
    """``softmax(scale * q @ k.T + bias + masks) @ v`` in each window; computed in float32, or float64 for float64."""
    with torch.autocast(qkv.device.type, enabled=False):
        q, k, v = _partition(_wide(qkv), 3, num_heads, window, shift)
        if logit_scale is not None:
            q, k = q / _norm(q), k / _norm(k)
        attention = _attention(q, k, bias, mask, logit_scale, qkv.shape, window, shift, scale)
        return _merge((attention @ v)[None], qkv.shape, window, shift).to(qkv.dtype)


def attend_backward(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    num_heads: int,
    window: Sequence[int],
    shift: Sequence[int],
    scale: float,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients of :func:`attend` to qkv, bias and logit_scale; differentiable in turn."""
    with torch.autocast(qkv.device.type, enabled=False):
        (grad_output,) = _partition(grad.to(_wide(qkv).dtype), 1, num_heads, window, shift)
        q, k, v = _partition(_wide(qkv), 3, num_heads, window, shift)
        if logit_scale is not None:
            q_norm, k_norm = _norm(q), _norm(k)
            q, k = q / q_norm, k / k_norm
        attention = _attention(q, k, bias, mask, logit_scale, qkv.shape, window, shift, scale)

        grad_v = attention.mT @ grad_output
        grad_attention = grad_output @ v.mT
        grad_logits = attention * (grad_attention - (attention * grad_attention).sum(-1, keepdim=True))
        grad_bias = None if bias is None else grad_logits.sum((0, 1)).to(bias.dtype)
        grad_logit_scale = None
        grad_products = grad_logits * scale
        if logit_scale is not None:
            grad_logit_scale = (grad_products * (q @ k.mT)).sum((0, 1, 3, 4)).to(logit_scale.dtype)
            grad_products = grad_products * _wide(logit_scale).to(q.dtype)[:, None, None]
        grad_q, grad_k = grad_products @ k, grad_products.mT @ q
        if logit_scale is not None:
            grad_q, grad_k = _normalize_backward(grad_q, q, q_norm), _normalize_backward(grad_k, k, k_norm)
        grad_qkv = _merge(torch.stack([grad_q, grad_k, grad_v]), qkv.shape, window, shift)
        return grad_qkv.to(qkv.dtype), grad_bias, grad_logit_scale


def shift_mask(height: int, width: int, window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """(windows, N, N) float32, of the map after its cyclic shift: -100 between tokens that come from opposite borders, else 0.

    Rows that were moved from the top to the bottom are another region than those above them, and columns likewise. A direction
    without a shift has one region.
    """
    rows = torch.arange(height) >= height - shift[0]
    columns = torch.arange(width) >= width - shift[1]
    regions = (rows[:, None] * 2 + columns).view(height // window[0], window[0], width // window[1], window[1])
    regions = regions.transpose(1, 2).reshape(-1, window[0] * window[1])
    return (regions[:, :, None] != regions[:, None, :]) * MASKED


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _partition(
    tensor: Tensor, parts: int, num_heads: int, window: Sequence[int], shift: Sequence[int]
) -> tuple[Tensor, ...]:
    """(B, H, W, parts * heads * head_dim) -> of each part (B, windows, heads, N, head_dim)."""
    batch, height, width, channels = tensor.shape
    rows, columns = height // window[0], width // window[1]
    tensor = torch.roll(tensor, (-shift[0], -shift[1]), (1, 2))
    tensor = tensor.reshape(
        batch, rows, window[0], columns, window[1], parts, num_heads, channels // (parts * num_heads)
    )
    tensor = tensor.permute(5, 0, 1, 3, 6, 2, 4, 7)
    return tensor.flatten(5, 6).flatten(2, 3).unbind(0)


def _merge(parts: Tensor, shape: torch.Size, window: Sequence[int], shift: Sequence[int]) -> Tensor:
    """The inverse of :func:`_partition`, from (parts, B, windows, heads, N, head_dim) to a map of the height and width of ``shape``."""
    batch, height, width, _ = shape
    rows, columns = height // window[0], width // window[1]
    tensor = parts.unflatten(4, window).unflatten(2, (rows, columns))
    tensor = tensor.permute(1, 2, 5, 3, 6, 0, 4, 7)
    channels = parts.shape[0] * parts.shape[3] * parts.shape[5]
    return torch.roll(tensor.reshape(batch, height, width, channels), tuple(shift), (1, 2))


def _attention(
    q: Tensor,
    k: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    shape: torch.Size,
    window: Sequence[int],
    shift: Sequence[int],
    scale: float,
) -> Tensor:
    """The weights, (B, windows, heads, N, N)."""
    logits = (q * scale) @ k.mT
    if logit_scale is not None:
        logits = logits * logit_scale.to(logits.dtype)[:, None, None]
    if bias is not None:
        logits = logits + bias.to(logits.dtype)
    if any(shift):
        logits = logits + shift_mask(shape[1], shape[2], window, shift).to(logits)[:, None]
    if mask is not None:
        logits = logits + mask.to(logits.dtype)[:, None]
    return F.softmax(logits, dim=-1)


def _norm(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor, dim=-1, keepdim=True).clamp_min(NORM_FLOOR)


def _normalize_backward(grad: Tensor, unit: Tensor, norm: Tensor) -> Tensor:
    along = torch.where(norm > NORM_FLOOR, (grad * unit).sum(-1, keepdim=True), 0)
    return (grad - unit * along) / norm
