"""Summary of the benchmarks: each case's medians, next to its baselines and to the time that moving its bytes would take."""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

os.environ.setdefault(
    "TORCHINDUCTOR_COMPILE_THREADS", "1"
)  # else idle compile workers share the cores with what is timed

import pytest
import torch

OURS = "pyemo"


def copy_seconds(moved_bytes: int) -> float:
    """Median time of a copy that reads half of the bytes and writes half, on all threads, in the caches a repeated call finds."""
    source = torch.ones(max(1, moved_bytes // 8), dtype=torch.float32)
    target = torch.empty_like(source)
    times = []
    for _ in range(60):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return statistics.median(times[10:])


@pytest.fixture
def measure(benchmark: Callable[..., object]) -> Callable[[Callable[[], object], str, str, int, int], None]:
    """``measure(function, case, implementation, moved_bytes, rounds)``"""

    def run(function: Callable[[], object], case: str, implementation: str, moved_bytes: int, rounds: int = 50) -> None:
        benchmark.group = case  # type: ignore[attr-defined]
        benchmark.extra_info.update(  # type: ignore[attr-defined]
            implementation=implementation,
            moved_bytes=moved_bytes,
            copy_seconds=copy_seconds(moved_bytes),
            threads=torch.get_num_threads(),
        )
        iterations = 100 if moved_bytes < 1 << 18 else 1
        benchmark.pedantic(function, rounds=rounds, warmup_rounds=5, iterations=iterations)  # type: ignore[attr-defined]

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    cases = defaultdict(list)
    for bench in session.benchmarks if session else ():
        if bench.stats.rounds and "implementation" in bench.extra_info:
            cases[bench.group].append((bench.extra_info["implementation"], bench.stats.median, bench.extra_info))
    if not cases:
        return
    terminalreporter.section(
        "medians; how many times slower than pyemo; share of the speed of a copy of the same bytes"
    )
    for case, rows in cases.items():
        ours = next((median for implementation, median, _ in rows if implementation == OURS), None)
        info = rows[0][2]
        speed = info["moved_bytes"] / info["copy_seconds"] / 1e9
        terminalreporter.write_line(
            f"{case}   [{info['threads']} threads; {info['moved_bytes'] / 1e6:.3g} MB, whose copy takes"
            f" {info['copy_seconds'] * 1e3:.3f} ms: {speed:.1f} GB/s]"
        )
        for implementation, median, extra in sorted(rows, key=lambda row: row[1]):
            ratio = f"{median / ours:8.1f} x" if ours else ""
            share = extra["copy_seconds"] / median
            terminalreporter.write_line(f"    {implementation:32s} {median * 1e3:9.3f} ms {ratio} {share:8.1%}")
