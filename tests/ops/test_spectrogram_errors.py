"""Bad input to spectrogram_slices: the error, and that its message names what was wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyemo.ops import spectrogram, spectrogram_slices
from pyemo.ops.native import native, tensor_view
from pyemo.ops.spectrogram_settings import checked_options

WAVEFORM = torch.zeros(2, 1000)


@pytest.mark.parametrize(
    ("waveform", "options", "error", "parts"),
    [
        (WAVEFORM.long(), {}, TypeError, ["float32, float64 or int16", "torch.int64", "(2, 1000)"]),
        (WAVEFORM.half(), {}, TypeError, ["float32", "torch.float16"]),
        (np.zeros((2, 1000), np.uint8), {}, TypeError, ["float32", "uint8", "(2, 1000)"]),
        ([0.0] * 1000, {}, TypeError, ["torch.Tensor", "list"]),
        (torch.zeros(()), {}, ValueError, ["(..., T)", "()"]),
        (torch.zeros(3, 0), {}, ValueError, ["too short", "(3, 0)", "n_fft=512"]),
        (torch.zeros(3, 100), {"center": False}, ValueError, ["too short", "(3, 100)", "n_fft=512", "center=True"]),
        (WAVEFORM, {"n_fft": 0}, ValueError, ["n_fft", "0"]),
        (WAVEFORM, {"n_fft": 512.0}, ValueError, ["n_fft", "512.0"]),
        (WAVEFORM, {"n_fft": 1 << 21}, ValueError, ["n_fft", "1048576", "2097152"]),
        (WAVEFORM, {"hop_length": -1}, ValueError, ["hop_length", "-1"]),
        (WAVEFORM, {"slice_frames": 0}, ValueError, ["slice_frames", "0"]),
        (WAVEFORM, {"slice_hop": 0}, ValueError, ["slice_hop", "0"]),
        (WAVEFORM, {"win_length": 513}, ValueError, ["win_length", "n_fft=512", "513"]),
        (WAVEFORM, {"win_length": 0}, ValueError, ["win_length", "0"]),
        (WAVEFORM, {"window": "han"}, ValueError, ["window", "hann", "'han'"]),
        (WAVEFORM, {"window": torch.ones(2, 3)}, ValueError, ["window", "(win_length,)", "(2, 3)"]),
        (WAVEFORM, {"window": torch.ones(600)}, ValueError, ["win_length", "512", "600"]),
        (WAVEFORM, {"window": torch.ones(400), "win_length": 401}, ValueError, ["(400,)", "win_length=401"]),
        (WAVEFORM, {"window": torch.ones(4, dtype=torch.complex64)}, ValueError, ["real", "complex64"]),
        (WAVEFORM, {"window": torch.ones(4, requires_grad=True)}, ValueError, ["window", "detach"]),
        (WAVEFORM, {"pad_mode": "mirror"}, ValueError, ["pad_mode", "reflect, constant", "'mirror'"]),
        (WAVEFORM, {"power": 0}, ValueError, ["power", "0"]),
        (WAVEFORM, {"power": float("nan")}, ValueError, ["power", "nan"]),
        (WAVEFORM, {"n_mels": 0}, ValueError, ["n_mels", "0"]),
        (WAVEFORM, {"n_mels": 8, "f_min": 9000.0}, ValueError, ["f_min=9000.0", "f_max=8000.0"]),
        (WAVEFORM, {"n_mels": 8, "sample_rate": 0}, ValueError, ["sample_rate"]),
        (WAVEFORM, {"mel_scale": "bark"}, ValueError, ["mel_scale", "slaney, htk", "'bark'"]),
        (WAVEFORM, {"norm": "l2"}, ValueError, ["norm", "slaney", "'l2'"]),
        (WAVEFORM, {"log": "log10"}, ValueError, ["log", "db, log, None", "'log10'"]),
        (WAVEFORM, {"amin": 0.0}, ValueError, ["amin", "0.0"]),
        (WAVEFORM, {"top_db": -1.0}, ValueError, ["top_db", "-1.0"]),
        (WAVEFORM, {"top_db": 80.0, "log": None}, ValueError, ["top_db", "log"]),
        (WAVEFORM, {"tail": "keep"}, ValueError, ["tail", "pad, drop", "'keep'"]),
    ],
)
def test_message(waveform: Any, options: dict[str, Any], error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        spectrogram_slices(waveform, **{"slice_frames": 8, "slice_hop": 4, **options})
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.skipif(native is None, reason="pyemo was built without its native module")
def test_the_native_module_checks_for_itself() -> None:
    """It must not be brought to touch foreign memory, whoever calls it."""
    assert native is not None
    settings, _ = checked_options(n_mels=8, slice_frames=8, slice_hop=4)
    plan = spectrogram.plan(settings)
    tensors = {
        "output": torch.empty(2, 3, 8, 8),
        "waveform": WAVEFORM,
        "window": settings.full_window(None),
        "gradient": torch.empty(2, 1000),
    }

    def run(slice_frames: int = 8, slice_hop: int = 4, backward: bool = False, **changed: torch.Tensor) -> None:
        views = {name: tensor_view(tensor) for name, tensor in {**tensors, **changed}.items()}
        middle = (views["waveform"], views["window"], slice_frames, slice_hop)
        if backward:
            native.spectrogram_slices_backward(plan, views["output"], *middle, views["gradient"], 1)
        else:
            native.spectrogram_slices(plan, *middle, views["output"], 1)

    run()
    run(backward=True)
    with pytest.raises(ValueError, match=r"output float32 \(2, 3, 8, 7\) does not fit waveform float32 \(2, 1000\)"):
        run(output=torch.empty(2, 3, 8, 7))
    with pytest.raises(ValueError, match=r"does not fit"):
        run(output=torch.empty(3, 3, 8, 8))
    with pytest.raises(ValueError, match=r"more slices than float32 \(2, 1000\) has frames for"):
        run(output=torch.empty(2, 5, 8, 8))
    with pytest.raises(ValueError, match=r"contiguous"):
        run(output=torch.empty(2, 8, 3, 8).transpose(1, 2))
    with pytest.raises(TypeError, match=r"must be float32, got float64"):
        run(output=torch.empty(2, 3, 8, 8, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"not supported, got uint8 \(2, 1000\)"):
        run(waveform=WAVEFORM.byte())
    with pytest.raises(ValueError, match=r"window must be \(512,\), got float64 \(511,\)"):
        run(window=torch.ones(511, dtype=torch.float64))
    with pytest.raises(TypeError, match=r"window must be float64"):
        run(window=torch.ones(512))
    with pytest.raises(ValueError, match=r"must be positive"):
        run(slice_hop=0)
    with pytest.raises(TypeError, match=r"no gradient for waveform int16"):
        run(backward=True, waveform=WAVEFORM.short())
    with pytest.raises(ValueError, match=r"gradient float32 \(2, 999\) does not fit"):
        run(backward=True, gradient=torch.empty(2, 999))
    with pytest.raises(ValueError, match=r"filters must be float64 \(filters, 257\), got float32 \(8, 257\)"):
        native.SpectrogramPlan(
            n_fft=512,
            hop_length=64,
            padding="none",
            power=2.0,
            log_scale=0.0,
            amin=1.0,
            top_db=None,
            filters=tensor_view(torch.empty(8, 257)),
        )
    with pytest.raises(ValueError, match=r"hop_length must be positive"):
        native.SpectrogramPlan(
            n_fft=512, hop_length=0, padding="none", power=2.0, log_scale=0.0, amin=1.0, top_db=None, filters=None
        )
