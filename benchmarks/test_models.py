"""Swin-T, SwinV2-T, ConvNeXt-T and ViT-S of timm with random weights, batch 8: timm's own paths, compiled ones, and what ``pyemo.accelerate``
makes of them.

timm has two paths for attention, eager and SDPA, but for SwinV2 the first only. ConvNeXt and ViT have MLPs and dense layers alone to be
made faster; ViT keeps timm's default path for attention. bfloat16 means what users do: for inference the weights are converted, for training
they stay in float32 under autocast.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import set_fused_attn
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import pyemo

BATCH, CLASSES = 8, 1000
ARCHITECTURES = {
    "Swin-T": ("swin_tiny_patch4_window7_224", 224),
    "SwinV2-T": ("swinv2_tiny_window8_256", 256),
    "ConvNeXt-T": ("convnext_tiny", 224),
    "ViT-S": ("vit_small_patch16_224", 224),
}


def cases(*architectures: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("architecture", "dtype"),
        [
            pytest.param(
                architecture,
                dtype,
                id=f"{architecture}-{str(dtype).removeprefix('torch.')}",
                marks=[pytest.mark.scaling] if architecture == "Swin-T" else [],
            )
            for architecture in architectures
            for dtype in (torch.float32, torch.bfloat16)
        ],
    )


@cases(*ARCHITECTURES)
def test_inference(compare: Callable[..., None], architecture: str, dtype: torch.dtype) -> None:
    images = torch.randn(BATCH, 3, *2 * ARCHITECTURES[architecture][1:]).to(dtype)
    models = variants(architecture, lambda model: model.to(dtype).eval())
    exact = create(architecture, fused=False).eval()
    with torch.no_grad():
        compare(
            f"{architecture} inference",
            f"batch {BATCH}",
            dtype,
            {name: lambda model=model: model(images) for name, model in models.items()},
            expected=exact(images.float()),
            tolerance=1e-4 if dtype == torch.float32 else 5e-2,
            rounds=10,
            flops=flops(lambda: exact(images.float())),
            moved_bytes=dtype.itemsize * sum(parameter.numel() for parameter in exact.parameters()),
            items=("images", BATCH),
        )


@cases(*ARCHITECTURES)
def test_training_step(compare: Callable[..., None], architecture: str, dtype: torch.dtype) -> None:
    """Forward, cross entropy, backward; no optimiser. Compared in the loss and the gradients of all weights."""
    images = torch.randn(BATCH, 3, *2 * ARCHITECTURES[architecture][1:])
    targets = torch.randint(CLASSES, (BATCH,))

    def step(model: nn.Module, autocast: bool) -> tuple[Tensor, list[Tensor]]:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype) if autocast else contextlib.nullcontext():
            loss = F.cross_entropy(model(images), targets)
        loss.backward()
        return loss, [parameter.grad for parameter in model.parameters()]

    def inspect(result: tuple[Tensor, list[Tensor]]) -> tuple[Tensor, Tensor]:
        # The gradients as one vector: by themselves, those that are 0 but for rounding could not be compared.
        return result[0], torch.cat([grad.flatten() for grad in result[1]])

    reduced = dtype != torch.float32
    models = variants(architecture, nn.Module.train)
    reference = create(architecture, fused=False).train()
    compare(
        f"{architecture} training step",
        f"batch {BATCH}",
        dtype,
        {name: lambda model=model: step(model, reduced) for name, model in models.items()},
        inspect=inspect,
        expected=inspect(step(reference, False)),
        # Rounding alone makes 0.11 in SwinV2's gradients under autocast.
        tolerance=1e-4 if dtype == torch.float32 else 0.2,
        rounds=8,
        # Twice the forward pass's again; the counter takes the backward pass of depthwise convolutions for that of full ones.
        flops=3 * flops(lambda: reference(images)),
        items=("images", BATCH),
    )


def create(architecture: str, *, fused: bool) -> nn.Module:
    """Always with the same weights. Without stochastic depth, so that all variants compute the same."""
    torch.manual_seed(0)
    set_fused_attn(fused, experimental=fused)
    try:
        return timm.create_model(ARCHITECTURES[architecture][0], num_classes=CLASSES, drop_path_rate=0.0)
    finally:
        set_fused_attn()  # timm's default


def variants(architecture: str, prepare: Callable[[nn.Module], nn.Module]) -> dict[str, nn.Module]:
    paths = {"eager": False, "SDPA": True} if architecture in ("Swin-T", "ViT-S") else {"eager": False}
    found = {}
    for name, fused in paths.items():
        found[name] = prepare(create(architecture, fused=fused))
        found[f"compiled {name}"] = torch.compile(prepare(create(architecture, fused=fused)), dynamic=False)
    for name in ("pyemo", "pyemo compiled"):
        model = prepare(create(architecture, fused=architecture == "ViT-S"))
        report = pyemo.accelerate(model)
        assert report.swapped, report
        found[name] = torch.compile(model, dynamic=False) if "compiled" in name else model
    return found


def flops(call: Callable[[], object]) -> int:
    """Of the matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
