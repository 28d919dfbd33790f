"""The feed-forward network of transformers, in chunks whose hidden activations stay in the cache."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

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

    With no gradient recorded, the tokens are taken in chunks, one after the other through the whole network. Of a map of many tokens,
    the hidden activations, four times the size of all others, are then neither written to memory and read back, twice, nor allocated,
    which costs more still where an allocator returns large blocks to the system. A backward pass needs all of them: there, PyTorch
    computes it as a whole, which was as fast in whole models.

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
    if _left_to_pytorch(x, weight1, bias1, weight2, bias2):
        return _whole(x, weight1, bias1, weight2, bias2, approximate)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight1, weight2 = _cast(x, dtype), _cast(weight1, dtype), _cast(weight2, dtype)
        bias1, bias2 = (None if bias is None else _cast(bias, dtype) for bias in (bias1, bias2))
    rows = x.numel() // x.shape[-1]
    chunk = _chunk(rows, weight1)
    if chunk >= rows or not x.dtype == weight1.dtype == weight2.dtype:
        return _whole(x, weight1, bias1, weight2, bias2, approximate)
    y = _in_chunks(x.reshape(rows, x.shape[-1]), weight1, bias1, weight2, bias2, approximate, chunk)
    return y.view(*x.shape[:-1], y.shape[1])


def _left_to_pytorch(x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None) -> bool:
    """Whether somebody wants to look at every operation, or there is an error to be raised."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # chunks would fix the number of tokens
        return True
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return True
    tensors = [each for each in (x, weight1, bias1, weight2, bias2) if each is not None]
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        return True
    if not all(each.is_cpu and each.is_floating_point() for each in tensors):
        return True
    return not x.numel() or x.shape[-1] != weight1.shape[-1]


def _chunk(rows: int, weight1: Tensor) -> int:
    """Tokens in a chunk: ``rows`` in the least number of like chunks that fit into the caches."""
    fitting = _CHUNK_BYTES * torch.get_num_threads() // max(1, weight1.shape[0] * weight1.element_size())
    most = max(1, fitting, 2 * weight1.shape[1])  # with fewer, to read the weights again for each chunk costs more
    return -(-rows // -(-rows // most))


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.to(dtype)


def _whole(
    x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None, approximate: str
) -> Tensor:
    return F.linear(F.gelu(F.linear(x, weight1, bias1), approximate=approximate), weight2, bias2)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


@torch.no_grad()
def _in_chunks(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    approximate: str,
    chunk: int,
) -> Tensor:
    """Of rows."""
    y = x.new_empty(len(x), weight2.shape[0])
    room = x.new_empty(chunk, weight1.shape[0])
    for begin in range(0, len(x), chunk):
        part = x[begin : begin + chunk]
        hidden = room[: len(part)]
        _linear(part, weight1, bias1, hidden)
        _linear(F.gelu(hidden, approximate=approximate), weight2, bias2, y[begin : begin + chunk])
    return y
