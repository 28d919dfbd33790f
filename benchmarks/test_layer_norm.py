"""Layer norms of Swin-T at batch 8 as ``pyemo.accelerate`` computes them, against PyTorch and ``torch.compile``."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pyemo

MAPS = {"stage 1": (25088, 96), "stage 2": (6272, 192), "stage 3": (1568, 384), "stage 4": (392, 768)}
"""Tokens of eight images of 224x224, channels."""

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

each_case = pytest.mark.parametrize(
    ("stage", "dtype"),
    [
        pytest.param(stage, dtype, id=f"{stage.replace(' ', '')}-{str(dtype).removeprefix('torch.')}")
        for dtype in TOLERANCES
        for stage in MAPS
    ],
)


@each_case
def test_forward(compare: Callable[..., None], stage: str, dtype: torch.dtype) -> None:
    x, module = create(stage, dtype)
    with torch.no_grad():
        compare(
            "layer norm forward",
            title(stage),
            dtype,
            {name: lambda f=f: f(x) for name, f in implementations(module).items()},
            expected=copy.deepcopy(module).double()(x.double()),
            tolerance=TOLERANCES[dtype],
            rounds=40,
            moved_bytes=2 * x.nbytes,
        )


@each_case
def test_forward_backward(compare: Callable[..., None], stage: str, dtype: torch.dtype) -> None:
    """With the gradient to the input; those of weight and bias, whose sums PyTorch rounds in bfloat16, are computed but not compared."""
    x, module = create(stage, dtype)
    exact = copy.deepcopy(module).double()
    grad = torch.randn_like(x)

    def step(module: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
        y = module(x)
        return y, torch.autograd.grad(y, (x, *module.parameters()), grad)[0]

    x.requires_grad_()
    compare(
        "layer norm forward + backward",
        title(stage),
        dtype,
        {name: lambda f=f: step(f, x, grad) for name, f in implementations(module).items()},
        expected=step(exact, x.detach().double().requires_grad_(), grad.double()),
        tolerance=TOLERANCES[dtype],
        rounds=30,
        # Forwards the input and the output; backwards the input, its gradient and that of the output.
        moved_bytes=5 * x.nbytes,
    )


def title(stage: str) -> str:
    return "{}, {} x {}".format(stage, *MAPS[stage])


def create(stage: str, dtype: torch.dtype) -> tuple[Tensor, nn.Module]:
    """The input, and the layer in a container, since ``accelerate`` swaps what is in a model."""
    tokens, channels = MAPS[stage]
    module = nn.Sequential(nn.LayerNorm(channels)).to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter))
    return (torch.randn(tokens, channels) * 2 + 1).to(dtype), module


def implementations(module: nn.Module) -> dict[str, nn.Module]:
    accelerated = copy.deepcopy(module)
    report = pyemo.accelerate(accelerated)
    assert report.swapped, report
    return {"pyemo": accelerated, "eager": module, "compiled": torch.compile(copy.deepcopy(module), dynamic=False)}
