"""The module of CUDA kernels, and where their work is queued. torch is asked for streams; nothing here waits for a device."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import torch
from torch import Tensor

from pyemo.ops.native import learn_codes

kernels: ModuleType | None
try:
    from pyemo import _cuda as kernels  # type: ignore[attr-defined, no-redef, unused-ignore]
except ModuleNotFoundError as error:
    if error.name != "pyemo._cuda":
        raise
    kernels = None
except ImportError as error:
    if "cannot import name '_cuda'" not in str(error):
        raise
    kernels = None

Queue = tuple[int, int]
"""Index of a device, address of one of its streams."""

if kernels is not None:
    learn_codes(kernels)


def queue_of(tensor: Tensor) -> Queue:
    """The stream that is current on the tensor's device. The kernels make that device the current one for as long as they are launched."""
    device = tensor.get_device()
    return device, torch._C._cuda_getCurrentRawStream(device)


def workspace(tensor: Tensor, size: int) -> Tensor:
    """Bytes on the tensor's device, of torch's allocator: the stream's order keeps them from being handed out again too early."""
    return torch.empty(size, dtype=torch.uint8, device=tensor.device)


def require_built() -> ModuleType:
    """The module.

    Raises:
        RuntimeError: pyemo was built without it.
    """
    if kernels is None:
        raise RuntimeError(
            "pyemo was built without its CUDA kernels: install it where nvcc is found (CUDA 11.8 or newer), with "
            "-C cmake.define.PYEMO_CUDA=ON to make a missing compiler an error"
        )
    return kernels


@functools.cache
def warn_of_fallback() -> None:
    warnings.warn(
        "pyemo was built without its CUDA kernels: on GPUs its operations run in plain PyTorch, right but slow",
        RuntimeWarning,
        stacklevel=2,
    )


def check_capturing(what: str) -> None:
    """Raises RuntimeError while a CUDA graph is recorded: for what has to be brought to the device once, which a graph cannot do."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(f"{what} is not on the device yet: call the operation once before recording a CUDA graph")
