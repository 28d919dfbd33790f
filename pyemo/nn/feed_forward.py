"""The feed-forward network of transformers, in chunks whose hidden activations stay in the cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.nn.dense import autocast, linear, linear_gelu
from pyemo.ops.direct import watched

_CHUNK_BYTES = 3 * 2**20
"""Of hidden activations in a chunk, for each thread. With less, products get slower; with more, activations leave the caches."""


def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    approximate: str = "none",
) -> Tensor:
    """``linear(gelu(linear(x, weight1, bias1), approximate), weight2, bias2)`` on a CPU: the MLP of Vision Transformers.

    The layers are those of :mod:`pyemo.nn.dense`. With no gradient recorded, the tokens are taken in chunks, one after the other through the
    whole network. Of a map of many tokens, the hidden activations, four times the size of all others, are then neither written to memory
    and read back, nor allocated, which costs more still where an allocator returns large blocks to the system. A backward pass needs all
    of them.

    Args:
        x: (..., C), a floating dtype; under autocast, x and parameters are cast as by ``linear``.
        weight1: (hidden, C).
        bias1: (hidden,), or none.
        weight2: (D, hidden).
        bias2: (D,), or none.
        approximate: of the GELU (Hendrycks and Gimpel 2016): ``"none"`` or ``"tanh"``.

    Returns:
        (..., D). What fits into one chunk is computed as a whole too.
    """
    if watched():  # chunks would fix the number of tokens
        return F.linear(F.gelu(F.linear(x, weight1, bias1), approximate=approximate), weight2, bias2)
    tensors = [each for each in (x, weight1, bias1, weight2, bias2) if each is not None]
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        return linear(linear_gelu(x, weight1, bias1, approximate), weight2, bias2)
    if torch.is_autocast_enabled("cpu"):
        x, weight1, bias1, weight2, bias2 = autocast(x, weight1, bias1, weight2, bias2)
    rows = x.numel() // max(1, x.shape[-1])
    chunk = _chunk(rows, weight1)
    if (
        chunk >= rows
        or not x.is_cpu
        or x.shape[-1] != weight1.shape[-1]
        or not x.dtype == weight1.dtype == weight2.dtype
    ):
        return linear(linear_gelu(x, weight1, bias1, approximate), weight2, bias2)
    y = x.new_empty(rows, weight2.shape[0])
    for into, part in zip(y.split(chunk), x.reshape(rows, x.shape[-1]).split(chunk), strict=True):
        into.copy_(linear(linear_gelu(part, weight1, bias1, approximate), weight2, bias2))
    return y.view(*x.shape[:-1], y.shape[1])


def _chunk(rows: int, weight1: Tensor) -> int:
    """Tokens in a chunk: ``rows`` in the least number of like chunks that fit into the caches."""
    fitting = _CHUNK_BYTES * torch.get_num_threads() // max(1, weight1.shape[0] * weight1.element_size())
    most = max(1, fitting, 2 * weight1.shape[1])  # with fewer, to read the weights again for each chunk costs more
    return max(1, -(-rows // max(1, -(-rows // most))))
