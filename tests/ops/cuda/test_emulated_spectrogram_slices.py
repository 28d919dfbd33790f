"""The CUDA kernels of spectrogram slices, emulated: results and gradients against the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pyemo.ops import spectrogram
from pyemo.ops.reference import spectrogram as reference
from pyemo.ops.spectrogram_settings import checked_options

SLICES = {"slice_frames": 16, "slice_hop": 8}
SINGLE, DOUBLE, SHORT = torch.float32, torch.float64, torch.int16
TOLERANCES = {SINGLE: 2e-6, DOUBLE: 1e-13, SHORT: 2e-6}

CASES: list[tuple[torch.dtype, tuple[int, ...], dict[str, Any]]] = [
    (SINGLE, (2, 3000), {"n_mels": 40}),
    (SINGLE, (1, 3000), {"log": None}),
    (SHORT, (1, 2, 2500), {"n_fft": 400, "hop_length": 160, "n_mels": 20, "slice_frames": 5, "slice_hop": 9}),
    (SINGLE, (2, 1500), {"n_fft": 400, "hop_length": 160, "n_mels": 20, "slice_frames": 3, "slice_hop": 5}),
    (DOUBLE, (2, 1500), {"n_fft": 256, "hop_length": 100, "n_mels": 30, "power": 1.0, "log": "log", "tail": "drop"}),
    (SINGLE, (1, 6000), {"n_fft": 1024, "hop_length": 200, "n_mels": 30, "pad_mode": "circular"}),
    (SINGLE, (1, 9000), {"n_fft": 2048, "hop_length": 500, "n_mels": 64, "pad_mode": "constant", "top_db": 30.0}),
    (SINGLE, (1, 9000), {"n_fft": 4096, "hop_length": 700, "log": None, "pad_mode": "replicate"}),
    (DOUBLE, (2, 100), {"n_fft": 45, "hop_length": 7, "power": 3.0, "log": None}),
    (SINGLE, (1, 40), {"n_fft": 120, "hop_length": 11, "n_mels": 9}),
    (SINGLE, (1, 1), {"n_fft": 16, "hop_length": 3, "log": None}),
    (DOUBLE, (1, 50), {"n_fft": 1, "hop_length": 3, "log": None, "slice_frames": 3, "slice_hop": 5}),
    (DOUBLE, (1, 50), {"n_fft": 2, "hop_length": 3, "center": False, "slice_frames": 3, "slice_hop": 1}),
    (SINGLE, (1, 900), {"n_fft": 512, "win_length": 300, "window": torch.rand(300), "n_mels": 16}),
    (SINGLE, (1, 700), {"n_fft": 7 * 16, "n_mels": 16}),  # has no kernel
    (SINGLE, (0, 700), {"n_mels": 16}),
]


@pytest.mark.parametrize("emulated", [0, 1, 2], ids=["rising", "falling", "shuffled"], indirect=True)
@pytest.mark.parametrize(("dtype", "shape", "options"), CASES, ids=lambda value: str(value)[:80])
def test_equals_the_reference(
    emulated: object,
    assert_near: Callable[..., None],
    dtype: torch.dtype,
    shape: tuple[int, ...],
    options: dict[str, Any],
) -> None:
    settings, window = checked_options(**{**SLICES, **options})
    noise = torch.randn(shape, dtype=DOUBLE)
    waveform = (8000 * noise).to(SHORT) if dtype == SHORT else noise.to(dtype)
    exact = waveform.double() / 32768 if dtype == SHORT else waveform.double()
    output = spectrogram._run_cuda(waveform, window, *settings)
    expected = reference.compute(exact, window, settings)
    assert output.dtype == spectrogram.output_dtype(waveform)
    assert_near(output, expected, TOLERANCES[dtype])
    if dtype == SHORT:
        return
    grad = torch.randn_like(output)
    limited = output if settings.top_db is not None else None
    got = spectrogram._run_cuda_backward(grad, limited, waveform, window, *settings)
    assert_near(got, reference.backward(grad.double(), exact, window, settings), 2 * TOLERANCES[dtype], "waveform")
    assert torch.equal(got, spectrogram._run_cuda_backward(grad, limited, waveform, window, *settings))


def test_any_strides(emulated: object) -> None:
    settings, window = checked_options(**SLICES, n_mels=16)
    waveform = torch.randn(1400, 3, 2).permute(2, 1, 0)[:, ::2, ::2]
    grad = torch.randn_like(spectrogram._run_cuda(waveform, window, *settings))
    results = [
        (spectrogram._run_cuda(x, window, *settings), spectrogram._run_cuda_backward(grad, None, x, window, *settings))
        for x in (waveform, waveform.contiguous())
    ]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_frame_depends_on_its_own_samples_alone(emulated: object) -> None:
    """Bit for bit, which streaming needs."""
    settings, window = checked_options(**SLICES, n_mels=16, center=False)
    waveform = torch.randn(1, 4000)
    whole = spectrogram._run_cuda(waveform, window, *settings)
    later = spectrogram._run_cuda(waveform[:, 3 * 8 * 64 :], window, *settings)
    assert torch.equal(whole[:, 3:], later)


def test_sizes_with_kernels(emulation: object) -> None:
    module = emulation.module  # type: ignore[attr-defined]
    options = {"hop_length": 64, "padding": "none", "power": 2.0, "log_scale": 1.0, "amin": 1e-10, "top_db": None, "filters": None}  # fmt: skip
    for dtype in ("float32", "float64"):
        for n_fft in (256, 400, 512, 1024, 2048, 4096):
            assert module.SpectrogramPlan(n_fft=n_fft, dtype=module.dtypes[dtype], **options).is_supported(0)
    for n_fft in (7, 1 << 20):
        assert not module.SpectrogramPlan(n_fft=n_fft, dtype=module.dtypes["float32"], **options).is_supported(0)
