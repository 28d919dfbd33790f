"""How far the kernels are from float64: each op, dtype and instruction set, results and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from pyemo import ops
from pyemo.ops import reference
from pyemo.ops.native import native

PLAIN = "PyTorch"
"""Stands for the reference in the dtype itself, in the place of an instruction set."""

Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Deviation:
    """From the float64 reference on the same inputs."""

    op: str
    quantity: str
    """``"result"``, or the input to which it is the gradient."""
    dtype: str
    isa: str
    error: float
    """The largest absolute difference."""
    largest: float
    """The largest absolute value of the reference."""


@dataclass(frozen=True)
class Probe:
    """A function of tensors, and what it is called with."""

    op: str
    function: Callable[[ModuleType], Function]
    """Of the module that has the op: :mod:`pyemo.ops`, or its reference."""
    inputs: dict[str, Tensor]
    """Floating ones are converted to each dtype and get gradients."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)


def probes() -> list[Probe]:
    torch.manual_seed(0)
    qkv, bias = torch.randn(4, 28, 28, 3 * 96), torch.randn(3, 49, 49)
    windows = {"num_heads": 3, "window_size": 7}
    waveform = torch.randn(4, 32000) / 4
    image = torch.rand(4, 3, 96, 96)

    def attention(module: ModuleType, **options: object) -> Function:
        return lambda qkv, bias, logit_scale=None: module.window_attention(
            qkv, bias, logit_scale=logit_scale, **windows, **options
        )

    def slices(module: ModuleType, **options: object) -> Function:
        return lambda waveform: module.spectrogram_slices(waveform, slice_frames=128, slice_hop=64, **options)

    return [
        Probe("window_attention", attention, {"qkv": qkv, "bias": bias}),
        Probe("window_attention, shifted", lambda m: attention(m, shift_size=3), {"qkv": qkv, "bias": bias}),
        Probe(
            "window_attention, cosine",
            attention,
            {"qkv": qkv, "bias": bias, "logit_scale": torch.tensor([5.0, 10.0, 20.0])},
        ),
        Probe("color_deconvolution", lambda m: m.color_deconvolution, {"image": image}),
        Probe(
            "color_deconvolution of bytes",
            lambda m: m.color_deconvolution,
            {"image": (255 * image).byte()},
            (torch.uint8,),
        ),
        Probe("color_reconvolution", lambda m: m.color_reconvolution, {"density": image}),
        Probe(
            "spectrogram_slices, power",
            lambda m: slices(m, n_mels=128, log=None),
            {"waveform": waveform},
            (torch.float32,),
        ),
        Probe("spectrogram_slices, dB", lambda m: slices(m, n_mels=128), {"waveform": waveform}, (torch.float32,)),
    ]


def deviations() -> Iterator[Deviation]:
    """Of each op, dtype and quantity: the reference in that dtype first, then each instruction set that the machine has."""
    isas = native.supported_isas() if native else []
    before = native.isa() if native else ""
    try:
        for probe in probes():
            for dtype in probe.dtypes:
                inputs = {name: value.to(dtype) for name, value in probe.inputs.items()}
                exact = outcome(probe.function(reference), {name: _wide(value) for name, value in inputs.items()})
                for isa in (PLAIN, *isas):
                    if native and isa != PLAIN:
                        native.set_isa(isa)
                    own = outcome(probe.function(reference if isa == PLAIN else ops), inputs)
                    for quantity in own:
                        expected = exact[quantity]
                        yield Deviation(
                            probe.op,
                            quantity,
                            str(dtype).removeprefix("torch."),
                            isa,
                            float((own[quantity].double() - expected).abs().max()),
                            float(expected.abs().max()),
                        )
    finally:
        if native:
            native.set_isa(before)


def _wide(value: Tensor) -> Tensor:
    """In float64; bytes stand for 0 to 1."""
    return value.double() if value.is_floating_point() else value.double() / 255


def outcome(function: Function, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The result, and the gradients of its product with fixed random numbers."""
    leaves = {name: value.detach().clone().requires_grad_(value.is_floating_point()) for name, value in inputs.items()}
    result = function(**leaves)
    found = {"result": result.detach()}
    wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
    if wanted:
        # Representable in every dtype, so that all get the same.
        weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(result.dtype)
        grads = torch.autograd.grad(result, list(wanted.values()), weights)
        found |= {f"gradient to {name}": grad for name, grad in zip(wanted, grads, strict=True)}
    return found
