"""Waveforms and options that the tests of spectrogram slices share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def samples(*shape: int) -> Tensor:
    """Noise with a tone in it, so that bins differ in size by orders of magnitude."""
    return torch.randn(shape) * 0.1 + torch.sin(torch.arange(shape[-1]) * 0.3)


def random_options(rng: np.random.Generator) -> tuple[dict[str, Any], int]:
    """Options of any kind, and the samples of a waveform long or short."""

    def choose(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    n_fft = choose(
        1, 2, 3, 4, 5, 6, 7, 8, 12, 30, 31, 60, 64, 100, 101, 256, 400, 441, 512, 997, 1024, 1102, 2048, 4096
    )
    options = {
        "n_fft": n_fft,
        "hop_length": choose(1, 3, 64, n_fft, n_fft + 5) if n_fft < 300 else choose(64, 160, n_fft, n_fft + 50),
        "win_length": choose(None, max(1, n_fft // 2), max(1, n_fft - 1)),
        "window": choose("hann", "hamming", "boxcar"),
        "center": choose(True, False),
        "pad_mode": choose("reflect", "constant", "replicate", "circular"),
        "power": choose(2.0, 1.0, 0.5, 3.0),
        "n_mels": choose(None, None, 1, 20),
        "mel_scale": choose("htk", "slaney"),
        "norm": choose("slaney", None),
        "log": choose("db", "log", None),
        "slice_frames": choose(1, 5, 16, 40),
        "slice_hop": choose(1, 3, 8, 40, 60),
        "tail": choose("pad", "drop"),
    }
    if options["log"] is not None:
        options["top_db"] = choose(None, 30.0)
    count = choose(n_fft + int(rng.integers(50)), 3 * n_fft + 200)
    if options["center"]:
        count = choose(count, n_fft // 2 + 2, n_fft // 3 + 2)
    return options, count
