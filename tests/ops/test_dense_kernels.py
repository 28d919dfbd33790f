"""The native kernels of dense layers in training, on every instruction set, against float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pyemo.ops.native import code_of, native, tensor_view

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in (torch.float32, torch.bfloat16)]
ROUNDING = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}


def call(name: str, *tensors: Tensor | None, threads: int = 2) -> None:
    getattr(native, name)(*(None if each is None else tensor_view(each) for each in tensors), threads)


def poisoned(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def weight_gradient(dy: Tensor, x: Tensor, bias: bool = True, threads: int = 2) -> tuple[Tensor, Tensor | None]:
    weight = poisoned(dy.shape[1], x.shape[1], dtype=x.dtype)
    sums = poisoned(dy.shape[1], dtype=x.dtype) if bias else None
    call("weight_gradient", dy, x, weight, sums, threads=threads)
    return weight, sums


def factors(rows: int, outputs: int, inputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """dy and x, if the instruction set has a kernel for their product."""
    assert native is not None
    if not native.has_weight_gradient(code_of(dtype)):
        assert dtype == torch.bfloat16
        pytest.skip(f"{native.isa()} leaves bfloat16 to PyTorch")
    return torch.randn(rows, outputs).to(dtype), torch.randn(rows, inputs).to(dtype)


# Rows, outputs, inputs: one, fewer than a vector, tails, more than one block of rows, part of outputs or inputs, and slice.
SHAPES = [
    (1, 1, 1),
    (7, 5, 3),
    (130, 20, 16),
    (513, 9, 33),
    (257, 193, 770),
    (40, 600, 400),
    (2600, 12, 20),
    (5000, 97, 48),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_weight_gradient(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    dy, x = factors(*shape, dtype)
    weight, bias = weight_gradient(dy, x)
    assert bias is not None
    for got, exact, magnitude in (
        (weight, dy.double().t() @ x.double(), dy.double().abs().t() @ x.double().abs()),
        (bias, dy.double().sum(0), dy.double().abs().sum(0)),
    ):
        assert ((got.double() - exact).abs() <= 2e-6 * magnitude + ROUNDING[dtype] * exact.abs()).all()
    assert torch.equal(weight_gradient(dy, x, bias=False)[0], weight)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradient_of_strided_rows(dtype: torch.dtype) -> None:
    dy, x = factors(300, 50, 33, dtype)
    dy, x = dy[::2, 3:40], x[:1].expand(150, 33)
    exact = dy.double().t() @ x.double()
    torch.testing.assert_close(weight_gradient(dy, x)[0].double(), exact, rtol=ROUNDING[dtype], atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_number_of_threads_changes_nothing(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    dy, x = factors(*shape, dtype)
    results = [weight_gradient(dy, x, threads=threads) for threads in (1, 2, 5, 40)]
    sums = []
    for threads in (1, 2, 5, 40):
        dx, bias = torch.empty_like(x), torch.empty(shape[2], dtype=dtype)
        call("gelu_backward", x, x, dx, bias, threads=threads)
        sums.append((dx, bias))
    for several in (results, sums):
        for other in several[1:]:
            assert all(torch.equal(a, b) for a, b in zip(several[0], other, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu(dtype: torch.dtype) -> None:
    x = torch.cat([torch.linspace(-16, 16, 100_003), torch.randn(7) * 1e-3, torch.zeros(1), torch.randn(3) * 1e6]).to(
        dtype
    )
    assert x.numel() % 16 != 0
    y = poisoned(*x.shape, dtype=dtype)
    call("gelu", x, y)
    exact = x.double() * torch.special.erfc(-x.double() * math.sqrt(0.5)) / 2
    allowed = (1e-6 if dtype == torch.float32 else 3e-4) * exact.abs() + ROUNDING[dtype] * exact.abs() + 1e-36
    # In float32, the square of x is rounded before it becomes an exponent.
    allowed += exact.abs() * x.double().square().clamp(max=300) * 2.0**-24
    assert ((y.double() - exact).abs() <= allowed).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (500, 64), (4000, 33)])
def test_gradient_of_gelu(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, dy = (torch.randn(shape) * 4).to(dtype), torch.randn(shape).to(dtype)
    dx, bias = poisoned(*shape, dtype=dtype), poisoned(shape[1], dtype=dtype)
    call("gelu_backward", dy, x, dx, bias)
    z = x.double()
    below, bell = torch.special.erfc(-z * math.sqrt(0.5)) / 2, z * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    exact, magnitude = dy.double() * (below + bell), dy.double().abs() * (below + bell.abs())
    # In float32, the square of x is rounded before it becomes an exponent.
    share = (3e-6 if dtype == torch.float32 else 4e-4) + z.square().clamp(max=300) * 2.0**-24
    assert ((dx.double() - exact).abs() <= share * magnitude + ROUNDING[dtype] * exact.abs() + 1e-36).all()
    total = exact.sum(0)
    assert ((bias.double() - total).abs() <= (share * magnitude).sum(0) + ROUNDING[dtype] * total.abs()).all()
    again = poisoned(*shape, dtype=dtype)
    call("gelu_backward", dy, x, again, None)
    assert torch.equal(again, dx)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelu_of_what_is_not_finite(dtype: torch.dtype) -> None:
    """What was no number, or infinite, stays so; PyTorch's own GELU of infinity is infinity or NaN, depending on the place."""
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0, -0.0]]).to(dtype)
    y, dx = torch.empty_like(x), torch.empty_like(x)
    call("gelu", x, y)
    call("gelu_backward", torch.ones_like(x), x, dx, None)
    assert not y[0, :3].isfinite().any()
    assert not dx[0, :3].isfinite().any()
    assert y[0, 3:].tolist() == [x[0, 3].item(), 0, 0, 0]
    assert dx[0, 3:].tolist() == pytest.approx([1, 0, 0.5, 0.5], rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradients_of_what_is_not_finite(dtype: torch.dtype) -> None:
    dy, x = factors(600, 30, 40, dtype)
    dy[3, 4], x[500, 20] = float("nan"), float("inf")
    weight, bias = weight_gradient(dy, x)
    exact = dy.float().t() @ x.float()
    assert torch.equal(weight.isfinite(), exact.isfinite())
    assert torch.equal(weight.isnan(), exact.isnan())
    assert bias is not None
    assert bias.isnan().nonzero().flatten().tolist() == [4]


def test_errors_name_what_is_wrong() -> None:
    def check(match: str, name: str, *tensors: Tensor | None, kind: Any = ValueError) -> None:
        with pytest.raises(kind, match=match):
            call(name, *tensors)

    a, b = torch.ones(4, 3), torch.ones(4, 5)
    check(r"output .*\(4, 3\).* shape of .*\(4, 5\)", "gelu", b, a)
    check("output must be contiguous", "gelu", b, torch.ones(5, 4).t())
    check("no kernel for float64", "gelu", a.double(), a.double(), kind=TypeError)
    check("output must be float32, got bfloat16", "gelu", a, a.bfloat16(), kind=TypeError)
    check(r"bias must be of shape \(3\)", "gelu_backward", a, a, a, torch.ones(4))
    check("not empty", "gelu_backward", a[:0], a[:0], a[:0], None)
    check(r"float32 \(3, 4\) does not fit", "weight_gradient", a, b, torch.ones(3, 4), None)
    check("columns side by side", "weight_gradient", torch.ones(3, 4).t(), b, torch.ones(3, 5), None)
    check(
        "no kernel for float64",
        "weight_gradient",
        a.double(),
        b.double(),
        torch.ones(3, 5).double(),
        None,
        kind=TypeError,
    )
    check("bias must be float32", "weight_gradient", a, b, torch.ones(3, 5), torch.ones(3).double(), kind=TypeError)
