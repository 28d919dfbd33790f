"""Timing several implementations of one thing fairly."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping

import torch

Timer = Callable[[Callable[[], object]], float]
"""Runs a function once and returns the seconds it took, until its results are there. A device with a queue of its own has its own
timer, between two of its events."""


def wall_clock(function: Callable[[], object]) -> float:
    """The timer of the CPU."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cuda_events(function: Callable[[], object]) -> float:
    """The timer of the current CUDA stream, between two of its events: what the device does, not how long queueing it takes."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def replayed(call: Callable[[int], object], sets: int) -> Callable[[], object]:
    """``call(0), ..., call(sets - 1)`` as one CUDA graph: the function replays it.

    With inputs of their own for each number, together larger than the device's cache, none finds its inputs there; and the gaps between
    launches, which depend on the host, are not measured.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            for number in range(sets):
                call(number)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    results = []
    with torch.cuda.graph(graph):
        for number in range(sets):
            results.append(call(number))
    del results
    return graph.replay


def cuda_sets(set_bytes: int, device: torch.device | str = "cuda") -> int:
    """How many sets of inputs of so many bytes are three times as large as the device's cache, at least four."""
    return max(4, -(-3 * torch.cuda.get_device_properties(device).L2_cache_size // set_bytes))


def interleave(
    implementations: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    prepare: Callable[[], object] | None = None,
    timer: Timer = wall_clock,
) -> dict[str, list[float]]:
    """Seconds of ``rounds`` calls of each implementation, in turn: whatever slows the machine for a while slows them all.

    In its turn, an implementation is called twice, and the second call is timed: as in a program that uses it alone, it finds its code in
    the caches and its threads awake, and not those of the implementation before it. Each round has an order of its own, drawn at random
    with a fixed seed. ``prepare`` is called before every call and is not timed. The first ``warmup`` rounds are not counted.
    """
    shuffle = random.Random(0).shuffle
    order = list(implementations)
    seconds: dict[str, list[float]] = {name: [] for name in order}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(warmup + rounds):
            shuffle(order)
            for name in order:
                for _ in range(2):
                    if prepare:
                        prepare()
                    taken = timer(implementations[name])
                if number >= warmup:
                    seconds[name].append(taken)
    finally:
        if collecting:
            gc.enable()
    return seconds
