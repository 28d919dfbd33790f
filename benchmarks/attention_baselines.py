"""Windowed attention from a map of queries, keys and values, as timm's Swin Transformer does it after its projection.

``qkv`` (B, H, W, 3 * C), ``bias`` (heads, N, N), ``mask`` (windows, N, N) or None -> (B, H, W, C). Windows and maps are square.

timm rolls and partitions before the projection, a third of the channels that are rolled here: see the benchmarks of whole models.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import window_partition, window_reverse
from torch import Tensor


def eager(qkv: Tensor, bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:
    """Logits, bias, mask, softmax and sum, each an operation of its own."""
    q, k, v = split(qkv, len(bias), window, shift)
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + bias
    if mask is not None:
        logits = logits.unflatten(0, (-1, len(mask))) + mask[:, None]
        logits = logits.flatten(0, 1)
    return merge(logits.softmax(-1) @ v, qkv.shape[1], window, shift)


def sdpa(qkv: Tensor, bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:
    """``scaled_dot_product_attention``, bias and mask added up for it."""
    q, k, v = split(qkv, len(bias), window, shift)
    addend = bias[None]
    if mask is not None:
        # One for each window of each image: the fused kernels take no more than four dimensions.
        addend = (addend + mask[:, None]).repeat(len(q) // len(mask), 1, 1, 1)
    return merge(F.scaled_dot_product_attention(q, k, v, attn_mask=addend), qkv.shape[1], window, shift)


def flex(qkv: Tensor, bias: Tensor, mask: Tensor | None, window: int, shift: int) -> Tensor:
    """FlexAttention, bias and mask looked up where logits are computed; only for torch.compile."""
    from torch.nn.attention.flex_attention import flex_attention

    q, k, v = split(qkv, len(bias), window, shift)

    def add(score: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        score = score + bias[head, row, column]
        return score if mask is None else score + mask[batch % len(mask), row, column]

    return merge(flex_attention(q, k, v, score_mod=add), qkv.shape[1], window, shift)


def split(qkv: Tensor, heads: int, window: int, shift: int) -> tuple[Tensor, ...]:
    """Queries, keys and values of each window, (B * windows, heads, N, head_dim)."""
    if shift:
        qkv = torch.roll(qkv, (-shift, -shift), (1, 2))
    windows = window_partition(qkv, (window, window)).flatten(1, 2)
    return windows.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def merge(output: Tensor, side: int, window: int, shift: int) -> Tensor:
    """(B, H, W, C) of the outputs of the windows."""
    windows = output.transpose(1, 2).flatten(2).unflatten(1, (window, window))
    result = window_reverse(windows, (window, window), side, side)
    return torch.roll(result, (shift, shift), (1, 2)) if shift else result


def shift_mask(side: int, window: int, shift: int, dtype: torch.dtype) -> Tensor | None:
    """(windows, N, N): -100 where the shift has put tokens of opposite borders into one window, else 0."""
    if not shift:
        return None
    position = torch.arange(side)
    # The last window holds two regions: what it would hold anyway, and what comes from the other border.
    region = (position >= side - window).int() + (position >= side - shift).int()
    regions = (3 * region[:, None] + region)[None, :, :, None]
    regions = window_partition(regions, (window, window)).flatten(1)
    return torch.where(regions[:, :, None] == regions[:, None], 0.0, -100.0).to(dtype)
