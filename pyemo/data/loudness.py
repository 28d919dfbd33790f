"""Where in a sound something is heard."""

from __future__ import annotations

import numpy as np

_BLOCK_SECONDS = 0.01
_MARGIN_SECONDS = 0.08


def loud_part(sound: np.ndarray, sample_rate: int, below_db: float) -> tuple[float, float]:
    """From the first to the last hundredth of a second that is less than ``below_db`` decibels below the loudest, and 80 ms on either side.

    Args:
        sound: (T,) int16 or float32.
        sample_rate: Hz.
        below_db: decibels.

    Returns:
        Start and end in seconds; the whole of a sound shorter than a hundredth of a second.
    """
    block = max(1, round(_BLOCK_SECONDS * sample_rate))
    count = len(sound) // block
    duration = len(sound) / sample_rate
    if count == 0:
        return 0.0, duration
    energy = (sound[: count * block].reshape(count, block).astype(np.float64) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy >= energy.max() * 10 ** (-below_db / 10))
    start, end = loud[0] * block / sample_rate, (loud[-1] + 1) * block / sample_rate
    return max(0.0, start - _MARGIN_SECONDS), min(duration, end + _MARGIN_SECONDS)
