"""The CUDA kernels of windowed attention, emulated: results and gradients against the reference in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from pyemo.ops import windows
from pyemo.ops.reference import windows as reference


class Case(NamedTuple):
    dtype: torch.dtype
    windows: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    heads: int
    head_dim: int
    given: str = "bias"
    batch: int = 1


HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
TOLERANCES = {HALF: 1e-3, BRAIN: 6e-3, SINGLE: 2e-6, DOUBLE: 1e-13}

CASES = [
    Case(BRAIN, (2, 2), (7, 7), (3, 3), 2, 32, batch=2),
    Case(SINGLE, (2, 2), (7, 7), (3, 3), 1, 32),
    Case(HALF, (1, 2), (8, 8), (0, 0), 1, 64, ""),
    Case(BRAIN, (2, 2), (7, 7), (3, 0), 1, 32, "bias cosine mask"),
    Case(BRAIN, (1, 1), (9, 10), (3, 3), 1, 24, "bias cosine"),
    Case(SINGLE, (1, 2), (9, 8), (3, 3), 1, 40, "bias mask"),
    Case(HALF, (1, 1), (12, 12), (6, 6), 1, 32),
    Case(BRAIN, (1, 2), (4, 4), (1, 2), 1, 128, "bias cosine"),
    Case(BRAIN, (1, 2), (4, 5), (1, 2), 3, 9, "bias cosine mask"),
    Case(SINGLE, (2, 1), (3, 5), (0, 2), 2, 8, "cosine"),
    Case(SINGLE, (1, 1), (6, 7), (1, 2), 1, 130, "bias cosine"),
    Case(DOUBLE, (2, 1), (3, 4), (1, 2), 2, 5, "bias cosine mask"),
    Case(BRAIN, (3, 5), (2, 2), (1, 1), 1, 8, batch=3),
]


def make(case: Case) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    tokens = case.window[0] * case.window[1]
    height, width = case.windows[0] * case.window[0], case.windows[1] * case.window[1]
    wide = DOUBLE if case.dtype == DOUBLE else SINGLE
    return (
        torch.randn(case.batch, height, width, 3 * case.heads * case.head_dim).to(case.dtype),
        torch.randn(case.heads, tokens, tokens, dtype=wide) if "bias" in case.given else None,
        torch.randn(case.windows[0] * case.windows[1], tokens, tokens, dtype=wide) if "mask" in case.given else None,
        torch.rand(case.heads, dtype=wide) * 10 if "cosine" in case.given else None,
    )


@pytest.mark.parametrize("emulated", [0, 1, 2], ids=["rising", "falling", "shuffled"], indirect=True)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_reference(emulated: object, assert_near: Callable[..., None], case: Case) -> None:
    inputs = make(case)
    geometry = (
        case.heads,
        list(case.window),
        list(case.shift),
        reference.default_scale(inputs[0], case.heads, inputs[3]),
    )
    exact = [None if tensor is None else tensor.double() for tensor in inputs]
    output = windows._run_cuda(*inputs, *geometry)
    assert output.dtype == case.dtype
    assert_near(output, reference.attend(*exact, *geometry), TOLERANCES[case.dtype])  # type: ignore[arg-type]

    grad = torch.randn_like(output)
    wishes = inputs[1] is not None, inputs[3] is not None
    grads = windows._run_cuda_backward(grad, *inputs, *geometry, *wishes)
    expected = reference.attend_backward(grad.double(), *exact, *geometry)  # type: ignore[arg-type]
    for name, got, value in zip(("qkv", "bias", "logit_scale"), grads, expected, strict=True):
        if value is not None:
            assert_near(got, value, TOLERANCES[case.dtype], name)
    assert all(torch.equal(a, b) for a, b in zip(grads, windows._run_cuda_backward(grad, *inputs, *geometry, *wishes), strict=True))  # fmt: skip


@pytest.mark.parametrize("dtype", [BRAIN, SINGLE], ids=str)
def test_any_strides_and_alignment(emulated: object, dtype: torch.dtype) -> None:
    geometry = (2, [4, 4], [2, 2], 0.3)
    bias = torch.randn(16, 16, 2).permute(2, 0, 1)
    views = {
        "channels first": torch.randn(1, 48, 4, 8).to(dtype).permute(0, 2, 3, 1),
        "cropped": torch.randn(2, 5, 10, 50).to(dtype)[1:, 1:, 2:, 1:49],
        "every second": torch.randn(2, 8, 16, 48).to(dtype)[::2, ::2, ::2],
        "expanded": torch.randn(1, 4, 1, 48).to(dtype).expand(1, 4, 8, 48),
    }
    for name, view in views.items():
        grad = view[..., :16]
        results = [
            (
                windows._run_cuda(qkv, bias, None, None, *geometry),
                *windows._run_cuda_backward(g, qkv, bias, None, None, *geometry, True, False),
            )
            for qkv, g in ((view, grad), (view.contiguous(), grad.contiguous()))
        ]
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True)), name


@pytest.mark.parametrize("dtype", [BRAIN, SINGLE, DOUBLE], ids=str)
def test_rows_without_a_finite_logit_are_nan_alone(emulated: object, dtype: torch.dtype) -> None:
    qkv = torch.randn(1, 8, 8, 24).to(dtype)
    mask = torch.zeros(4, 16, 16, dtype=DOUBLE if dtype == DOUBLE else SINGLE)
    mask[1, 3] = -torch.inf
    mask[2, :, 5] = -torch.inf
    arguments = (qkv, None, mask, None, 1, [4, 4], [0, 0], 1.0)
    output, expected = windows._run_cuda(*arguments), reference.attend(*arguments)
    assert expected.isnan().any()
    assert torch.equal(output.isnan(), expected.isnan())


def test_no_windows(emulated: object) -> None:
    qkv, bias = torch.randn(0, 8, 8, 24), torch.randn(2, 16, 16)
    geometry = (2, [4, 4], [0, 0], 1.0)
    assert windows._run_cuda(qkv, bias, None, None, *geometry).shape == (0, 8, 8, 8)
    grads = windows._run_cuda_backward(qkv[..., :8], qkv, bias, None, None, *geometry, True, False)
    assert grads[0].shape == qkv.shape
    assert torch.equal(grads[1], torch.zeros_like(bias))


def test_which_sizes_go_to_tensor_cores(emulation: object) -> None:
    fast = emulation.module.window_attention_is_fast  # type: ignore[attr-defined]
    codes = emulation.module.dtypes  # type: ignore[attr-defined]
    for backward in (False, True):
        for dtype in ("bfloat16", "float16", "float32"):
            for window in (7, 8, 12):
                assert fast(0, codes[dtype], 32, window**2, backward)
        assert fast(0, codes["bfloat16"], 32, 256, backward)
        assert fast(0, codes["float16"], 128, 49, backward)
        assert not fast(0, codes["float32"], 128, 49, backward)
        assert not fast(0, codes["float64"], 32, 49, backward)
        assert not fast(0, codes["bfloat16"], 32, 4096, backward)
