"""Keeping freed memory, for training on the CPU."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks for reuse; true where that worked.

    By default glibc hands large activations back to the kernel and gets them anew, zeroed page by page, in every step. Without that, a
    training step of ``compact-resnet`` on two cores took 7 to 24 % less time. It costs a process its largest footprint until it ends.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
