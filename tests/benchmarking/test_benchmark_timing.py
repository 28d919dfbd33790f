from __future__ import annotations

import gc
from collections import Counter

import torch

from pyemo.benchmarking.floors import Machine
from pyemo.benchmarking.timing import interleave, wall_clock


def test_implementations_take_turns_in_changing_order() -> None:
    calls: list[str] = []
    seconds = interleave(
        {name: lambda name=name: calls.append(name) for name in "abc"},
        rounds=40,
        warmup=2,
        prepare=lambda: calls.append("prepare"),
    )
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 40, "b": 40, "c": 40}
    assert calls[::2] == ["prepare"] * (2 * 3 * 42)
    assert calls[1::4] == calls[3::4], "twice each"
    rounds = ["".join(calls[1::4][start : start + 3]) for start in range(0, 3 * 42, 3)]
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert len(Counter(rounds)) == 6


def test_of_two_calls_the_second_is_counted() -> None:
    amounts = iter(range(100))
    seconds = interleave({"a": lambda: next(amounts)}, rounds=3, warmup=0, timer=lambda function: float(function()))  # type: ignore[arg-type]
    assert seconds == {"a": [1.0, 3.0, 5.0]}


def test_warmup_and_preparation_are_not_counted_and_any_clock_serves() -> None:
    now = 0.0

    def work(amount: float) -> None:
        nonlocal now
        now += amount

    def timer(function: object) -> float:
        start = now
        function()  # type: ignore[operator]
        return now - start

    first = iter([100.0, 100.0])
    seconds = interleave(
        {"slow": lambda: work(next(first, 3.0)), "fast": lambda: work(1.0)},
        rounds=5,
        warmup=1,
        prepare=lambda: work(50.0),
        timer=timer,  # type: ignore[arg-type]
    )
    assert seconds == {"slow": [3.0] * 5, "fast": [1.0] * 5}


def test_garbage_collection_is_as_before() -> None:
    states: list[bool] = []
    interleave({"a": lambda: states.append(gc.isenabled())}, rounds=2, warmup=0)
    assert states == [False] * 4
    assert gc.isenabled()


def test_floor_is_the_slower_of_computing_and_moving() -> None:
    machine = Machine(timer=lambda function: (function(), 1e-3)[1])
    peak = 2 * 2048**3 / 1e-3  # the largest product, as all take the same time
    assert machine.gemm_peaks == {}
    compute = machine.floor(flops=5e-3 * peak, moved_bytes=1 << 16)
    assert (round(compute.seconds, 9), compute.limit) == (5e-3, "compute")
    assert set(machine.gemm_peaks) == {torch.float32}
    memory = machine.floor(flops=1e-4 * peak, moved_bytes=1 << 16)
    assert (memory.seconds, memory.limit) == (1e-3, "memory")
    assert machine.copy_bandwidth() == (1 << 29) / 1e-3


def test_a_peak_that_would_take_long_to_measure_is_not_measured_on() -> None:
    sides: list[int] = []

    def timer(function: object) -> float:
        sides.append(1)
        return 0.6

    machine = Machine(timer=timer)  # type: ignore[arg-type]
    assert machine.gemm_peak(torch.bfloat16) == 2 * 512**3 / 0.6
    assert len(sides) == 16
    assert machine.gemm_peak(torch.bfloat16) == 2 * 512**3 / 0.6
    assert len(sides) == 16, "measured once"


def test_copies_grow_with_the_bytes() -> None:
    """Real measurements: a thousand times the bytes take longer, and no copy is free."""
    machine = Machine()
    assert 0 < machine.copy_seconds(1 << 14) < machine.copy_seconds(1 << 24)
    assert wall_clock(lambda: None) < 1e-3
