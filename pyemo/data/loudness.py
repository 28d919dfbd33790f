"""Where in a sound something is heard."""

from __future__ import annotations

import numpy as np

BLOCK_SECONDS = 0.01
MARGIN_SECONDS = 0.08


def loud_part(sound: np.ndarray, sample_rate: int, below_db: float) -> tuple[float, float]:
    """From the first to the last hundredth of a second that is less than ``below_db`` decibels below the loudest, and 80 ms on either side.

    Args:
        sound: (T,) int16 or float32.
        sample_rate: Hz.
        below_db: decibels.

    Returns:
        Start and end in seconds; the whole of a sound shorter than a hundredth of a second.
    """
    duration = len(sound) / sample_rate
    energies = _energies(sound, round(BLOCK_SECONDS * sample_rate))
    if not len(energies):
        return 0.0, duration
    return _loud(energies, 0.0, duration, below_db)


class Levels:
    """How loud sound is that arrives in pieces, in hundredths of a second.

    Args:
        sample_rate: Hz.
        silence_db: what never rises above this, in decibels to full scale (root mean square), is silence.
    """

    def __init__(self, sample_rate: int, silence_db: float) -> None:
        self._silence = 10 ** (silence_db / 10)
        self._block = round(BLOCK_SECONDS * sample_rate)
        self._energies = np.empty(0)
        self._first = 0  # number of the first block kept
        self._rest = np.empty(0, np.float32)

    def add(self, samples: np.ndarray) -> None:
        """The next samples, float32 in [-1, 1]."""
        samples = np.concatenate([self._rest, samples])
        energies = _energies(samples, self._block)
        self._energies = np.concatenate([self._energies, energies])
        self._rest = samples[len(energies) * self._block :]

    def end(self) -> None:
        """What is left is a block, too."""
        if len(self._rest):
            self._energies = np.append(self._energies, (self._rest.astype(np.float64) ** 2).mean())
            self._rest = self._rest[:0]

    def forget(self, before: float) -> None:
        """What lies before that many seconds is not asked for any more."""
        first = max(self._first, int(before / BLOCK_SECONDS))
        self._energies = self._energies[first - self._first :]
        self._first = first

    def loud_part(self, start: float, end: float, below_db: float | None) -> tuple[float, float] | None:
        """:func:`loud_part` of a stretch, all of it without ``below_db``; None where it is silence."""
        first = round(start / BLOCK_SECONDS) - self._first
        last = max(int(end / BLOCK_SECONDS) - self._first, first + 1)
        energies = self._energies[max(0, first) : last]
        if not len(energies) or energies.max() < self._silence:
            return None
        return (start, end) if below_db is None else _loud(energies, start, end, below_db)


def _energies(sound: np.ndarray, block: int) -> np.ndarray:
    """Mean squares of whole blocks, float64."""
    count = len(sound) // block
    return (sound[: count * block].reshape(count, block).astype(np.float64) ** 2).mean(axis=1)


def _loud(energies: np.ndarray, start: float, end: float, below_db: float) -> tuple[float, float]:
    loud = np.flatnonzero(energies >= energies.max() * 10 ** (-below_db / 10))
    first, last = start + loud[0] * BLOCK_SECONDS, start + (loud[-1] + 1) * BLOCK_SECONDS
    return max(start, first - MARGIN_SECONDS), min(end, last + MARGIN_SECONDS)
