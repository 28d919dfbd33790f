"""Mel scales and mel filter banks, as librosa defines them."""

from __future__ import annotations

import math

import numpy as np

SCALES = ("slaney", "htk")

# Slaney's scale (Auditory Toolbox): linear below 1 kHz, logarithmic above.
_HERTZ_PER_MEL = 200 / 3
_BREAK_HERTZ = 1000.0
_BREAK_MEL = _BREAK_HERTZ / _HERTZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27


def hertz_to_mel(frequency: float, scale: str = "slaney") -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + frequency / 700)
    if frequency < _BREAK_HERTZ:
        return frequency / _HERTZ_PER_MEL
    return _BREAK_MEL + math.log(frequency / _BREAK_HERTZ) / _LOG_STEP


def mel_to_hertz(mel: np.ndarray, scale: str = "slaney") -> np.ndarray:
    if scale == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(
        mel < _BREAK_MEL,
        mel * _HERTZ_PER_MEL,
        _BREAK_HERTZ * np.exp(_LOG_STEP * (np.maximum(mel, _BREAK_MEL) - _BREAK_MEL)),
    )


def mel_filters(
    sample_rate: float,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    scale: str = "slaney",
    norm: str | None = "slaney",
) -> np.ndarray:
    """Triangular filters whose peaks are evenly spaced on the mel scale (``librosa.filters.mel``, in float64).

    Args:
        sample_rate: samples per second.
        n_fft: samples of a frame.
        n_mels: filters.
        f_min: lower edge of the first filter, in Hz.
        f_max: upper edge of the last, in Hz.
        scale: "slaney" or "htk".
        norm: "slaney" gives each filter the same area, None the same height, 1.

    Returns:
        (n_mels, n_fft // 2 + 1) float64. A filter narrower than the distance of two bins may have no weights.
    """
    edges = mel_to_hertz(np.linspace(hertz_to_mel(f_min, scale), hertz_to_mel(f_max, scale), n_mels + 2), scale)
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    return filters if norm is None else filters * (2 / (edges[2:] - edges[:-2]))[:, None]
