"""Gradients by PyTorch's operations alone: for second derivatives, and for whoever wants to see every operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def plain_gradients(
    function: Callable[..., Tensor], inputs: Sequence[Tensor | None], wants: Sequence[bool], dy: Tensor
) -> tuple[Tensor | None, ...]:
    """Of ``function(*inputs)``, whose gradient is dy, to those of its inputs that are wanted; None for the others.

    Gradients are recorded themselves where they are when this is called.
    """
    recorded = torch.is_grad_enabled()
    wanted = [each for each, wanted in zip(inputs, wants, strict=True) if wanted and each is not None]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(function(*inputs), wanted, dy, create_graph=recorded))
    return tuple(next(found) if wanted else None for wanted in wants)
