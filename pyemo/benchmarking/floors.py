"""What the machine can do at best: the least time that a computation of so many operations on so many bytes can take."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from pyemo.benchmarking.timing import Timer, cuda_events, wall_clock
from pyemo.nn.dense import linear

_SIDES = (512, 1024, 2048)
_DEVICE_SIDES = (4096, 8192)
_SLOW = 0.5  # seconds; larger products of a dtype this slow are not tried


@dataclass(frozen=True)
class Floor:
    """The least time of a computation, and what sets it."""

    seconds: float
    limit: str
    """``"compute"`` or ``"memory"``."""


class Machine:
    """The measured limits of a device, with the number of threads that torch has now. Each is measured when it is first asked for."""

    def __init__(self, timer: Timer = wall_clock, device: str = "cpu") -> None:
        self.timer = timer
        self.device = device
        self._gemm_peaks: dict[torch.dtype, float] = {}
        self.copy_seconds = functools.cache(self._copy_seconds)

    def floor(self, *, flops: float = 0, moved_bytes: int = 0, dtype: torch.dtype = torch.float32) -> Floor:
        """Of ``flops`` floating-point operations of matrix products in ``dtype`` on ``moved_bytes`` that must be read or written."""
        compute = flops / self.gemm_peak(dtype) if flops else 0.0
        memory = self.copy_seconds(moved_bytes) if moved_bytes else 0.0
        return Floor(max(compute, memory), "compute" if compute > memory else "memory")

    def copy_bandwidth(self) -> float:
        """Bytes read and written per second, by a copy too large for the caches."""
        size = 1 << 29
        return size / self.copy_seconds(size)

    def gemm_peak(self, dtype: torch.dtype) -> float:
        """Floating-point operations per second of the fastest of several square matrix products, on a CPU by PyTorch and by pyemo."""
        if dtype not in self._gemm_peaks:
            self._gemm_peaks[dtype] = self._measure_gemm_peak(dtype)
        return self._gemm_peaks[dtype]

    @property
    def gemm_peaks(self) -> Mapping[torch.dtype, float]:
        """Those measured so far."""
        return self._gemm_peaks

    def _measure_gemm_peak(self, dtype: torch.dtype) -> float:
        best = 0.0
        for side in _SIDES if self.device == "cpu" else _DEVICE_SIDES:
            left, right = (torch.rand(side, side, device=self.device).to(dtype) for _ in range(2))
            result = torch.empty_like(left)
            products: list[Callable[[], object]] = [lambda: torch.matmul(left, right, out=result)]  # noqa: B023
            if self.device == "cpu":
                products.append(lambda: linear(left, right))  # noqa: B023
            seconds = min(self.timer(product) for _ in range(8) for product in products)
            best = max(best, 2 * side**3 / seconds)
            if seconds > _SLOW:
                break
        return best

    def _copy_seconds(self, moved_bytes: int) -> float:
        """The time of a copy that reads one half of ``moved_bytes`` and writes the other; the same memory each time, as in a loop over
        layers, so that what fits into the caches is there."""
        source = torch.ones(max(moved_bytes // 8, 1), device=self.device)
        target = torch.empty_like(source)
        return min(self.timer(lambda: target.copy_(source)) for _ in range(12))


class CudaMachine(Machine):
    """A GPU: timed by its events. Copies count at the bandwidth of its memory, since what is measured on GPUs rotates through more
    buffers than its cache holds."""

    def __init__(self) -> None:
        super().__init__(cuda_events, "cuda")
        self.copy_bandwidth = functools.cache(self._copy_bandwidth)  # type: ignore[method-assign]

    def _copy_seconds(self, moved_bytes: int) -> float:
        return moved_bytes / self.copy_bandwidth()

    def _copy_bandwidth(self) -> float:
        size = min(1 << 32, torch.cuda.mem_get_info()[0] // 8)
        source = torch.randint(256, (size,), dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        return 2 * size / statistics.median(self.timer(lambda: target.copy_(source)) for _ in range(12))
