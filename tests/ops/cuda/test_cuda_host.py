"""The host side of the CUDA ops: streams, devices, errors, and life without a GPU."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from pyemo.ops import color, cuda, spectrogram, windows
from pyemo.ops.reference import color as reference
from pyemo.ops.spectrogram_settings import checked_options


def calls() -> dict[str, Any]:
    """Each op, forward and backward."""
    qkv, bias = torch.randn(1, 8, 8, 24), torch.randn(2, 16, 16)
    attention = (bias, None, None, 2, [4, 4], [1, 1], 1.0)
    image, (_, constants) = torch.rand(1, 3, 8, 8), reference.unmixing_matrix("hed", None)
    waveform, (settings, window) = torch.randn(1, 2000), checked_options(slice_frames=8, slice_hop=4)
    slices = spectrogram._fake(waveform, window, *settings).zero_()
    colors = color._deconvolution
    return {
        "window": lambda: windows._run_cuda(qkv, *attention),
        "window backward": lambda: windows._run_cuda_backward(qkv[..., :8], qkv, *attention, True, False),
        "color": lambda: colors.run_cuda(image, None, constants, 1, True),
        "color backward": lambda: colors.run_cuda_backward(image, image, None, constants, 1, True, True, False),
        "spectrogram": lambda: spectrogram._run_cuda(waveform, window, *settings),
        "spectrogram backward": lambda: spectrogram._run_cuda_backward(slices, None, waveform, window, *settings),
    }


@pytest.mark.parametrize("name", ["window", "window backward", "color", "color backward", "spectrogram", "spectrogram backward"])  # fmt: skip
def test_work_goes_to_the_tensors_stream_and_device(emulated: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    call = calls()[name]
    for device, stream in ((1, 77), (0, 78)):
        monkeypatch.setattr(cuda, "queue_of", lambda tensor, queue=(device, stream): queue)
        emulated.forget()
        call()
        launches = emulated.launches()
        assert launches
        assert set(launches) == {(device, stream)}
        assert emulated.device == 0  # as the caller left it
        assert emulated.visited() == ([1, 0] if device == 1 else [])


def test_the_device_is_put_back_after_an_error(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "queue_of", lambda tensor: (7, 0))
    with pytest.raises(RuntimeError, match=r"CUDA: .*invalid device"):
        calls()["window"]()
    assert emulated.device == 0


def test_wrong_arguments_are_named(emulation: Any) -> None:
    module, view = emulation.module, windows.tensor_view
    qkv, output = torch.zeros(1, 8, 8, 24), torch.zeros(1, 8, 8, 8)
    with pytest.raises(ValueError, match=r"must be of shape \(1, 8, 8, 8\), got float32 \(1, 8, 8, 7\)"):
        module.window_attention((0, 0), view(qkv), None, None, None, view(output[..., :7]), 2, (4, 4), (0, 0), 1.0)
    with pytest.raises(TypeError, match="must be float32, got bfloat16"):
        module.window_attention((0, 0), view(qkv), None, None, None, view(output.bfloat16()), 2, (4, 4), (0, 0), 1.0)
    with pytest.raises(ValueError, match="3, 6 or 9 elements, got 4"):
        module.color_deconvolution((0, 0), view(output), 3, [1.0] * 4, None, True, view(output))
    with pytest.raises(ValueError, match="there is no CUDA device -1"):
        module.capability(-1)


def test_without_the_module_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "kernels", None)
    with pytest.raises(RuntimeError, match=r"built without its CUDA kernels.*PYEMO_CUDA=ON"):
        cuda.require_built()


def test_operators_are_registered_for_what_was_built() -> None:
    for name in ("window_attention", "color_deconvolution", "color_reconvolution", "spectrogram_slices"):
        for operator in (name, f"{name}_without_grad", f"{name}_backward"):
            has = torch._C._dispatch_has_kernel_for_dispatch_key(f"pyemo::{operator}", "CUDA")
            assert has == (cuda.kernels is not None), operator


def test_a_graph_cannot_bring_tables_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    with pytest.raises(RuntimeError, match="the table is not on the device yet: call the operation once before"):
        cuda.check_capturing("the table")


def test_the_module_needs_no_driver() -> None:
    """Where it was built, it is imported without a GPU, and says what is missing when it is used."""
    if cuda.kernels is None:
        pytest.skip("pyemo was built without its CUDA kernels")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    code = "from pyemo import _cuda; print(len(_cuda.dtypes)); _cuda.capability(0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "6"
    assert "RuntimeError: CUDA:" in done.stderr
