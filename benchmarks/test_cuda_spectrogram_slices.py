"""Spectrogram slices on a GPU against torch.stft, which calls cuFFT, eager and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyemo.benchmarking.timing import cuda_sets
from pyemo.ops import spectrogram_slices
from pyemo.ops.mel import mel_filters
from pyemo.ops.reference import spectrogram_slices as reference

pytestmark = pytest.mark.usefixtures("gpu")

RATE, LENGTH, HOP = 16000, 128, 64
SHAPE = (128, 4 * RATE)
CASES = {
    "speech": {"n_fft": 512, "hop_length": 64, "n_mels": 128},
    "whisper": {"n_fft": 400, "hop_length": 160, "n_mels": 80},
    "long-frames": {"n_fft": 2048, "hop_length": 128, "n_mels": 128},
    "plain": {"n_fft": 512, "hop_length": 64, "n_mels": None},
}


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward_backward"])
@pytest.mark.parametrize("name", CASES)
def test_slices(compare: Callable[..., None], name: str, backward: bool) -> None:
    options: dict[str, Any] = CASES[name]
    small = torch.randn(2, SHAPE[1], device="cuda", dtype=torch.float64)
    slices = reference(small, **options, slice_frames=LENGTH, slice_hop=HOP)
    grad = torch.randn(SHAPE[0], *slices.shape[1:], device="cuda")
    moved = 4 * (math.prod(SHAPE) + grad.numel()) + (4 * (2 * math.prod(SHAPE) + grad.numel()) if backward else 0)
    sounds = [torch.randn(SHAPE, device="cuda") for _ in range(cuda_sets(moved))]
    exact = sounds[0][:2].double().requires_grad_(backward)
    expected = reference(exact, **options, slice_frames=LENGTH, slice_hop=HOP)
    if backward:
        expected = torch.autograd.grad(expected, exact, grad[:2].double())[0]

    def call(function: Callable[[Tensor], Tensor], sound: Tensor) -> Tensor:
        if not backward:
            with torch.no_grad():
                return function(sound)
        return torch.autograd.grad(function(sound.requires_grad_()), sound, grad)[0]

    compare(
        f"spectrogram_slices forward{' + backward' if backward else ''} on a GPU",
        f"{SHAPE[0]} x {SHAPE[1] // RATE} s, {', '.join(f'{key} {value}' for key, value in options.items())}",
        torch.float32,
        {key: lambda i, f=f: call(f, sounds[i]) for key, f in implementations(**options).items()},
        inspect=lambda result: result[:2].cpu(),
        expected=expected.detach().cpu(),
        tolerance=1e-3 if backward else 1e-5,
        rounds=20,
        moved_bytes=moved,
        items=("seconds of sound", SHAPE[0] * SHAPE[1] // RATE),
        sets=len(sounds),
    )


def implementations(n_fft: int, hop_length: int, n_mels: int | None) -> dict[str, Callable[[Tensor], Tensor]]:
    filters = None
    if n_mels is not None:
        filters = torch.from_numpy(mel_filters(RATE, n_fft, n_mels, 0, RATE / 2)).float().cuda()
    window = torch.hann_window(n_fft, device="cuda")

    def with_stft(waveform: Tensor) -> Tensor:
        spectrum = torch.stft(waveform, n_fft, hop_length, window=window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        if filters is not None:
            power = filters @ power
        decibels = 10 * power.clamp(min=1e-10).log10()
        frames = decibels.shape[-1]
        missing = math.ceil(max(0, frames - LENGTH) / HOP) * HOP + LENGTH - frames
        padded = torch.nn.functional.pad(decibels, (0, missing), value=-100)
        return padded.unfold(-1, LENGTH, HOP).movedim(-2, -3).contiguous()

    def own(waveform: Tensor) -> Tensor:
        return spectrogram_slices(
            waveform, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, slice_frames=LENGTH, slice_hop=HOP
        )

    return {
        "pyemo": own,
        "torch.stft": with_stft,
        "compiled torch.stft": torch.compile(with_stft, dynamic=False),
    }
