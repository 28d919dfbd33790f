"""Spectrogram slices as a citizen of PyTorch: gradients, compilation, export, fake tensors, autocast."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spectrogram_inputs import random_options, samples
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pyemo.ops import SpectrogramSlicer, spectrogram_slices
from pyemo.ops.reference import spectrogram as reference
from pyemo.ops.spectrogram_settings import checked_options

MEL: dict[str, Any] = {"n_fft": 128, "hop_length": 32, "n_mels": 12, "slice_frames": 8, "slice_hop": 4}
SMALL: dict[str, Any] = {"n_fft": 16, "hop_length": 5, "slice_frames": 4, "slice_hop": 3}


GRADCHECK = [
    {"log": None},
    {"log": "db", "n_mels": 4},
    {"log": "db", "amin": 5.0},
    {"log": "log", "power": 1.0},
    {"log": "db", "power": 0.7, "pad_mode": "replicate"},
    {"n_fft": 15, "pad_mode": "circular"},
    {"n_fft": 14, "win_length": 11, "window": "hamming", "center": False},
    {"log": "log", "top_db": 2.0, "pad_mode": "constant"},
    {"hop_length": 20, "slice_hop": 6, "tail": "drop"},
]


def slices_of_few_samples(options: dict[str, Any]) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    waveform = (torch.randn(2, 47, dtype=torch.float64) + 0.5).requires_grad_()
    return lambda waveform: spectrogram_slices(waveform, **{**SMALL, **options}), waveform


@pytest.mark.parametrize("options", GRADCHECK, ids=str)
def test_gradcheck(isa: str, options: dict[str, Any]) -> None:
    function, waveform = slices_of_few_samples(options)
    assert torch.autograd.gradcheck(function, (waveform,))


@pytest.mark.parametrize("options", GRADCHECK, ids=str)
def test_gradgradcheck(options: dict[str, Any]) -> None:
    function, waveform = slices_of_few_samples(options)
    assert torch.autograd.gradgradcheck(function, (waveform,))


def test_gradients_of_random_options_equal_autograds(isa: str) -> None:
    """In float64; the reference is differentiated by PyTorch, and must itself equal its written-out gradient."""
    rng = np.random.default_rng()
    for _ in range(25):
        options, count = random_options(rng)
        waveform = torch.randn(2, count, dtype=torch.float64, requires_grad=True)
        expected = reference.spectrogram_slices(waveform, **options)
        if expected.numel() == 0:
            continue
        # Near zero, roots and logarithms are too steep to compare.
        plain = {**options, "log": None, "top_db": None, "power": 2.0}
        values = reference.spectrogram_slices(waveform.detach(), **plain)
        if options["power"] != 2 and options["n_mels"] is not None:
            continue
        grad = torch.randn_like(expected) * (values > 1e-4)
        if options.get("top_db") is not None:
            grad = grad * (values > 1e-4).all()
        (wanted,) = torch.autograd.grad(expected, waveform, grad)
        settings, window = checked_options(**options)
        written = reference.backward(grad, waveform.detach(), window, settings)
        (given,) = torch.autograd.grad(spectrogram_slices(waveform, **options), waveform, grad)
        scale = 1 + wanted.abs().max().item()
        torch.testing.assert_close(
            written / scale, wanted / scale, rtol=0, atol=1e-9, msg=lambda t, o=options: f"{o} {t}"
        )
        torch.testing.assert_close(
            given / scale, wanted / scale, rtol=0, atol=1e-9, msg=lambda t, o=options: f"{o} {t}"
        )


@pytest.mark.parametrize("n_fft", [256, 512, 2048, 400])
def test_gradient_in_float32(isa: str, n_fft: int) -> None:
    """Several tasks, a gradient that is expanded, and a waveform that is not contiguous."""
    options: dict[str, Any] = {"n_fft": n_fft, "hop_length": 64, "n_mels": 40, "slice_frames": 32, "slice_hop": 16}
    waveform = samples(20000, 2).T.requires_grad_()
    spectrogram_slices(waveform, **options).sum().backward()
    exact = waveform.detach().double().requires_grad_()
    reference.spectrogram_slices(exact, **options).sum().backward()
    assert waveform.grad is not None
    assert exact.grad is not None
    difference = (waveform.grad - exact.grad).abs().max()
    assert difference <= 1e-4 * exact.grad.abs().max()


def test_gradients_do_not_depend_on_threads_or_repetition() -> None:
    waveform = samples(3, 30000).requires_grad_()
    before = torch.get_num_threads()
    grads = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            grads.append(torch.autograd.grad(spectrogram_slices(waveform, **MEL).square().sum(), waveform)[0])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(grads[0], grad) for grad in grads[1:])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("log", [None, "db"])
def test_silence_has_no_gradient(isa: str, log: str | None, power: float) -> None:
    waveform = torch.zeros(2, 900, requires_grad=True)
    spectrogram_slices(waveform, **MEL, log=log, power=power).sum().backward()
    assert waveform.grad is not None
    assert torch.equal(waveform.grad, torch.zeros(2, 900))


def test_samples_in_no_frame_have_no_gradient() -> None:
    waveform = samples(1000).requires_grad_()
    options: dict[str, Any] = {**MEL, "center": False, "slice_hop": 8, "tail": "drop"}
    spectrogram_slices(waveform, **options).sum().backward()
    used = 23 * 32 + 128  # 28 frames, 24 of them in slices
    assert waveform.grad is not None
    assert bool((waveform.grad[1 : used - 1] != 0).all())
    assert not bool(waveform.grad[used:].any())


def operator_samples() -> list[tuple[str, tuple[object, ...]]]:
    plain, _ = checked_options(**MEL)
    windowed, window = checked_options(**{**SMALL, "window": torch.hann_window(10), "top_db": 40.0})
    waveform = samples(2, 500)
    output = spectrogram_slices(waveform, **{**SMALL, "window": torch.hann_window(10), "top_db": 40.0})
    grad = torch.randn_like(output)
    return [
        ("spectrogram_slices", (waveform.clone().requires_grad_(), None, *plain)),
        ("spectrogram_slices", (waveform.double().requires_grad_(), None, *plain)),
        ("spectrogram_slices", (waveform.clone().requires_grad_(), window, *windowed)),
        ("spectrogram_slices_without_grad", (waveform.to(torch.int16), None, *plain)),
        ("spectrogram_slices_without_grad", (waveform[:0], None, *plain)),
        ("spectrogram_slices_without_grad", (samples(500, 3).T, window, *windowed)),
        ("spectrogram_slices_backward", (grad, output, waveform, window, *windowed)),
    ]


@pytest.mark.parametrize("sample", range(len(operator_samples())))
def test_opcheck(sample: int) -> None:
    name, arguments = operator_samples()[sample]
    torch.library.opcheck(getattr(torch.ops.pyemo, name).default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_fullgraph(dynamic: bool) -> None:
    torch._dynamo.reset()

    def model(waveform: Tensor) -> Tensor:
        return spectrogram_slices(waveform * 2, **MEL, top_db=60.0) + 1

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for count in (600, 1300, 2000):
        inputs = [samples(2, count) for _ in range(2)]
        inputs[1].copy_(inputs[0])
        results = [compiled(inputs[0].requires_grad_()), model(inputs[1].requires_grad_())]
        torch.testing.assert_close(results[0], results[1])
        for result in results:
            result.square().sum().backward()
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


def test_compiled_graph_holds_the_operators_forward_and_backward() -> None:
    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    names: list[str] = []

    def note(graph: torch.fx.GraphModule, example: object) -> Callable[..., object]:
        names.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    compiled = torch.compile(SpectrogramSlicer(**MEL), fullgraph=True, backend=aot_autograd(fw_compiler=note))
    compiled(samples(2, 700).requires_grad_()).sum().backward()
    assert "pyemo.spectrogram_slices.default" in names
    assert "pyemo.spectrogram_slices_backward.default" in names


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    waveform = samples(2, 900)
    compiled = torch.compile(lambda x: spectrogram_slices(x, **MEL) * 2, fullgraph=True)
    torch.testing.assert_close(compiled(waveform), spectrogram_slices(waveform, **MEL) * 2)


@pytest.mark.parametrize("window", ["hann", torch.hamming_window(100)], ids=["name", "tensor"])
def test_export_with_any_batch_and_length(window: str | Tensor) -> None:
    """From two slices on: PyTorch traces a dimension of size one apart."""
    slicer = SpectrogramSlicer(**MEL, window=window)
    shapes = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("samples", min=1024, max=1 << 20)}
    program = torch.export.export(slicer, (samples(4, 2000),), dynamic_shapes=({**shapes},), strict=False)
    for batch, count in ((7, 2000), (3, 3001)):
        waveform = samples(batch, count)
        torch.testing.assert_close(program.module()(waveform), slicer(waveform))


def test_fake_and_meta_tensors() -> None:
    for dtype in (torch.float32, torch.int16, torch.float64):
        real = spectrogram_slices(samples(2, 3, 900).to(dtype), **MEL)
        meta = spectrogram_slices(torch.empty(2, 3, 900, dtype=dtype, device="meta"), **MEL)
        with FakeTensorMode():
            fake = spectrogram_slices(torch.empty(2, 3, 900, dtype=dtype), **MEL)
        for other in (meta, fake):
            assert (real.shape, real.dtype, real.stride()) == (other.shape, other.dtype, other.stride())


def test_autocast_changes_nothing() -> None:
    waveform = samples(2, 900).requires_grad_()
    expected = spectrogram_slices(waveform, **MEL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = spectrogram_slices(waveform, **MEL)
        plain = reference.spectrogram_slices(waveform, **MEL)
    assert result.dtype == plain.dtype == torch.float32
    assert torch.equal(result, expected)
    torch.testing.assert_close(plain, expected, rtol=1e-5, atol=1e-4)
    (grad,) = torch.autograd.grad(expected.sum(), waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (again,) = torch.autograd.grad(result.sum(), waveform)
    assert torch.equal(grad, again)


def test_inference_mode_and_no_grad() -> None:
    waveform = samples(900).requires_grad_()
    with torch.inference_mode():
        inferred = spectrogram_slices(waveform, **MEL)
    with torch.no_grad():
        plain = spectrogram_slices(waveform, **MEL)
    assert not inferred.requires_grad
    assert not plain.requires_grad
    assert torch.equal(inferred, plain)


def test_vmap() -> None:
    waveform = samples(4, 2, 900)
    expected = spectrogram_slices(waveform, **MEL)
    assert torch.equal(torch.vmap(lambda x: spectrogram_slices(x, **MEL))(waveform), expected)
    moved = torch.vmap(lambda x: spectrogram_slices(x, **MEL), in_dims=1, out_dims=1)(waveform)
    assert torch.equal(moved, expected)


def test_without_the_native_module() -> None:
    code = """
import sys, warnings
sys.modules["pyemo._native"] = None
warnings.simplefilter("ignore")
import numpy as np, torch
from pyemo.ops import SpectrogramSlicer, spectrogram_slices
from pyemo.ops.reference import spectrogram as reference
options = dict(n_fft=16, hop_length=5, n_mels=4, slice_frames=4, slice_hop=3)
waveform = torch.randn(2, 47, dtype=torch.float64, requires_grad=True)
assert torch.equal(spectrogram_slices(waveform, **options), reference.spectrogram_slices(waveform, **options))
assert torch.autograd.gradcheck(lambda x: spectrogram_slices(x, **options), (waveform,))
assert isinstance(spectrogram_slices(waveform.detach().numpy(), **options), np.ndarray)
slicer = SpectrogramSlicer(**options)
live = torch.cat([slicer.push(waveform[:, :20]), slicer.push(waveform[:, 20:]), slicer.flush()], 1)
torch.testing.assert_close(live, slicer(waveform).detach())
print("right")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "right", done.stderr
