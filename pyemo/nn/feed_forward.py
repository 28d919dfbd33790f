"""The feed-forward network of transformers, whose hidden activations do not leave the caches."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.nn.dense import autocast, learned, linear, linear_gelu, parameter_gradients
from pyemo.nn.plain_gradients import plain_gradients
from pyemo.nn.products import (
    GELUS,
    chained,
    gradient_before_gelu,
    has_kernel,
    input_gradient,
    large,
    product,
    product_and_gelu,
    served,
)
from pyemo.ops.direct import in_memory, watched

_CHUNK_BYTES = 3 * 2**20
"""Of hidden activations in a chunk, for each thread. With less, products get slower; with more, activations leave the caches."""

_CHAINED_BYTES = 24 * 2**20
"""Of both weights, which are packed at once where pyemo's kernels take tokens through both layers; larger ones leave the caches."""


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
    of them; there, the gradient that reaches the GELU is multiplied by its derivative while it is in registers.

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
    if watched() or approximate not in GELUS:  # chunks would fix the number of tokens
        return _plain(x, weight1, bias1, weight2, bias2, approximate)
    given: tuple[Any, ...] = x, weight1, bias1, weight2, bias2
    if torch.is_autocast_enabled("cpu"):
        given = x, weight1, bias1, weight2, bias2 = autocast(*given)
    chained_rows = _rows_of_chain(x, weight1, bias1, weight2, bias2)
    if learned(*given):
        if chained_rows is not None and approximate == "none":
            return _FeedForward.apply(chained_rows, *given[1:]).view(*x.shape[:-1], weight2.shape[0])
        return linear(linear_gelu(x, weight1, bias1, approximate), weight2, bias2)
    if chained_rows is not None:
        if (weight1.numel() + weight2.numel()) * x.element_size() > _CHAINED_BYTES:
            return linear(linear_gelu(x, weight1, bias1, approximate), weight2, bias2)
        y = chained(chained_rows, weight1, bias1, weight2, bias2, approximate)
        return y.view(*x.shape[:-1], weight2.shape[0])
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


def _plain(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    approximate: str = "none",
) -> Tensor:
    return F.linear(F.gelu(F.linear(x, weight1, bias1), approximate=approximate), weight2, bias2)


def _chunk(rows: int, weight1: Tensor) -> int:
    """Tokens in a chunk: ``rows`` in the least number of like chunks that fit into the caches."""
    fitting = _CHUNK_BYTES * torch.get_num_threads() // max(1, weight1.shape[0] * weight1.element_size())
    most = max(1, fitting, 2 * weight1.shape[1])  # with fewer, to read the weights again for each chunk costs more
    return max(1, -(-rows // max(1, -(-rows // most))))


def _rows_of_chain(
    x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None
) -> Tensor | None:
    """x (rows, C), if pyemo's kernels compute both layers of it."""
    if not x.is_cpu or not large(x, weight1) or not served(x, weight1, bias1):
        return None
    rows = x.reshape(-1, x.shape[-1])
    if not has_kernel(rows, rows.shape[0]) or weight2.dim() != 2:
        return None
    # The hidden activations, which are not there yet, would have the first weight's dtype and as many channels as it has rows.
    if not served(weight1.t(), weight2, bias2):
        return None
    return rows


class _FeedForward(torch.autograd.Function):
    """Of rows."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None
    ) -> Tensor:
        hidden, activated = product_and_gelu(x, weight1, bias1)
        ctx.save_for_backward(x, weight1, bias1, weight2, bias2, hidden, activated)
        return product(activated, weight2, bias2)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        *given, hidden, activated = ctx.saved_tensors
        if torch.is_grad_enabled() or watched() or not in_memory(dy):
            return plain_gradients(_plain, given, ctx.needs_input_grad, dy)
        x, weight1, _, weight2, _ = given
        wants = ctx.needs_input_grad
        dweight2, dbias2 = parameter_gradients(dy, activated, weight2, wants[3], wants[4])
        if not any(wants[:3]):
            return None, None, None, dweight2, dbias2
        dhidden = gradient_before_gelu(dy, weight2, hidden)
        dweight1, dbias1 = parameter_gradients(dhidden, x, weight1, wants[1], wants[2])
        return input_gradient(dhidden, weight1) if wants[0] else None, dweight1, dbias1, dweight2, dbias2
