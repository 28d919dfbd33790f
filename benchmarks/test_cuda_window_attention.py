"""Windowed attention on a GPU, at the stages of Swin-T and Swin-B, batch 64, against SDPA, ``torch.compile`` and FlexAttention.

All are recorded as CUDA graphs over several sets of inputs, which together are larger than the device's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_baselines import eager, flex, sdpa, shift_mask
from torch import Tensor

from pyemo.benchmarking.timing import cuda_sets
from pyemo.ops import window_attention
from pyemo.ops.reference import window_attention as reference

pytestmark = pytest.mark.usefixtures("gpu")

WINDOW, SHIFT, BATCH = 7, 3, 64
STAGES = {
    f"{model} stage {number + 1}": (56 >> number, channels << number, channels // 32 << number)
    for model, channels in (("Swin-T", 96), ("Swin-B", 128))
    for number in range(4)
}
CASES = [
    pytest.param(stage, shift, id=f"{stage.replace(' ', '-')}-{'shifted' if shift else 'regular'}")
    for stage in STAGES
    for shift in (0, SHIFT)
    if not (shift and STAGES[stage][0] == WINDOW)
]


@pytest.mark.parametrize(("stage", "shift"), CASES)
def test_forward(compare: Callable[..., None], stage: str, shift: int) -> None:
    side, channels, heads = STAGES[stage]
    inputs = make_inputs(side, channels, heads, 4)
    with torch.no_grad():
        compare(
            "window_attention forward on a GPU",
            title(stage, shift),
            torch.bfloat16,
            {name: lambda i, f=f: f(*inputs[i][:2]) for name, f in implementations(side, heads, shift).items()},
            expected=exact(inputs[0], shift, heads)[0],
            tolerance=3e-2,
            rounds=20,
            moved_bytes=4 * BATCH * side * side * channels * 2,
            items=("images", BATCH),
            sets=len(inputs),
        )


@pytest.mark.parametrize(("stage", "shift"), CASES)
def test_forward_backward(compare: Callable[..., None], stage: str, shift: int) -> None:
    """With the gradients to the map and the bias."""
    side, channels, heads = STAGES[stage]
    inputs = make_inputs(side, channels, heads, 11)

    def step(attention: Callable[..., Tensor], qkv: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
        output = attention(qkv.requires_grad_(), bias.requires_grad_())
        return output, *torch.autograd.grad(output, (qkv, bias), grad)

    compare(
        "window_attention forward + backward on a GPU",
        title(stage, shift),
        torch.bfloat16,
        {name: lambda i, f=f: step(f, *inputs[i]) for name, f in implementations(side, heads, shift).items()},
        expected=exact(inputs[0], shift, heads),
        tolerance=3e-2,
        rounds=20,
        moved_bytes=11 * BATCH * side * side * channels * 2,
        items=("images", BATCH),
        sets=len(inputs),
    )


def make_inputs(side: int, channels: int, heads: int, maps: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Sets of map, bias and gradient."""
    sets = cuda_sets(maps * BATCH * side * side * channels * 2)
    return [
        (
            torch.randn(BATCH, side, side, 3 * channels, device="cuda", dtype=torch.bfloat16),
            torch.randn(heads, WINDOW**2, WINDOW**2, device="cuda", dtype=torch.bfloat16),
            torch.randn(BATCH, side, side, channels, device="cuda", dtype=torch.bfloat16),
        )
        for _ in range(sets)
    ]


def exact(inputs: tuple[Tensor, Tensor, Tensor], shift: int, heads: int) -> tuple[Tensor, ...]:
    """In float32, whose error is nothing beside bfloat16's."""
    qkv, bias, grad = (tensor.detach().float() for tensor in inputs)
    qkv.requires_grad_(), bias.requires_grad_()
    with torch.enable_grad():
        output = reference(qkv, bias, num_heads=heads, window_size=WINDOW, shift_size=shift)
        grads = torch.autograd.grad(output, (qkv, bias), grad)
    return tuple(tensor.detach().cpu() for tensor in (output, *grads))


def implementations(side: int, heads: int, shift: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    mask = shift_mask(side, WINDOW, shift, torch.bfloat16)
    mask = None if mask is None else mask.cuda()

    def pyemo_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(qkv, bias, num_heads=heads, window_size=WINDOW, shift_size=shift)

    def eager_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return eager(qkv, bias, mask, WINDOW, shift)

    def sdpa_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return sdpa(qkv, bias, mask, WINDOW, shift)

    def flex_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return flex(qkv, bias, mask, WINDOW, shift)

    options: dict[str, Any] = {"dynamic": False, "fullgraph": True}
    return {
        "pyemo": pyemo_attention,
        "SDPA": sdpa_attention,
        "compiled eager": torch.compile(eager_attention, **options),
        "compiled SDPA": torch.compile(sdpa_attention, **options),
        "compiled FlexAttention": torch.compile(flex_attention, **options),
    }


def title(stage: str, shift: int) -> str:
    side, channels, _ = STAGES[stage]
    return f"{stage} {side}x{side}x{channels}, {'shifted' if shift else 'regular'}, batch {BATCH}"
