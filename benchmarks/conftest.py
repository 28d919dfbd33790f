"""What the suites share: comparing the implementations of a case, in what they give and in what they take.

A test is a case: all implementations of it are called in turn, in one process, and each becomes an entry of pytest-benchmark's report.
``pyemo bench`` makes one table of the reports.
"""

from __future__ import annotations

import copy
import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# One worker compiles in this process; others would stay, idle or not, and share the cores with what is timed.
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from pyemo.benchmarking.floors import CudaMachine, Machine
from pyemo.benchmarking.machine import describe
from pyemo.benchmarking.timing import cuda_events, interleave, replayed
from pyemo.ops import cuda

MACHINE = Machine()
CUDA_MACHINE = functools.cache(CudaMachine)
DESCRIPTION = describe()  # now, while the load is that of others
WARMUP = 3

Result = Tensor | np.ndarray | Sequence[Tensor] | None


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyemo")
    group.addoption(
        "--rounds", type=int, help="timed calls of each implementation (default: as many as the case wants)"
    )
    group.addoption("--no-compile", action="store_true", help="leave out what torch.compile makes")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scaling: one of the few cases that show how the time falls with more threads")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info["pyemo"] = {
        **DESCRIPTION,
        "threads": torch.get_num_threads(),
        "copy_bandwidth": MACHINE.copy_bandwidth(),
        **({"gpu_copy_bandwidth": CUDA_MACHINE().copy_bandwidth()} if CUDA_MACHINE.cache_info().currsize else {}),
        "gemm_peak": {str(dtype).removeprefix("torch."): peak for dtype, peak in MACHINE.gemm_peaks.items()},
    }


@pytest.fixture(scope="session")
def gpu() -> None:
    """For suites on a GPU."""
    if not torch.cuda.is_available() or cuda.kernels is None:
        pytest.skip("there is no GPU" if cuda.kernels is not None else "pyemo was built without its CUDA kernels")


@pytest.fixture
def compare(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """The function :func:`compare_implementations`, of this test."""
    torch._dynamo.reset()
    torch.manual_seed(0)

    def run(
        op: str, case: str, dtype: torch.dtype, implementations: Mapping[str, Callable[[], Any]], **rest: Any
    ) -> None:
        if request.config.getoption("--no-compile"):
            implementations = {name: call for name, call in implementations.items() if "compile" not in name}
        rest["rounds"] = request.config.getoption("--rounds") or rest["rounds"]
        compare_implementations(benchmark, op, case, dtype, implementations, **rest)

    yield run
    torch._dynamo.reset()


def compare_implementations(
    benchmark: BenchmarkFixture,
    op: str,
    case: str,
    dtype: torch.dtype,
    implementations: Mapping[str, Callable[[], Any]],
    *,
    expected: Result,
    tolerance: float,
    rounds: int,
    flops: float = 0,
    moved_bytes: int = 0,
    prepare: Callable[[], object] | None = None,
    inspect: Callable[[Any], Result] = lambda result: result,
    items: tuple[str, int] | None = None,
    sets: int = 0,
) -> None:
    """Check and time the implementations of a case.

    Args:
        op: what is done; means are taken over the cases of an op and dtype.
        case: on what.
        dtype: of the data.
        implementations: name and call. Names of pyemo's begin with ``pyemo``, those of what torch.compile makes contain ``compile``.
        expected: what each call has to give: tensors, or arrays.
        tolerance: the norm of the difference to ``expected`` over its norm may be this at most; a wrong baseline fails the case.
        rounds: timed calls of each.
        flops: floating-point operations of the matrix products, for the floor.
        moved_bytes: what has to be read or written at least, for the floor.
        prepare: called before each call and not timed.
        inspect: what of a call's result is compared with ``expected``; not timed.
        items: what a call works on, and how many.
        sets: on a GPU, sets of inputs: the calls take a number below that. They are replayed as one graph and timed by events; what cannot
            be checked or recorded is left out, with a warning, unless it is pyemo's.
    """
    if sets:
        implementations, seconds = time_on_gpu(implementations, sets, rounds, expected, tolerance, inspect)
        report(benchmark, op, case, dtype, seconds, CUDA_MACHINE(), flops, moved_bytes, items)
        return
    for name, call in implementations.items():
        if prepare:
            prepare()
        check(name, inspect(call()), expected, tolerance)
    assert not children(), f"processes {children()} would share the cores with what is timed"
    if benchmark.disabled:
        return
    seconds = interleave(implementations, rounds=rounds, warmup=min(WARMUP, rounds), prepare=prepare)
    report(benchmark, op, case, dtype, seconds, MACHINE, flops, moved_bytes, items)


def time_on_gpu(
    implementations: Mapping[str, Callable[[int], Any]],
    sets: int,
    rounds: int,
    expected: Result,
    tolerance: float,
    inspect: Callable[[Any], Result],
) -> tuple[dict[str, Callable[[], object]], dict[str, list[float]]]:
    """Of a call each, of those that can be recorded."""
    graphs = {}
    for name, call in implementations.items():
        try:
            check(name, inspect(call(0)), expected, tolerance)
            graphs[name] = replayed(call, sets)
        except Exception as error:
            if name.startswith("pyemo"):
                raise
            warnings.warn(f"{name} is left out: {type(error).__name__}: {str(error)[:500]}", stacklevel=2)
            torch.cuda.synchronize()
    seconds = interleave(graphs, rounds=rounds, warmup=min(WARMUP, rounds), timer=cuda_events)
    return graphs, {name: [one / sets for one in taken] for name, taken in seconds.items()}


def report(
    benchmark: BenchmarkFixture,
    op: str,
    case: str,
    dtype: torch.dtype,
    seconds: Mapping[str, list[float]],
    machine: Machine,
    flops: float,
    moved_bytes: int,
    items: tuple[str, int] | None,
) -> None:
    """An entry of pytest-benchmark's report for each implementation."""
    floor = machine.floor(flops=flops, moved_bytes=moved_bytes, dtype=dtype) if flops or moved_bytes else None
    benchmark._mode = "interleaved"  # pytest-benchmark has no public way to report calls that it did not make
    for name, taken in seconds.items():
        entry = copy.copy(benchmark)
        entry.name, entry.fullname = f"{benchmark.name} {name}", f"{benchmark.fullname} {name}"
        dtype_name = str(dtype).removeprefix("torch.")
        entry.group = f"{op}: {case}, {dtype_name}"
        entry.extra_info = {
            "op": op,
            "case": case,
            "dtype": dtype_name,
            "implementation": name,
            "threads": torch.get_num_threads(),
            "floor": floor and floor.seconds,
            "limit": floor and floor.limit,
            "items": items and items[0],
            "item_count": items[1] if items else 0,
        }
        stats = entry._make_stats(iterations=1)
        for duration in taken:
            stats.update(duration)


def check(name: str, result: Result, expected: Result, tolerance: float) -> None:
    """Fails if a part of ``result`` is not that of ``expected``."""
    results, references = flat(result), flat(expected)
    assert len(results) == len(references), f"{name} gives {len(results)} tensors, expected {len(references)}"
    for number, (one, reference) in enumerate(zip(results, references, strict=True)):
        assert one.shape == reference.shape, f"{name} gives shape {tuple(one.shape)}, expected {tuple(reference.shape)}"
        error = float((one - reference).norm() / reference.norm())
        # Written so that NaN fails too.
        assert error <= tolerance, (
            f"{name} is wrong in tensor {number}: relative error {error:.2g}, allowed {tolerance:g}"
        )


def flat(result: Result) -> list[Tensor]:
    parts = [] if result is None else [result] if isinstance(result, (Tensor, np.ndarray)) else list(result)
    return [torch.as_tensor(part).detach().double() for part in parts]


def children() -> list[str]:
    """Process numbers of this process's children; none where the system does not tell."""
    return [child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()]
