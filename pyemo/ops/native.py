"""The native module, and how tensors and arrays are handed to it."""

from __future__ import annotations

import functools
import warnings
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

native: ModuleType | None
try:
    from pyemo import _native as native  # type: ignore[attr-defined, no-redef, unused-ignore]
except ModuleNotFoundError as error:  # any other failure, such as an impossible PYEMO_ISA, is the caller's to see
    if error.name != "pyemo._native":
        raise
    native = None
except ImportError as error:
    # `from pyemo import _native` without such a file: Python names the package, not the module.
    if "cannot import name '_native'" not in str(error):
        raise
    native = None

View = tuple[int, int, tuple[int, ...], tuple[int, ...]]
"""Address, dtype code, sizes, strides in elements."""

_torch_codes: dict[torch.dtype, int] = {}
_numpy_codes: dict[np.dtype, int] = {}


def learn_codes(module: ModuleType) -> None:
    """What stands for dtypes in a module's views: all modules have the same."""
    _torch_codes.update({getattr(torch, name): code for name, code in module.dtypes.items()})
    _numpy_codes.update({np.dtype(name): code for name, code in module.dtypes.items() if name != "bfloat16"})


def code_of(dtype: torch.dtype) -> int:
    return _torch_codes[dtype]


if native is not None:
    learn_codes(native)

library = torch.library.Library("pyemo", "DEF")
"""Where the operators are defined, as ``torch.ops.pyemo.*``."""


def tensor_view(tensor: Tensor) -> View:
    return tensor.data_ptr(), _torch_codes[tensor.dtype], tensor.shape, tensor.stride()


def view_of(tensor: Tensor | None) -> View | None:
    """The same of what may be left out."""
    return None if tensor is None else tensor_view(tensor)


def array_view(array: np.ndarray) -> View:
    """Of an array whose strides are multiples of its item size and whose byte order is the machine's: see :func:`viewable`."""
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return array.ctypes.data, _numpy_codes[array.dtype], array.shape, strides


def viewable(array: np.ndarray) -> np.ndarray:
    """The array itself if the native module can read it where it is, else a copy."""
    if array.dtype.isnative and array.flags.aligned and all(stride % array.itemsize == 0 for stride in array.strides):
        return array
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def as_tensor(array: np.ndarray) -> Tensor:
    """The array as a tensor, sharing its memory where torch can: it warns of arrays that are read-only, and refuses negative strides."""
    array = viewable(array)
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)


@functools.cache
def warn_of_fallback() -> None:
    warnings.warn(
        "pyemo was built without its native module for this platform: its operations run in plain PyTorch, right but slow",
        RuntimeWarning,
        stacklevel=2,
    )
