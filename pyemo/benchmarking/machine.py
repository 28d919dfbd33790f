"""The machine and the software that a measurement belongs to."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import cpuinfo
import torch

from pyemo.ops import cuda
from pyemo.ops.native import native

_DISTRIBUTIONS = ("pyemo", "torch", "timm", "librosa", "numpy", "scikit-image")


def describe() -> dict[str, str]:
    """CPU, cores, instruction set, operating system, versions, and the load before the measurements, all as text."""
    found = {name: _version(name) for name in _DISTRIBUTIONS}
    return {
        "cpu": cpuinfo.get_cpu_info().get("brand_raw") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "isa": native.isa() if native else "none: no native module",
        "torch_isa": torch.backends.cpu.get_cpu_capability(),
        **_gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: version for name, version in found.items() if version},
        "load": f"{os.getloadavg()[0]:.2f}",
    }


def _gpu() -> dict[str, str]:
    if not torch.cuda.is_available():
        return {}
    return {
        "gpu": torch.cuda.get_device_name(),
        "cuda": torch.version.cuda or "",
        "cuda_kernels": "built" if cuda.kernels is not None else "none: built without them",
    }


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
