"""Fast operations on PyTorch tensors and NumPy arrays, for any model. They need torch, NumPy and, for their speed, the native module.

Each is registered with ``torch.library``: it works under ``torch.compile(fullgraph=True)``, ``torch.export``, fake tensors and
autocast, and has gradients of first and second order. :mod:`pyemo.ops.reference` has the same functions in plain PyTorch.
"""

from __future__ import annotations

from pyemo.ops.color import color_deconvolution, color_reconvolution
from pyemo.ops.spectrogram import spectrogram_slices
from pyemo.ops.spectrogram_slicer import SpectrogramSlicer
from pyemo.ops.windows import window_attention

__all__ = [
    "SpectrogramSlicer",
    "color_deconvolution",
    "color_reconvolution",
    "spectrogram_slices",
    "window_attention",
]
