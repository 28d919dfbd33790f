"""Timing several implementations of one thing fairly."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Mapping

Timer = Callable[[Callable[[], object]], float]
"""Runs a function once and returns the seconds it took, until its results are there. A device with a queue of its own has its own
timer, between two of its events."""


def wall_clock(function: Callable[[], object]) -> float:
    """The timer of the CPU."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(
    implementations: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    prepare: Callable[[], object] | None = None,
    timer: Timer = wall_clock,
) -> dict[str, list[float]]:
    """Seconds of ``rounds`` calls of each implementation, in turn: whatever slows the machine for a while slows them all.

    Each round has an order of its own, drawn at random with a fixed seed, so that none always finds the caches as the same other one
    left them. ``prepare`` is called before every call and is not timed. The first ``warmup`` rounds are not counted.
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
                if prepare:
                    prepare()
                taken = timer(implementations[name])
                if number >= warmup:
                    seconds[name].append(taken)
    finally:
        if collecting:
            gc.enable()
    return seconds
