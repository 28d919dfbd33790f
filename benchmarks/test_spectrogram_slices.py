"""Spectrogram slices against librosa and what one writes with torch.stft, eager and compiled (one compilation a shape).

The floor counts the operations of a split-radix real transform of each frame, and the bytes of waveform and slices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from pyemo.ops import SpectrogramSlicer, spectrogram_slices
from pyemo.ops.mel import mel_filters
from pyemo.ops.reference import spectrogram_slices as reference

RATE = 16000
SLICES = {"slice_frames": 128, "slice_hop": 64}
SPEECH = {"n_fft": 512, "hop_length": 64, "n_mels": 128}
CASES = {
    "speech": ((32, 4 * RATE), SPEECH),
    "utterance": ((1, 4 * RATE), SPEECH),
    "whisper": ((32, 4 * RATE), {"n_fft": 400, "hop_length": 160, "n_mels": 80}),
    "long-frames": ((32, 4 * RATE), {"n_fft": 2048, "hop_length": 128, "n_mels": 128}),
    "plain": ((32, 4 * RATE), {"n_fft": 512, "hop_length": 64, "n_mels": None}),
}


def with_torch(waveform: Tensor, n_fft: int, hop_length: int, filters: Tensor | None, window: Tensor) -> Tensor:
    spectrum = torch.stft(waveform, n_fft, hop_length, window=window, return_complex=True)
    power = spectrum.real.square() + spectrum.imag.square()
    if filters is not None:
        power = filters @ power
    decibels = 10 * power.clamp(min=1e-10).log10()
    frames, length, hop = decibels.shape[-1], SLICES["slice_frames"], SLICES["slice_hop"]
    missing = math.ceil(max(0, frames - length) / hop) * hop + length - frames
    return (
        torch.nn.functional.pad(decibels, (0, missing), value=-100).unfold(-1, length, hop).movedim(-2, -3).contiguous()
    )


def with_librosa(waveform: np.ndarray, n_fft: int, hop_length: int, n_mels: int | None) -> np.ndarray:
    options: dict[str, Any] = {"n_fft": n_fft, "hop_length": hop_length, "pad_mode": "reflect"}
    if n_mels is None:
        power = np.abs(librosa.stft(waveform, **options)) ** 2
    else:
        power = librosa.feature.melspectrogram(y=waveform, sr=RATE, n_mels=n_mels, **options)
    decibels = librosa.power_to_db(power, top_db=None)
    frames, length, hop = decibels.shape[-1], SLICES["slice_frames"], SLICES["slice_hop"]
    missing = math.ceil(max(0, frames - length) / hop) * hop + length - frames
    padded = np.pad(decibels, ((0, 0), (0, 0), (0, missing)), constant_values=-100)
    slices = np.lib.stride_tricks.sliding_window_view(padded, length, axis=-1)[:, :, ::hop]
    return np.ascontiguousarray(np.moveaxis(slices, -2, -3))


def implementations(options: dict[str, Any]) -> dict[str, Callable[[Tensor], Tensor]]:
    """pyemo's and PyTorch's."""
    n_fft, hop_length, n_mels = options["n_fft"], options["hop_length"], options["n_mels"]
    filters = None if n_mels is None else torch.from_numpy(mel_filters(RATE, n_fft, n_mels, 0, RATE / 2)).float()
    window = torch.hann_window(n_fft)

    def plain(waveform: Tensor) -> Tensor:
        return with_torch(waveform, n_fft, hop_length, filters, window)

    return {
        "pyemo": lambda waveform: spectrogram_slices(waveform, **options, **SLICES),
        "eager torch.stft": plain,
        "compiled torch.stft": torch.compile(plain, dynamic=False),
    }


def transform_flops(shape: tuple[int, int], n_fft: int, hop_length: int) -> float:
    frames = shape[0] * (1 + shape[1] // hop_length)
    return frames * 2 * n_fft * math.log2(n_fft)  # half of the complex transform


@pytest.mark.parametrize("name", [pytest.param("speech", marks=pytest.mark.scaling), *list(CASES)[1:]])
def test_forward(compare: Callable[..., None], name: str) -> None:
    shape, options = CASES[name]
    waveform = torch.randn(shape)
    expected = reference(waveform.double(), **options, **SLICES)
    array = waveform.numpy()
    compare(
        "spectrogram_slices forward",
        title(shape, options),
        torch.float32,
        {
            **{name: lambda f=f: f(waveform) for name, f in implementations(options).items()},
            "librosa": lambda: with_librosa(array, **options),
        },
        expected=expected,
        tolerance=1e-5,
        rounds=20,
        flops=transform_flops(shape, options["n_fft"], options["hop_length"]),
        moved_bytes=waveform.nbytes + expected.numel() * 4,
        items=("seconds of sound", shape[0] * shape[1] // RATE),
    )


def test_backward(compare: Callable[..., None]) -> None:
    """The gradient to the waveform alone, the forward pass not counted."""
    shape, options = CASES["speech"]
    waveform = torch.randn(shape).requires_grad_()
    exact = waveform.detach().double().requires_grad_()
    output = functools.cache(lambda f: f(waveform))
    values = reference(exact, **options, **SLICES)
    grad = torch.randn(values.shape)
    compare(
        "spectrogram_slices backward",
        title(shape, options),
        torch.float32,
        {
            name: lambda f=f: torch.autograd.grad(output(f), waveform, grad, retain_graph=True)
            for name, f in implementations(options).items()
        },
        expected=torch.autograd.grad(values, exact, grad.double()),
        tolerance=1e-4,
        rounds=10,
        flops=2 * transform_flops(shape, options["n_fft"], options["hop_length"]),
        moved_bytes=2 * waveform.nbytes + grad.nbytes,
    )


@pytest.mark.parametrize("chunk", [160, 1600], ids=["10ms", "100ms"])
def test_streaming(compare: Callable[..., None], chunk: int) -> None:
    """Ten seconds of live sound, chunk by chunk; beside it, transforming the newest slice anew whenever it is complete."""
    waveform = torch.randn(10 * RATE)
    slicer = SpectrogramSlicer(**SPEECH, **SLICES)
    chunks = waveform.split(chunk)
    samples, hop = (SLICES["slice_frames"] - 1) * 64 + 512, SLICES["slice_hop"] * 64
    plain = implementations(SPEECH)["eager torch.stft"]

    def anew() -> list[Tensor]:
        starts = range(0, len(waveform) - samples + 1, hop)
        return [plain(waveform[start : start + samples])[:1] for start in starts]

    def live() -> list[Tensor]:
        slices = [slicer.push(chunk) for chunk in chunks]
        return [*slices, slicer.flush()]

    compare(
        "SpectrogramSlicer",
        f"10 s in chunks of {chunk} samples",
        torch.float32,
        {"pyemo": live, "eager torch.stft, a slice at a time": anew},
        inspect=lambda parts: torch.cat(parts).float()[:1, :, 8:120],
        expected=reference(waveform.double(), **SPEECH, **SLICES)[:1, :, 8:120],
        tolerance=1e-5,
        rounds=5,
        items=("seconds of sound", 10),
    )


def title(shape: tuple[int, int], options: dict[str, Any]) -> str:
    rows = "no mels" if options["n_mels"] is None else f"{options['n_mels']} mels"
    return f"{shape[0]} x {shape[1] / RATE:g} s, n_fft {options['n_fft']}, hop {options['hop_length']}, {rows}"
