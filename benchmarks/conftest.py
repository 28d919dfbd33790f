"""Summary of the benchmarks: each case's medians, next to its baselines and to the time that moving its bytes would take."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable

os.environ.setdefault(
    "TORCHINDUCTOR_COMPILE_THREADS", "1"
)  # else idle compile workers share the cores with what is timed

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

OURS = "pyemo"


@pytest.fixture(scope="session")
def copy_bandwidth() -> float:
    """The machine's, in bytes read and written per second: the best of several copies, on all threads, too large for the caches."""
    source = torch.ones(1 << 26)
    target = torch.empty_like(source)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times)


Measure = Callable[[Callable[[], object], str, str, int, int], None]


@pytest.fixture
def measure(benchmark: BenchmarkFixture, copy_bandwidth: float) -> Measure:
    """``measure(function, case, implementation, moved_bytes, rounds)``: ``moved_bytes`` is what must be read and written at least."""

    def run(function: Callable[[], object], case: str, implementation: str, moved_bytes: int, rounds: int) -> None:
        benchmark.group = case
        benchmark.extra_info.update(
            implementation=implementation,
            moved_bytes=moved_bytes,
            copy_bandwidth=copy_bandwidth,
            threads=torch.get_num_threads(),
        )
        iterations = 100 if moved_bytes < 1 << 18 else 1
        benchmark.pedantic(function, rounds=rounds, warmup_rounds=5, iterations=iterations)

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = getattr(config, "_benchmarksession", None)
    cases = defaultdict(list)
    for bench in session.benchmarks if session else ():
        if bench.stats.rounds and "implementation" in bench.extra_info:
            cases[bench.group].append(
                (bench.extra_info["implementation"], bench.stats.median, bench.stats.min, bench.extra_info)
            )
    if not cases:
        return
    info = next(iter(cases.values()))[0][3]
    terminalreporter.section("medians (and fastest rounds)")
    terminalreporter.write_line(
        f"{info['threads']} threads; copy bandwidth {info['copy_bandwidth'] / 1e9:.1f} GB/s (read and written)"
    )
    for case, rows in cases.items():
        ours = next((median for implementation, median, *_ in rows if implementation == OURS), None)
        floor = rows[0][3]["moved_bytes"] / rows[0][3]["copy_bandwidth"]
        terminalreporter.write_line(f"{case}: at copy bandwidth {floor * 1e3:.3f} ms")
        for implementation, median, fastest, _ in sorted(rows, key=lambda row: row[1]):
            ratio = f"{median / ours:8.1f} x pyemo" if ours else ""
            share = f"{floor / median:8.1%} of copy bandwidth"
            terminalreporter.write_line(
                f"    {implementation:28s} {median * 1e3:9.3f} ms ({fastest * 1e3:9.3f} ms) {ratio} {share}"
            )
