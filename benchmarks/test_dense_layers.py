"""Dense layers and MLPs of Swin-T at batch 8 as ``pyemo.accelerate`` computes them, against PyTorch and ``torch.compile``."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from timm.layers import Mlp
from torch import Tensor, nn

import pyemo

STAGES = {1: (25088, 96), 2: (6272, 192), 3: (1568, 384), 4: (392, 768)}
"""Tokens of eight images of 224x224, channels."""

WIDTHS = {"qkv": (1, 3), "projection": (1, 1), "MLP": (1, 4)}
"""Inputs and outputs, in channels; hidden activations of the MLP, which has as many outputs as inputs."""

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

each_case = pytest.mark.parametrize(
    ("stage", "layer", "dtype"),
    [
        pytest.param(stage, layer, dtype, id=f"stage{stage}-{layer}-{str(dtype).removeprefix('torch.')}")
        for dtype in TOLERANCES
        for stage in STAGES
        for layer in WIDTHS
    ],
)


@each_case
def test_forward(compare: Callable[..., None], stage: int, layer: str, dtype: torch.dtype) -> None:
    tokens, channels = STAGES[stage]
    x = torch.randn(tokens, channels).to(dtype)
    module = create(layer, channels)
    with torch.no_grad():
        compare(
            f"{kind(layer)} forward",
            title(stage, layer),
            dtype,
            {name: lambda f=f: f(x) for name, f in implementations(module.to(dtype)).items()},
            expected=copy.deepcopy(module).double()(x.double()),
            tolerance=TOLERANCES[dtype],
            rounds=20,
            flops=flops(tokens, layer, channels),
            moved_bytes=2 * x.nbytes,
        )


@each_case
def test_forward_backward(compare: Callable[..., None], stage: int, layer: str, dtype: torch.dtype) -> None:
    """With the gradients to the input, weights and biases."""
    tokens, channels = STAGES[stage]
    x = torch.randn(tokens, channels).to(dtype).requires_grad_()
    module = create(layer, channels).to(dtype)
    exact = copy.deepcopy(module).double()
    grad = torch.randn_like(module(x))

    def step(module: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
        y = module(x)
        return y, *torch.autograd.grad(y, (x, *module.parameters()), grad)

    compare(
        f"{kind(layer)} forward + backward",
        title(stage, layer),
        dtype,
        {name: lambda f=f: step(f, x, grad) for name, f in implementations(module).items()},
        expected=step(exact, x.detach().double().requires_grad_(), grad.double()),
        tolerance=TOLERANCES[dtype],
        rounds=15,
        flops=3 * flops(tokens, layer, channels),
        moved_bytes=4 * x.nbytes,
    )


def kind(layer: str) -> str:
    """MLPs and single layers have means of their own."""
    return "MLP" if layer == "MLP" else "dense layer"


def title(stage: int, layer: str) -> str:
    tokens, channels = STAGES[stage]
    return f"stage {stage} {layer}, {tokens} x {channels}"


def create(layer: str, channels: int) -> nn.Module:
    """In a container, since ``accelerate`` swaps what is in a model."""
    inputs, outputs = (channels * width for width in WIDTHS[layer])
    return nn.Sequential(Mlp(inputs, outputs) if layer == "MLP" else nn.Linear(inputs, outputs))


def implementations(module: nn.Module) -> dict[str, nn.Module]:
    accelerated = copy.deepcopy(module)
    report = pyemo.accelerate(accelerated)
    assert report.swapped, report
    return {"pyemo": accelerated, "eager": module, "compiled": torch.compile(copy.deepcopy(module), dynamic=False)}


def flops(tokens: int, layer: str, channels: int) -> int:
    inputs, outputs = (channels * width for width in WIDTHS[layer])
    return 2 * tokens * inputs * outputs * (2 if layer == "MLP" else 1)
