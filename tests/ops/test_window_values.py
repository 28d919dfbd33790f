"""Windowed attention against the reference in float64, and the reference against timm and torchvision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyemo.ops import window_attention
from pyemo.ops.reference import windows as reference

# Largest error, as a share of the largest value: of outputs, and of gradients.
TOLERANCES = {
    torch.float64: (1e-14, 5e-14),
    torch.float32: (2e-6, 1e-5),
    torch.float16: (1e-3, 1e-3),
    torch.bfloat16: (6e-3, 6e-3),
}


@dataclass(frozen=True)
class Case:
    batch: int
    windows: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    heads: int
    head_dim: int
    cosine: bool = False
    bias: bool = True
    mask: bool = False

    def __str__(self) -> str:
        extras = [name for name in ("cosine", "bias", "mask") if getattr(self, name)]
        return "-".join(map(str, [*self.window, "by", *self.shift, self.heads, self.head_dim, *extras]))


CASES = [
    Case(2, (2, 3), (7, 7), (0, 0), 3, 32),
    Case(2, (2, 3), (7, 7), (3, 3), 3, 32),
    Case(1, (2, 2), (7, 7), (3, 3), 2, 32, cosine=True),
    Case(3, (1, 2), (7, 7), (0, 3), 2, 24, bias=False),
    Case(1, (3, 1), (8, 8), (4, 4), 2, 16),
    Case(2, (1, 1), (8, 8), (0, 0), 1, 64, cosine=True, bias=False),
    Case(1, (2, 2), (8, 8), (4, 4), 2, 32, cosine=True, mask=True),
    Case(1, (2, 1), (12, 12), (6, 6), 2, 40),
    Case(1, (1, 2), (12, 12), (0, 0), 1, 128, mask=True),
    Case(1, (1, 2), (16, 16), (8, 8), 2, 32, cosine=True),
    Case(1, (2, 1), (16, 16), (0, 0), 1, 96),
    Case(2, (3, 2), (4, 6), (1, 3), 2, 8, mask=True),
    Case(2, (2, 3), (4, 6), (2, 0), 4, 16, cosine=True),
    Case(2, (5, 3), (1, 1), (0, 0), 2, 32),
    Case(2, (3, 4), (5, 3), (2, 1), 3, 24),
    Case(1, (3, 4), (5, 3), (4, 2), 2, 64, cosine=True, mask=True),
    Case(1, (2, 2), (1, 9), (0, 4), 5, 20),
    Case(1, (1, 1), (18, 17), (0, 0), 1, 7),
    Case(0, (2, 2), (7, 7), (3, 3), 2, 32, cosine=True, mask=True),
    Case(2, (0, 2), (4, 4), (2, 2), 2, 8),
]


@pytest.fixture(autouse=True)
def poisoned_memory() -> Iterator[None]:
    """In deterministic mode PyTorch fills memory that it hands out for results with NaN."""
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


def make_inputs(case: Case, dtype: torch.dtype) -> dict[str, Tensor | None]:
    """Rounded to ``dtype``, held in float64."""
    tokens = case.window[0] * case.window[1]
    height, width = case.windows[0] * case.window[0], case.windows[1] * case.window[1]
    inputs: dict[str, Tensor | None] = {
        "qkv": torch.randn(case.batch, height, width, 3 * case.heads * case.head_dim),
        "bias": torch.randn(case.heads, tokens, tokens) if case.bias else None,
        "logit_scale": torch.rand(case.heads) * 10 if case.cosine else None,
        "mask": torch.randn(math.prod(case.windows), tokens, tokens) if case.mask else None,
    }
    return {name: None if value is None else value.to(dtype).double() for name, value in inputs.items()}


def cast(inputs: dict[str, Tensor | None], dtype: torch.dtype) -> dict[str, Tensor | None]:
    return {
        name: None if value is None else value.detach().to(dtype).requires_grad_(name != "mask")
        for name, value in inputs.items()
    }


def assert_near(actual: Tensor | None, expected: Tensor | None, share: float, what: str) -> None:
    assert actual is not None
    assert expected is not None
    assert actual.shape == expected.shape
    if actual.numel():
        error, largest = (actual.double() - expected.double()).abs().max(), expected.double().abs().max()
        assert error <= share * largest.clamp(min=1e-3), f"{what}: {error:.2e} of {largest:.2e}"  # fails for NaN too


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_the_reference(isa: str, case: Case, dtype: torch.dtype) -> None:
    exact = make_inputs(case, dtype)
    options = {"num_heads": case.heads, "window_size": case.window, "shift_size": case.shift}
    wide = cast(exact, torch.float64)
    expected = reference.window_attention(**wide, **options)  # type: ignore[arg-type]
    grad = torch.randn(expected.shape).to(dtype)
    expected.backward(grad.double())

    inputs = cast(exact, dtype)
    output = window_attention(**inputs, **options)  # type: ignore[arg-type]
    assert output.dtype == dtype
    assert output.is_contiguous()
    with torch.no_grad():
        assert torch.equal(window_attention(**inputs, **options), output)  # type: ignore[arg-type]
    output.backward(grad)
    output_share, grad_share = TOLERANCES[dtype]
    assert_near(output, expected, output_share, "output")
    for name in ("qkv", "bias", "logit_scale"):
        if (tensor := inputs[name]) is not None:
            assert tensor.grad is not None
            assert tensor.grad.dtype == dtype
            assert_near(tensor.grad, wide[name].grad, grad_share, name)  # type: ignore[union-attr]


@pytest.mark.parametrize("case", [case for case in CASES if case.batch and case.windows[0]][:8], ids=str)
def test_backward_of_the_reference_is_the_derivative_of_its_forward(case: Case) -> None:
    inputs = cast(make_inputs(case, torch.float64), torch.float64)
    qkv, bias, mask, logit_scale = (inputs[name] for name in ("qkv", "bias", "mask", "logit_scale"))
    assert qkv is not None
    scale = reference.default_scale(qkv, case.heads, logit_scale)
    arguments = (qkv, bias, mask, logit_scale, case.heads, case.window, case.shift, scale)
    output = reference.attend(*arguments)
    grad = torch.randn_like(output)
    output.backward(grad)
    with torch.no_grad():
        grads = reference.attend_backward(grad, *arguments)
    for name, got in zip(("qkv", "bias", "logit_scale"), grads, strict=True):
        if (tensor := inputs[name]) is not None:
            assert_near(got, tensor.grad, 1e-12, name)


@pytest.mark.parametrize(("window", "shift"), [(7, 0), (7, 3), ((4, 6), (2, 3)), ((6, 4), (0, 2))])
def test_the_reference_equals_timm(window: int | tuple[int, int], shift: int | tuple[int, int]) -> None:
    from timm.models.swin_transformer import SwinTransformerBlock
    from timm.models.swin_transformer_v2 import SwinTransformerV2Block

    x = torch.randn(2, 84, 84, 8, dtype=torch.float64)
    for kind in (SwinTransformerBlock, SwinTransformerV2Block):
        block = kind(8, (84, 84), num_heads=2, window_size=window, shift_size=shift).double()
        attn = block.attn
        if kind is SwinTransformerBlock:
            bias, logit_scale = attn._get_rel_pos_bias()[0], None
            qkv = attn.qkv(x)
        else:
            table = attn.cpb_mlp(attn.relative_coords_table).view(-1, 2)
            bias = 16 * torch.sigmoid(table[attn.relative_position_index]).permute(2, 0, 1)
            logit_scale = attn.logit_scale.exp().flatten()
            qkv = attn.qkv(x) + torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
        expected = block._attn(x)
        result = reference.window_attention(
            qkv, bias, num_heads=2, window_size=window, shift_size=shift, logit_scale=logit_scale
        )
        torch.testing.assert_close(attn.proj(result), expected, rtol=1e-12, atol=1e-12)
        masked = reference.window_attention(qkv, bias, num_heads=2, window_size=window, logit_scale=logit_scale)
        assert torch.allclose(masked, result) == (shift == 0)


def test_the_reference_equals_torchvision() -> None:
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    x = torch.randn(2, 12, 20, 8, dtype=torch.float64)
    attn = swin.ShiftedWindowAttention(8, [4, 5], [2, 3], 2).double()
    result = reference.window_attention(
        attn.qkv(x), attn.get_relative_position_bias()[0], num_heads=2, window_size=(4, 5), shift_size=(2, 3)
    )
    torch.testing.assert_close(attn.proj(result), attn(x), rtol=1e-12, atol=1e-12)


def layouts(dtype: torch.dtype) -> dict[str, Tensor]:
    """Of one shape, (2, 8, 12, 48)."""
    return {
        "channels first": torch.randn(2, 48, 8, 12).to(dtype).permute(0, 2, 3, 1),
        "transposed": torch.randn(2, 12, 8, 48).to(dtype).transpose(1, 2),
        "cropped": torch.randn(3, 9, 14, 50).to(dtype)[1:, 1:, 2:, 1:49],
        "every second": torch.randn(4, 16, 24, 48).to(dtype)[::2, ::2, ::2],
        "expanded": torch.randn(1, 8, 1, 48).to(dtype).expand(2, 8, 12, 48),
        "odd channels": torch.randn(2, 8, 12, 96).to(dtype)[..., ::2],
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", layouts(torch.float32))
def test_layouts(isa: str, layout: str, dtype: torch.dtype) -> None:
    options = {"num_heads": 2, "window_size": 4, "shift_size": 2}
    view = layouts(dtype)[layout]
    bias = torch.randn(16, 16, 2).permute(2, 0, 1)
    grad = layouts(dtype)[layout][..., :16]
    results = []
    for qkv, grad_output, some_bias in (
        (view, grad, bias),
        (view.contiguous(), grad.contiguous(), bias.contiguous()),
    ):
        leaf, leaf_bias = qkv.detach().requires_grad_(), some_bias.detach().requires_grad_()
        output = window_attention(leaf, leaf_bias, **options)  # type: ignore[arg-type]
        output.backward(grad_output)
        results.append((output, leaf.grad, leaf_bias.grad))
    for got, expected in zip(*results, strict=True):
        assert torch.equal(got, expected)  # type: ignore[arg-type]


def test_dtypes_beside_qkv(isa: str) -> None:
    """They are computed with in float32, and get their gradients in their own dtypes."""
    qkv = torch.randn(1, 8, 8, 48).bfloat16()
    bias, logit_scale = torch.randn(2, 16, 16), torch.rand(2) * 5
    mask = torch.randn(4, 16, 16)
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        others = [tensor.to(dtype).requires_grad_(tensor is not mask) for tensor in (bias, logit_scale, mask)]
        output = window_attention(
            qkv, others[0], logit_scale=others[1], mask=others[2], num_heads=2, window_size=4, shift_size=2
        )
        expected = window_attention(
            qkv,
            others[0].float(),
            logit_scale=others[1].float(),
            mask=others[2].float(),
            num_heads=2,
            window_size=4,
            shift_size=2,
        )
        assert output.dtype == torch.bfloat16
        assert torch.equal(output, expected)
        output.sum().backward()
        assert [tensor.grad.dtype for tensor in others[:2]] == [dtype] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(("window", "images"), [((7, 7), 1), ((3, 5), 3), ((7, 7), 20)])  # the last in parts
def test_a_bias_of_the_dtype_of_the_map(isa: str, window: tuple[int, int], images: int, dtype: torch.dtype) -> None:
    """It is read, and its gradient written, without a copy: as a wide bias of the same values."""
    torch.manual_seed(0)
    tokens = window[0] * window[1]
    qkv = torch.randn(images, 2 * window[0], window[1], 3 * 32).to(dtype)
    grad = torch.randn(images, 2 * window[0], window[1], 32).to(dtype)
    narrow = torch.randn(2, tokens, tokens).to(dtype)
    results = []
    for bias in (narrow, narrow.to(torch.promote_types(dtype, torch.float32))):
        leaf, bias = qkv.clone().requires_grad_(), bias.clone().requires_grad_()
        output = window_attention(leaf, bias, num_heads=2, window_size=window)
        results.append((output, *torch.autograd.grad(output, (leaf, bias), grad)))
    (output, grad_qkv, grad_bias), (wide_output, wide_grad_qkv, wide_grad_bias) = results
    assert grad_bias.dtype == dtype
    assert torch.equal(output, wide_output)
    assert torch.equal(grad_qkv, wide_grad_qkv)
    assert torch.equal(grad_bias, wide_grad_bias.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["q", "k", "v", "bias", "mask"])
def test_nan_and_infinity_propagate_as_in_the_reference(isa: str, part: str, value: float, dtype: torch.dtype) -> None:
    qkv = torch.randn(2, 6, 8, 3 * 32).to(dtype)
    bias, mask = torch.randn(2, 12, 12, dtype=dtype), torch.randn(4, 12, 12, dtype=dtype)
    if part in ("q", "k", "v"):
        qkv[1, 2, 5, "qkv".index(part) * 32 + 3] = value
    else:
        (bias if part == "bias" else mask)[1, 3, 4] = value
        (bias if part == "bias" else mask)[1, 7] = value  # all of a row
    options = {"num_heads": 2, "window_size": (3, 4), "shift_size": (1, 2), "mask": mask}
    output = window_attention(qkv, bias, **options)  # type: ignore[arg-type]
    expected = reference.window_attention(qkv, bias, **options)  # type: ignore[arg-type]
    assert output.isfinite().any()
    assert torch.equal(output.isnan(), expected.isnan())
    assert torch.equal(output == math.inf, expected == math.inf)
    assert torch.equal(output == -math.inf, expected == -math.inf)
    finite = expected.isfinite()
    assert_near(output[finite], expected[finite], TOLERANCES[dtype][0], "finite part")


def test_cosine_attention_of_zeros(isa: str) -> None:
    """The norms are kept from zero."""
    qkv = torch.randn(1, 4, 4, 24)
    qkv[0, 1, 2, :16] = 0
    scale = torch.tensor([3.0])
    output = window_attention(qkv, num_heads=1, window_size=4, logit_scale=scale)
    expected = reference.window_attention(qkv.double(), num_heads=1, window_size=4, logit_scale=scale.double())
    assert_near(output, expected, 2e-6, "output")


@pytest.mark.parametrize("magnitude", [1e-3, 1e2, 1e4])
def test_large_and_small_logits(isa: str, magnitude: float) -> None:
    """Softmax neither overflows nor loses precision that float32 has: float64 of the very same logits differs by their rounding."""
    qkv = torch.randn(1, 8, 8, 96)
    qkv[..., :32] *= magnitude
    output = window_attention(qkv, num_heads=1, window_size=8)
    expected = reference.window_attention(qkv.double(), num_heads=1, window_size=8)
    assert_near(output, expected, 2e-6 * max(1.0, magnitude), "output")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("window", [7, 8, 6])
@pytest.mark.parametrize("largest", [20.0, 27.5, 28.0, 60.0, 150.0, 300.0])
def test_rows_of_every_height(isa: str, largest: float, window: int, dtype: torch.dtype) -> None:
    """Without a shift by the largest logit of each row, where all of a head's are small enough; a large one anywhere makes it needed."""
    tokens = window**2
    qkv = torch.randn(1, 2 * window, 2 * window, 3 * 2 * 32, dtype=torch.float64) / 10
    bias = torch.randn(2, tokens, tokens, dtype=torch.float64)
    bias[0] -= torch.linspace(-largest, largest, tokens, dtype=torch.float64)[:, None]  # whole rows
    bias[1, 3, tokens - 1] = bias[1, tokens - 1, 5] = largest
    options: dict[str, Any] = {"num_heads": 2, "window_size": window, "shift_size": window // 2}
    qkv, bias = qkv.to(dtype).requires_grad_(), bias.to(dtype).requires_grad_()
    wide = [tensor.detach().double().requires_grad_() for tensor in (qkv, bias)]
    output, expected = window_attention(qkv, bias, **options), reference.window_attention(*wide, **options)
    grad = torch.randn_like(expected).to(dtype)
    grads = torch.autograd.grad(output, (qkv, bias), grad), torch.autograd.grad(expected, wide, grad.double())
    tolerance = {torch.float64: 1e-13, torch.float32: 2e-5, torch.bfloat16: 2e-2}[dtype]
    for name, got, want in zip(("output", "qkv", "bias"), (output, *grads[0]), (expected, *grads[1]), strict=True):
        assert_near(got, want, tolerance, name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_rows_beside_one_of_nan(isa: str, dtype: torch.dtype) -> None:
    """What is too large for a power shows, though NaN stands in the same column."""
    bias = torch.randn(1, 49, 49, dtype=dtype)
    bias[0, 2, 3], bias[0, 5, 3] = 200, math.nan
    qkv = torch.randn(1, 7, 7, 96).to(dtype)
    output = window_attention(qkv, bias, num_heads=1, window_size=7)
    expected = reference.window_attention(qkv.double(), bias.double(), num_heads=1, window_size=7)
    assert torch.equal(output.isnan(), expected.isnan())
    finite = expected.isfinite()
    assert finite.sum() == 48 * 32
    assert_near(output[finite], expected[finite], TOLERANCES[dtype][0] * 10, "finite rows")


def test_rows_that_a_mask_lowers_as_a_whole(isa: str) -> None:
    """By so much that none of their powers would be left."""
    qkv, mask = torch.randn(1, 7, 14, 96), torch.zeros(2, 49, 49)
    mask[0, 3], mask[1, :, 5], mask[1, 48] = -100, -100, -200
    output = window_attention(qkv, num_heads=1, window_size=7, mask=mask)
    expected = reference.window_attention(qkv.double(), num_heads=1, window_size=7, mask=mask.double())
    assert_near(output, expected, 5e-5, "output")


def test_large_values_of_small_logits(isa: str) -> None:
    qkv = torch.randn(1, 7, 7, 96)
    qkv[..., 64:] *= 1e23
    bias = torch.full((1, 49, 49), 27.0)
    output = window_attention(qkv, bias, num_heads=1, window_size=7)
    expected = reference.window_attention(qkv.double(), bias.double(), num_heads=1, window_size=7)
    assert_near(output, expected, 1e-5, "output")


def test_scale(isa: str) -> None:
    qkv = torch.randn(1, 4, 4, 24)
    scaled = qkv.clone()
    scaled[..., :8] *= 8**0.5 * 0.3
    torch.testing.assert_close(
        window_attention(qkv, num_heads=2, window_size=4, scale=0.3 * 2**0.5),
        window_attention(scaled, num_heads=2, window_size=4, scale=None),
        rtol=1e-5,
        atol=1e-6,
    )


def test_numpy_arrays(isa: str) -> None:
    generator = np.random.default_rng(0)
    qkv = generator.standard_normal((2, 8, 8, 48)).astype(np.float32)
    bias = generator.standard_normal((2, 16, 16))
    expected = window_attention(torch.tensor(qkv), torch.tensor(bias), num_heads=2, window_size=4, shift_size=2).numpy()
    read_only = qkv.copy()
    read_only.flags.writeable = False
    swapped = qkv.astype(qkv.dtype.newbyteorder())
    reversed_twice = np.ascontiguousarray(qkv[::-1])[::-1]
    for array in (qkv, read_only, swapped, reversed_twice):
        result = window_attention(array, bias, num_heads=2, window_size=4, shift_size=2)
        assert isinstance(result, np.ndarray)
        np.testing.assert_array_equal(result, expected)
