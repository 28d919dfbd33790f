"""Where the model did not know."""

from __future__ import annotations

import numpy as np

CERTAIN = 0.5
"""A moment is uncertain if no label has at least this probability: more speaks against the best guess than for it."""
_SHORTEST = 0.3  # seconds; shorter ones, and shorter interruptions, are flicker
_SAME = 1e-6  # seconds; times closer than this are one


def uncertain_stretches(start: np.ndarray, end: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float]]:
    """Stretches of time, in seconds, in which no label had half of the probability.

    Args:
        start: (N,) seconds, not falling.
        end: (N,) seconds.
        probabilities: (N, labels).

    Uncertain moments less than 0.3 s apart are joined, unless nobody was there in between; what is shorter than 0.3 s then is dropped.
    """
    presence = np.concatenate([[0], np.cumsum(start[1:] > end[:-1] + _SAME)])
    stretches: list[tuple[float, float, int]] = []
    for index in np.flatnonzero(probabilities.max(axis=1, initial=0.0) < CERTAIN):
        begin, finish, present = float(start[index]), float(end[index]), int(presence[index])
        if stretches and present == stretches[-1][2] and begin - stretches[-1][1] < _SHORTEST:
            begin = stretches.pop()[0]
        stretches.append((begin, finish, present))
    return [(begin, finish) for begin, finish, _ in stretches if finish - begin >= _SHORTEST - _SAME]
