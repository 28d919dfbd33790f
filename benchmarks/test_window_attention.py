"""Windowed attention at the four stages of Swin-T (224x224 images, windows of 7x7), against PyTorch and ``torch.compile``.

Before each call the map is written anew, which is not timed: as after the projection of a model, what fits into the caches is there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_baselines import eager, sdpa, shift_mask
from torch import Tensor

from pyemo.ops import window_attention
from pyemo.ops.reference import window_attention as reference

WINDOW, SHIFT = 7, 3
STAGES = {1: (56, 96, 3), 2: (28, 192, 6), 3: (14, 384, 12), 4: (7, 768, 24)}
"""Side of the map, channels, heads."""

TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
SCALING = [(1, SHIFT, 8), (3, SHIFT, 8)]

CASES = [
    pytest.param(
        stage,
        shift,
        batch,
        dtype,
        id=f"stage{stage}-{'shifted' if shift else 'regular'}-batch{batch}-{str(dtype).removeprefix('torch.')}",
        marks=[pytest.mark.scaling] if (stage, shift, batch) in SCALING else [],
    )
    for dtype in (torch.float32, torch.bfloat16)
    for batch in (1, 8)
    for stage in STAGES
    for shift in (0, SHIFT)
    if not (shift and STAGES[stage][0] == WINDOW)  # one window fills the map: nothing to shift
]
each_case = pytest.mark.parametrize(("stage", "shift", "batch", "dtype"), CASES)

Attention = Callable[[Tensor, Tensor], Tensor]


@each_case
def test_forward(compare: Callable[..., None], stage: int, shift: int, batch: int, dtype: torch.dtype) -> None:
    source, bias = inputs(stage, batch, dtype)
    qkv = source.clone()
    side, channels, heads = STAGES[stage]
    with torch.no_grad():
        compare(
            "window_attention forward",
            title(stage, shift, batch),
            dtype,
            {name: lambda f=f: f(qkv, bias) for name, f in implementations(side, heads, shift, dtype).items()},
            expected=reference(qkv.double(), bias.double(), num_heads=heads, window_size=WINDOW, shift_size=shift),
            tolerance=TOLERANCES[dtype],
            rounds=40,
            flops=2 * product_flops(batch, side, channels),
            moved_bytes=4 * batch * side * side * channels * dtype.itemsize,
            prepare=lambda: qkv.copy_(source),
        )


@each_case
def test_forward_backward(compare: Callable[..., None], stage: int, shift: int, batch: int, dtype: torch.dtype) -> None:
    """With the gradients to the map and the bias."""
    source, bias = inputs(stage, batch, dtype)
    side, channels, heads = STAGES[stage]
    qkv = source.clone().requires_grad_()
    bias.requires_grad_()
    grad = torch.randn(batch, side, side, channels).to(dtype)

    def step(attention: Attention, qkv: Tensor, bias: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
        output = attention(qkv, bias)
        return output, *torch.autograd.grad(output, (qkv, bias), grad)

    def exact(qkv: Tensor, bias: Tensor) -> Tensor:
        return reference(qkv, bias, num_heads=heads, window_size=WINDOW, shift_size=shift)

    def write() -> None:
        with torch.no_grad():
            qkv.copy_(source)

    doubles = (tensor.detach().double().requires_grad_() for tensor in (qkv, bias))
    compare(
        "window_attention forward + backward",
        title(stage, shift, batch),
        dtype,
        {name: lambda f=f: step(f, qkv, bias, grad) for name, f in implementations(side, heads, shift, dtype).items()},
        expected=step(exact, *doubles, grad.double()),
        tolerance=TOLERANCES[dtype],
        rounds=30,
        # Two products forwards, four backwards: the gradients of both factors of each.
        flops=6 * product_flops(batch, side, channels),
        # Forwards the map and the output; backwards the map, its gradient and that of the output.
        moved_bytes=11 * batch * side * side * channels * dtype.itemsize,
        prepare=write,
    )


def inputs(stage: int, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The map and the bias."""
    side, channels, heads = STAGES[stage]
    qkv = torch.randn(batch, side, side, 3 * channels)
    return qkv.to(dtype), torch.randn(heads, WINDOW**2, WINDOW**2).to(dtype)


def implementations(side: int, heads: int, shift: int, dtype: torch.dtype) -> dict[str, Attention]:
    mask = shift_mask(side, WINDOW, shift, dtype)

    def pyemo_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return window_attention(qkv, bias, num_heads=heads, window_size=WINDOW, shift_size=shift)

    def eager_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return eager(qkv, bias, mask, WINDOW, shift)

    def sdpa_attention(qkv: Tensor, bias: Tensor) -> Tensor:
        return sdpa(qkv, bias, mask, WINDOW, shift)

    options: dict[str, Any] = {"dynamic": False, "fullgraph": True}
    return {
        "pyemo": pyemo_attention,
        "eager": eager_attention,
        "SDPA": sdpa_attention,
        "compiled eager": torch.compile(eager_attention, **options),
        "compiled SDPA": torch.compile(sdpa_attention, **options),
    }


def product_flops(batch: int, side: int, channels: int) -> int:
    """Of queries and keys, or of probabilities and values."""
    return 2 * batch * side * side * WINDOW**2 * channels


def title(stage: int, shift: int, batch: int) -> str:
    side, channels, _ = STAGES[stage]
    return f"stage {stage} {side}x{side}x{channels}, {'shifted' if shift else 'regular'}, batch {batch}"
