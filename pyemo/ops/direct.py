"""When a kernel may be called directly, past PyTorch's dispatcher, which takes as long as a small kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

_PLAIN = (Tensor, nn.Parameter)


def watched() -> bool:
    """Whether somebody wants to look at every operation: a compiler, a tracer, a function transform, forward mode, a mode's hook."""
    return (
        torch.compiler.is_compiling()
        or torch._C._is_tracing()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
    )


def profiled() -> bool:
    """Whether a profiler runs, which is to see operators by their names."""
    return torch.autograd._profiler_enabled()


def in_memory(*tensors: Tensor | None) -> bool:
    """Whether these are plain tensors of the CPU whose memory holds what they stand for.

    Others are subclasses of ``Tensor``, batches of gradients, which have no memory, zeros that have none, and numbers whose sign is a flag.
    """
    for tensor in tensors:  # not all(...), which takes longer, in every call
        if tensor is not None and (
            type(tensor) not in _PLAIN
            or not tensor.is_cpu
            or not torch._C._has_storage(tensor)
            or tensor.is_neg()
            or tensor._is_zerotensor()
        ):
            return False
    return True


def direct(*tensors: Tensor | None) -> bool:
    """Whether PyTorch's dispatcher would do no more for these than to find the kernel."""
    return not watched() and not profiled() and in_memory(*tensors)
