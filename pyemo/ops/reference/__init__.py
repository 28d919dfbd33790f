"""The operations in plain PyTorch: right on every device and dtype, differentiable any number of times, and slow.

They are what the kernels are tested against, what runs where there is no kernel, and what second derivatives go through.
"""

from __future__ import annotations

from pyemo.ops.reference.color import color_deconvolution, color_reconvolution
from pyemo.ops.reference.spectrogram import spectrogram_slices
from pyemo.ops.reference.windows import window_attention

__all__ = ["color_deconvolution", "color_reconvolution", "spectrogram_slices", "window_attention"]
