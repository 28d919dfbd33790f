"""When a kernel may be called directly, past PyTorch's dispatcher, which takes as long as a small kernel.

The native module can find that out itself, and read and make tensors, from PyTorch 2.10 on: :data:`connected`. The functions here ask from
Python, one thing at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from pyemo.ops.native import native

_PLAIN = (Tensor, nn.Parameter)

_WATCHERS = (
    torch._C._is_tracing,
    torch._C._are_functorch_transforms_active,
    torch._C._len_torch_dispatch_stack,
    torch._C._len_torch_function_stack,
)
"""What to ask whether a tracer, a function transform or a mode's hook wants to look at every operation."""


def seen_by_python() -> bool:
    """Whether a compiler or forward mode wants to look at every operation."""
    return torch.compiler.is_compiling() or forward_ad._current_level >= 0


def watched() -> bool:
    """Whether somebody does: one of these, a tracer, a function transform, a mode's hook."""
    return seen_by_python() or any(watcher() for watcher in _WATCHERS)


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


def _connect() -> bool:
    """Tells the native module what it takes to do without these functions. What only Python sees is left to :func:`seen_by_python`."""
    api = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if native is None or api is None:
        return False
    watchers = (*_WATCHERS, torch.autograd._profiler_enabled)
    connected: bool = native.connect(api, _PLAIN, watchers, (Tensor.is_neg, Tensor._is_zerotensor), torch.empty_like)
    return connected


connected = _connect()
"""Whether the native module's ``direct_`` functions may be called, where not :func:`seen_by_python`."""
