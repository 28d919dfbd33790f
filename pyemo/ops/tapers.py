"""The windows that frames are multiplied by, periodic as ``torch.hann_window`` and ``scipy.signal.get_window`` give them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _cosines(*coefficients: float) -> Callable[[np.ndarray], np.ndarray]:
    """A sum of cosines with alternating signs."""

    def window(phase: np.ndarray) -> np.ndarray:
        return sum(((-1) ** k * c * np.cos(2 * np.pi * k * phase) for k, c in enumerate(coefficients)), np.zeros(()))

    return window


def _bohman(phase: np.ndarray) -> np.ndarray:
    distance = np.abs(2 * phase - 1)
    return (1 - distance) * np.cos(np.pi * distance) + np.sin(np.pi * distance) / np.pi


# Of the position in the window, from 0 to just below 1.
_WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hann": _cosines(0.5, 0.5),
    "hamming": _cosines(0.54, 0.46),
    "blackman": _cosines(0.42, 0.5, 0.08),
    "nuttall": _cosines(0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": _cosines(0.35875, 0.48829, 0.14128, 0.01168),
    "flattop": _cosines(0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
    "bartlett": lambda phase: 1 - np.abs(2 * phase - 1),
    "bohman": _bohman,
    "boxcar": np.ones_like,
}
_ALIASES = {"hanning": "hann", "ones": "boxcar", "rectangular": "boxcar", "rect": "boxcar"}

NAMES = (*_WINDOWS, *_ALIASES)


def taper(name: str, length: int) -> np.ndarray:
    """(length,) float64. ``name`` is one of :data:`NAMES`."""
    if length == 1:
        return np.ones(1)
    return _WINDOWS[_ALIASES.get(name, name)](np.arange(length) / length)
