"""The native kernels of layer normalization, on every instruction set, against float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pyemo.ops.native import code_of, native, tensor_view

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in (torch.float32, torch.bfloat16)]
ROUNDING = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}
UNTOUCHED = 7.0
LEAST_LANES = 4
"""That the sums of a row are made in."""


def lost(terms: int) -> float:
    """How large the error of a sum of so many floats may be, as a share of the sum of their magnitudes.

    Terms that are all alike, as they may be in bfloat16, may be rounded the same way each time.
    """
    return 2.0**-24 * (8 + terms)


def call(name: str, *arguments: Any, threads: int = 2) -> None:
    getattr(native, name)(*(tensor_view(each) if isinstance(each, Tensor) else each for each in arguments), threads)


def poisoned(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


class Forward(NamedTuple):
    y: Tensor
    mean: Tensor
    scale: Tensor


def forward(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, **options: Any) -> Forward:
    y = poisoned(*x.shape, dtype=x.dtype)
    mean, scale = poisoned(len(x)), poisoned(len(x))
    call("layer_norm", x, weight, bias, options.pop("eps", 1e-5), y, mean, scale, **options)
    return Forward(y, mean, scale)


class Backward(NamedTuple):
    x: Tensor
    weight: Tensor
    bias: Tensor


def backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor, threads: int = 2, **options: Any
) -> Backward:
    dtype = x.dtype if weight is None else weight.dtype
    grads = Backward(
        poisoned(*x.shape, dtype=x.dtype), poisoned(x.shape[1], dtype=dtype), poisoned(x.shape[1], dtype=dtype)
    )
    call("layer_norm_backward", dy, x, weight, mean, scale, *grads, threads=threads)
    return grads


def check_forward(got: Forward, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float = 1e-5) -> None:
    z = x.double()
    w, b = (torch.full_like(z[0], other) if v is None else v.double() for v, other in ((weight, 1), (bias, 0)))
    mean, magnitude = z.mean(1), z.abs().mean(1)
    variance = (z - mean[:, None]).square().mean(1) + eps
    scale, normal = variance.rsqrt(), (z - mean[:, None]) * variance.rsqrt()[:, None]
    exact = normal * w + b

    share = lost(x.shape[1] // LEAST_LANES)
    mean_error = share * magnitude
    # Around another mean, the variance is larger by the square of the difference.
    scale_share = share + mean_error.square() / (2 * variance)
    assert ((got.mean.double() - mean).abs() <= mean_error).all()
    assert ((got.scale.double() - scale).abs() <= scale * scale_share).all()
    allowed = w.abs() * ((scale * mean_error)[:, None] + normal.abs() * scale_share[:, None]) + share * b.abs()
    assert got.y.dtype == x.dtype
    assert ((got.y.double() - exact).abs() <= allowed + ROUNDING[x.dtype] * exact.abs()).all()


def check_backward(got: Backward, dy: Tensor, x: Tensor, weight: Tensor | None, mean: Tensor, scale: Tensor) -> None:
    """Of the mean and scale that were given, whatever they are of."""
    d, s = dy.double(), scale.double()[:, None]
    g = d if weight is None else d * weight.double()
    normal = (x.double() - mean.double()[:, None]) * s

    def off(value: Tensor, exact: Tensor, allowed: Tensor) -> Tensor:
        return (value.double() - exact).abs() > allowed + ROUNDING[value.dtype] * exact.abs()

    exact = s * (g - g.mean(1, keepdim=True) - normal * (g * normal).mean(1, keepdim=True))
    magnitude = g.abs() + g.abs().mean(1, keepdim=True) + normal.abs() * (g * normal).abs().mean(1, keepdim=True)
    assert not off(got.x, exact, lost(x.shape[1] // LEAST_LANES) * s * magnitude).any()
    for sums, terms in ((got.weight, d * normal), (got.bias, d)):
        assert not off(sums, terms.sum(0), lost(len(x)) * terms.abs().sum(0)).any()


# Rows, channels: one, fewer than a vector, whole vectors, tails, several tasks, and tasks of one row each.
SHAPES = [(1, 1), (7, 3), (9, 16), (5, 17), (40, 96), (300, 130), (1500, 97), (3, 40_000)]


def arguments(
    shape: tuple[int, int], dtype: torch.dtype, of_parameters: torch.dtype | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """x, whose rows have means and deviations of their own, weight and bias."""
    x = torch.randn(shape[0], 1) + torch.randn(shape[0], 1).exp() * torch.randn(shape)
    weight, bias = torch.randn(2, shape[1]).to(of_parameters or dtype)
    return x.to(dtype), weight, bias


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, weight, bias = arguments(shape, dtype)
    for w, b in ((weight, bias), (weight, None), (None, bias), (None, None)):
        got = forward(x, w, b)
        check_forward(got, x, w, b)
    y = poisoned(*shape, dtype=dtype)
    call("layer_norm", x, None, None, 1e-5, y, None, None)
    assert torch.equal(y, got.y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_backward(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, weight, _ = arguments(shape, dtype)
    dy, mean, scale = torch.randn(shape).to(dtype), torch.randn(shape[0]), torch.rand(shape[0]) + 0.5
    for w in (weight, None):
        check_backward(backward(dy, x, w, mean, scale), dy, x, w, mean, scale)


@pytest.mark.parametrize("eps", [1e-3, 0.5])
def test_eps_is_added_to_the_variance(eps: float) -> None:
    x = torch.randn(5, 20) * 0.1
    check_forward(forward(x, eps=eps), x, None, None, eps)


def test_parameters_in_float32_beside_rows_in_bfloat16() -> None:
    """Their gradients are float32 too, and not rounded to bfloat16 on the way."""
    for shape in ((9, 33), (700, 100)):
        x, weight, bias = arguments(shape, torch.bfloat16, torch.float32)
        got = forward(x, weight, bias)
        check_forward(got, x, weight, bias)
        dy = torch.randn(shape).bfloat16()
        grads = backward(dy, x, weight, got.mean, got.scale)
        assert grads.weight.dtype == torch.float32
        check_backward(grads, dy, x, weight, got.mean, got.scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_that_are_not_wanted(dtype: torch.dtype) -> None:
    """Without sums, rows are divided into other tasks."""
    x, weight, bias = arguments((2000, 50), dtype)
    dy, (_, mean, scale) = torch.randn(x.shape).to(dtype), forward(x, weight, bias)
    given = dy, x, weight, mean, scale
    all_of_them = backward(*given)
    for wanted in range(8):
        some = [torch.full_like(each, float("nan")) if wanted >> i & 1 else None for i, each in enumerate(all_of_them)]
        call("layer_norm_backward", *given, *some)
        for got, expected in zip(some, all_of_them, strict=True):
            assert got is None or torch.equal(got, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [16, 37])
def test_what_lies_between_strided_rows_is_neither_read_nor_written(channels: int, dtype: torch.dtype) -> None:
    def within(value: float, gap: int) -> tuple[Tensor, Tensor]:
        whole = torch.full((3 * 150, channels + gap), value, dtype=dtype)
        return whole, whole[::3, 2 : 2 + channels]

    x, weight, bias = arguments((150, channels), dtype)
    dy = torch.randn(x.shape).to(dtype)
    given_x, given_dy, y, dx = within(float("nan"), 5)[1], within(float("nan"), 3)[1], within(7, 4), within(7, 9)
    given_x.copy_(x)
    given_dy.copy_(dy)
    expected = forward(x, weight, bias)
    call("layer_norm", given_x, weight, bias, 1e-5, y[1], None, None)
    expected_grads = backward(dy, x, weight, expected.mean, expected.scale)
    sums = torch.empty(channels, dtype=dtype), torch.empty(channels, dtype=dtype)
    call("layer_norm_backward", given_dy, given_x, weight, expected.mean, expected.scale, dx[1], *sums)
    assert all(torch.equal(a, b) for a, b in zip(sums, expected_grads[1:], strict=True))
    for (whole, rows), values in ((y, expected.y), (dx, expected_grads.x)):
        assert torch.equal(rows, values)
        rows.fill_(UNTOUCHED)
        assert (whole == UNTOUCHED).all()


def test_a_row_for_all_and_a_column_with_gaps() -> None:
    x, weight, _ = arguments((1, 30), torch.float32)
    dy, mean, scale = torch.randn(1, 30), torch.randn(70), torch.rand(70)
    check_forward(forward(x.expand(70, 30), weight), x.expand(70, 30), weight, None)
    given = dy.expand(70, 30), x.expand(70, 30), weight, mean, scale
    check_backward(backward(*given), *given)
    column = torch.randn(70, 4)[:, 2:3]
    assert column.stride() == (4, 1)
    odd = column.as_strided((70, 1), (4, 3), column.storage_offset())  # of one channel, no stride matters
    assert (forward(odd).y == 0).all()
    torch.testing.assert_close(forward(odd).mean, column.flatten(), rtol=0, atol=0)


def test_more_parts_than_sums_are_made_of() -> None:
    """The rows are one and the same in memory; the mean and scale of each tell them apart."""
    rows, channels = 270_000, 33
    parts = 256
    assert rows * channels > (parts + 1) * 2**15
    x, dy = (torch.randn(1, channels).expand(rows, channels) for _ in range(2))
    mean, scale = torch.randn(rows), torch.rand(rows)
    sums = poisoned(2, channels)
    call("layer_norm_backward", dy, x, None, mean, scale, None, *sums)
    of_weight = x[0].double() * scale.double().sum() - (mean.double() * scale.double()).sum()
    for got, factor in zip(sums, (of_weight, torch.tensor(rows)), strict=True):
        magnitude = dy[0].double().abs() * rows * (1 + x[0].abs())
        assert ((got.double() - dy[0].double() * factor).abs() <= lost(parts + rows // parts) * magnitude).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_number_of_threads_changes_nothing(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, weight, bias = arguments(shape, dtype)
    dy = torch.randn(shape).to(dtype)
    results = []
    for threads in (1, 2, 5, 40):
        got = forward(x, weight, bias, threads=threads)
        results.append((*got, *backward(dy, x, weight, got.mean, got.scale, threads=threads)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("channels", [24, 768, 771])
def test_a_large_mean_beside_a_small_deviation(channels: int) -> None:
    """The mean of the squares, less the square of the mean, would be of no use; a sum of the values as they are, of little."""
    x = 1e4 + torch.randn(20, channels)
    got = forward(x)
    check_forward(got, x, None, None)
    mean, scale = x.double().mean(1), (x.double().var(1, correction=0) + 1e-5).rsqrt()
    in_one_pass = (x.square().mean(1) - x.mean(1).square()).clamp(min=0).add(1e-5).rsqrt()
    error, usual = ((each.double() / scale - 1).abs().max() for each in (got.scale, in_one_pass))
    assert error < 1e-5 < 1e-2 < usual
    assert (got.y.double() - (x - mean[:, None]) * scale[:, None]).abs().max() < 2e-5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 5, 64, 100, 3000])
def test_constant_rows(channels: int, dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, 1.0, -3.0, 0.1, 1000.3, 1e37])[:, None].expand(-1, channels).to(dtype).contiguous()
    weight, bias = torch.randn(2, channels).to(dtype)
    got = forward(x, weight, bias)
    assert torch.equal(got.y, bias.expand(6, channels))
    assert torch.equal(got.mean, x[:, 0].float())
    torch.testing.assert_close(got.scale, torch.full((6,), 1e-5**-0.5))
    dy = torch.randn(x.shape).to(dtype)
    check_backward(backward(dy, x, weight, got.mean, got.scale), dy, x, weight, got.mean, got.scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [33, 48])
def test_not_a_number_and_infinity_stay_in_their_rows(channels: int, dtype: torch.dtype) -> None:
    x, weight, bias = arguments((60, channels), dtype)
    dy = torch.randn(x.shape).to(dtype)
    finite = forward(x, weight, bias)
    expected = backward(dy, x, weight, finite.mean, finite.scale)
    spoilt = [4, 20, 21, 41]
    x[4, 1], x[20, 0], x[21, -1] = float("nan"), float("inf"), -float("inf")
    got = forward(x, weight, bias)
    dy[41, -1] = float("nan")
    grads = backward(dy, x, weight, got.mean, got.scale)
    fine = torch.tensor([row not in spoilt for row in range(60)])
    for before, after in ((finite.y, got.y), (expected.x, grads.x)):
        assert torch.equal(before[fine], after[fine])
    assert not got.y[spoilt[:3]].isfinite().any()
    assert not grads.x[spoilt].isfinite().any()
    assert grads.weight.isnan().all()
    assert grads.bias.isnan().nonzero().flatten().tolist() == [channels - 1]


def test_dtypes() -> None:
    assert native is not None
    for dtype in (torch.float32, torch.bfloat16):
        assert native.has_layer_norm(code_of(dtype))
    for dtype in (torch.float64, torch.float16, torch.uint8, torch.int16):
        assert not native.has_layer_norm(code_of(dtype))


def test_errors_name_what_is_wrong() -> None:
    x, vector, rows = torch.ones(4, 3), torch.ones(3), torch.ones(4)

    def check(match: str, kind: Any = ValueError, **changed: Tensor | None) -> None:
        given = {"x": x, "weight": vector, "bias": vector, "y": x.clone(), "mean": rows, "scale": rows, **changed}
        with pytest.raises(kind, match=f"^layer norm: {match}"):
            call("layer_norm", *list(given.values())[:3], 1e-5, *list(given.values())[3:])

    def check_backward(match: str, kind: Any = ValueError, **changed: Tensor | None) -> None:
        given = {"dy": x, "x": x, "weight": vector, "mean": rows, "scale": rows, "dx": x.clone()}
        given |= {"dweight": vector.clone(), "dbias": vector.clone(), **changed}  # type: ignore[dict-item]
        with pytest.raises(kind, match=f"^layer norm: {match}"):
            call("layer_norm_backward", *given.values())

    wide, across = torch.ones(4, 5), torch.ones(3, 4).t()
    for each in (check, check_backward):
        each("no kernel for float64 on ", TypeError, x=x.double())
        for wrong in (torch.ones(4), torch.ones(2, 4, 3), x[:0], x[:, :0]):
            each(r"the input must be of shape \(rows, channels\), not empty, got float32 \(", x=wrong)
        each("the input must have its channels side by side", x=across)
        of_vector, of_rows = r"must be of shape \(3\), contiguous, got ", r"must be of shape \(4\), contiguous, got "
        for wrong in (torch.ones(4), torch.ones(3, 1), torch.ones(6)[::2]):
            each(f"the weight {of_vector}", weight=wrong)
        each("the weight must be float32, got float64", TypeError, weight=vector.double())
        each("the weight must be float32, got bfloat16", TypeError, weight=vector.bfloat16())
        for name in ("mean", "scale"):
            for wrong in (torch.ones(3), torch.ones(4, 1), torch.ones(8)[::2]):
                each(f"the {name} {of_rows}", **{name: wrong})
            each(f"the {name} must be float32, got float64", TypeError, **{name: rows.double()})
    half = {"x": x.bfloat16(), "y": x.bfloat16()}
    check("the weight must be bfloat16, got float64", TypeError, **half, weight=vector.double())
    check("the mean must be float32, got bfloat16", TypeError, **half, mean=rows.bfloat16())
    check("the bias must be float32, got bfloat16", TypeError, bias=vector.bfloat16())
    check(rf"the bias {of_vector}float32 \(4,\)", bias=rows)
    check("mean and scale are wanted together", mean=None)
    check("mean and scale are wanted together", scale=None)

    def of_x(check: Any, what: str, name: str) -> None:
        check(rf"{what} must be of the shape of float32 \(4, 3\), got float32 \(4, 5\)", **{name: wide})
        check(rf"{what} must be of the shape of float32 \(4, 3\), got float32 \(3,\)", **{name: vector})
        check(rf"{what} must be of the shape of float32 \(4, 3\), got float32 \(3, 3\)", **{name: x[:3]})
        check(f"{what} must have its channels side by side", **{name: across})
        check(f"{what} must be float32, got bfloat16", TypeError, **{name: x.bfloat16()})

    of_x(check, "the output", "y")
    of_x(check_backward, "the gradient of the output", "dy")
    of_x(check_backward, "the gradient", "dx")
    for what, name in (("weight", "dweight"), ("bias", "dbias")):
        check_backward(rf"the gradient of the {what} {of_vector}float32 \(4,\)", **{name: rows})
        check_backward(f"the gradient of the {what} must be float32, got float64", TypeError, **{name: vector.double()})
