"""The native kernels of dense layers, on every instruction set, against float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.ops.native import code_of, native, tensor_view

pytestmark = pytest.mark.usefixtures("isa")

DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in (torch.float32, torch.bfloat16)]
ROUNDING = {torch.float32: 2.0**-23, torch.bfloat16: 2.0**-8}

# Of the GELU in bfloat16: on AVX-512 it is 0 beyond a distance where only so much is left of it, or of its gradient.
LEFT_OF_GELU = {torch.float32: 1e-36, torch.bfloat16: 4e-8}
LEFT_OF_SLOPE = {torch.float32: 0, torch.bfloat16: 4e-8}


def call(name: str, *tensors: Tensor | None, threads: int = 2) -> None:
    getattr(native, name)(*(None if each is None else tensor_view(each) for each in tensors), threads)


def poisoned(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype)


def check(got: Tensor, exact: Tensor, allowed: Tensor) -> None:
    """That errors are no larger than allowed, and than what is rounded off in the end."""
    assert got.shape == exact.shape
    assert ((got.double() - exact).abs() <= allowed + ROUNDING[got.dtype] * exact.abs()).all()


# The GELU, its derivative and its approximation in float64, each with the error that is allowed. In float32, the square of x is rounded
# before it becomes an exponent.


def gelu(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    exact = x * torch.special.erfc(-x * math.sqrt(0.5)) / 2
    share = (1e-6 if dtype == torch.float32 else 3e-4) + x.square().clamp(max=300) * 2.0**-24
    return exact, share * exact.abs() + LEFT_OF_GELU[dtype]


def slope(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    below, bell = torch.special.erfc(-x * math.sqrt(0.5)) / 2, x * torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi)
    share = (3e-6 if dtype == torch.float32 else 4e-4) + x.square().clamp(max=300) * 2.0**-24
    return below + bell, share * (below + bell.abs()) + LEFT_OF_SLOPE[dtype]


def gelu_by_tanh(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    power = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    exact = x * torch.sigmoid(power)
    share = (1e-6 if dtype == torch.float32 else 3e-4) + power.abs().clamp(max=90) * 2.0**-22
    return exact, share * exact.abs() + 1e-36


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
    check(weight, dy.double().t() @ x.double(), 2e-6 * dy.double().abs().t() @ x.double().abs())
    check(bias, dy.double().sum(0), 2e-6 * dy.double().abs().sum(0))
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
    check(y, *gelu(x.double(), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (500, 64), (4000, 33)])
def test_gradient_of_gelu(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x, dy = (torch.randn(shape) * 4).to(dtype), torch.randn(shape).to(dtype)
    dx, bias = poisoned(*shape, dtype=dtype), poisoned(shape[1], dtype=dtype)
    call("gelu_backward", dy, x, dx, bias)
    slopes, error = slope(x.double(), dtype)
    exact, allowed = dy.double() * slopes, dy.double().abs() * error
    check(dx, exact, allowed + 1e-36)
    check(bias, exact.sum(0), allowed.sum(0))
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


THEN = ["", "gelu", "gelu-tanh", "gelu-backward"]
THREADS = [1, 2, 5, 40]

# Rows, inputs, outputs: one, fewer than a vector, tails of each, inputs that are no pairs, outputs about one, two and three vectors, sums
# that are made in parts, more panels than one task's, more rows than that, and so many that their outputs get large pages.
LAYERS = [
    (1, 1, 1),
    (3, 5, 7),
    (15, 32, 15),
    (9, 33, 16),
    (10, 48, 17),
    (14, 7, 31),
    (28, 9, 32),
    (29, 10, 33),
    (6, 11, 47),
    (7, 64, 48),
    (13, 192, 49),
    (20, 193, 97),
    (5, 385, 64),
    (11, 3101, 40),
    (20, 700, 801),
    (97, 64, 49),
    (145, 386, 17),
    (230, 33, 70),
    (301, 195, 130),
    (12001, 8, 97),
]


def operands(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """x, weight and bias, if the instruction set has a kernel for their layer."""
    assert native is not None
    if not native.has_layer(code_of(dtype)):
        assert dtype == torch.bfloat16 or native.isa() in ("baseline", "neon")
        pytest.skip(f"{native.isa()} leaves {dtype} to oneDNN")
    return torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)


def framed(values: Tensor, before: int = 1, behind: int = 2, frame: float = float("nan")) -> Tensor:
    """The same, within rows that have more columns in front and behind."""
    return F.pad(values, (before, behind), value=frame)[:, before : before + values.shape[1]]


def frame_is_untouched(values: Tensor, before: int = 1, behind: int = 2, frame: float = -9) -> bool:
    rows, columns = values.shape
    whole = values.as_strided((rows, before + columns + behind), values.stride(), values.storage_offset() - before)
    return bool((whole[:, :before] == frame).all() and (whole[:, before + columns :] == frame).all())


def layer(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    then: str = "",
    y: Tensor | None = None,
    hidden: Tensor | None = None,
    threads: int = 2,
) -> Tensor:
    assert native is not None
    y = poisoned(len(x), len(weight), dtype=x.dtype) if y is None else y
    first, last = (None if each is None else tensor_view(each) for each in (bias, hidden))
    native.layer(tensor_view(x), tensor_view(weight), first, then, tensor_view(y), last, threads)
    return y


def hidden_for(then: str, rows: int, outputs: int, dtype: torch.dtype) -> Tensor | None:
    """What a layer needs to be given."""
    return (torch.randn(rows, outputs) * 3).to(dtype) if then == "gelu-backward" else None


def exact_layer(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """In float64, with the error that is allowed."""
    exact, magnitude = x.double() @ weight.double().t(), x.double().abs() @ weight.double().abs().t()
    if bias is not None:
        exact, magnitude = exact + bias.double(), magnitude + bias.double().abs()
    return exact, 2e-6 * magnitude


def followed_by(
    then: str, exact: Tensor, allowed: Tensor, dtype: torch.dtype, hidden: Tensor | None
) -> tuple[Tensor, Tensor]:
    if then == "gelu-backward":
        assert hidden is not None
        slopes, error = slope(hidden.double(), dtype)
        return exact * slopes, allowed * (slopes.abs() + error) + exact.abs() * (error + 1e-36)
    if not then:
        return exact, allowed
    exact, error = (gelu if then == "gelu" else gelu_by_tanh)(exact, dtype)
    return exact, 1.2 * allowed + error  # no slope is steeper


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("shape", LAYERS)
def test_layer(shape: tuple[int, int, int], then: str, dtype: torch.dtype) -> None:
    x, weight, bias = operands(*shape, dtype)
    hidden = hidden_for(then, shape[0], shape[2], dtype)
    for each in (bias, None):
        y = layer(x, weight, each, then, hidden=hidden)
        check(y, *followed_by(then, *exact_layer(x, weight, each), dtype, hidden))
    assert torch.equal(layer(x, weight, torch.zeros_like(bias), then, hidden=hidden), y)


def check_what_a_gelu_is_given(shape: tuple[int, int, int], then: str, dtype: torch.dtype) -> None:
    x, weight, bias = operands(*shape, dtype)
    hidden = poisoned(shape[0], shape[2], dtype=dtype)
    y = layer(x, weight, bias, then, hidden=hidden)
    assert torch.equal(hidden, layer(x, weight, bias))
    assert torch.equal(y, layer(x, weight, bias, then))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LAYERS)
def test_what_the_gelu_is_given(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    for then in ("gelu", "gelu-tanh"):
        check_what_a_gelu_is_given(shape, then, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LAYERS)
def test_the_layout_of_weights_changes_nothing(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, weight, bias = operands(*shape, dtype)
    expected = layer(x, weight, bias)
    for other in (weight.t().contiguous().t(), framed(weight), framed(weight.t()).t(), framed(weight, 0, 4)):
        assert torch.equal(layer(x, other, bias), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("columns", "first", "inputs"),
    [(44, 4, 34), (43, 4, 34), (44, 5, 34), (44, 4, 33), (34, 0, 34), (2048, 2, 34), (6144, 0, 770)],
    ids=["even", "odd rows", "odd begin", "odd inputs", "dense", "4096 bytes", "4096 bytes, parts"],
)
@pytest.mark.parametrize("rows", ["all", "every other", "one, repeated"])
def test_strided_rows(rows: str, columns: int, first: int, inputs: int, dtype: torch.dtype) -> None:
    """What is not to be read is no number, and what is not to be written stays as it is."""
    _, weight, bias = operands(1, inputs, 50, dtype)
    x = poisoned(62, columns, dtype=dtype)
    x = {"all": x[:31], "every other": x[::2], "one, repeated": x[:1]}[rows][:, first : first + inputs]
    x.normal_()
    x = x.expand(31, inputs)
    for then in THEN:
        hidden = hidden_for(then, 31, 50, dtype)
        y, given = (framed(poisoned(31, 50, dtype=dtype), frame=-9) for _ in range(2))
        if hidden is not None:
            given.copy_(hidden)
        layer(x, weight, bias, then, y, given if then else None)
        check(y, *followed_by(then, *exact_layer(x, weight, bias), dtype, hidden))
        if then:
            assert torch.equal(given, layer(x, weight, bias) if hidden is None else hidden)
        assert frame_is_untouched(y)
        assert frame_is_untouched(given)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_one_column(dtype: torch.dtype) -> None:
    """Their stride is any number."""
    x, weight, bias = operands(20, 1, 1, dtype)
    expected = layer(x, weight, bias, "gelu")
    y, hidden = poisoned(20, 3, dtype=dtype)[:, 1:2], poisoned(20, 2, dtype=dtype)[:, 1:2]
    assert torch.equal(layer(framed(x, 0, 2), weight.as_strided((1, 1), (3, 5)), bias, "gelu", y, hidden), expected)
    assert torch.equal(hidden, layer(x, weight, bias))


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_an_earlier_call_left_in_memory(dtype: torch.dtype) -> None:
    """An odd number of inputs is one more where pairs are multiplied."""
    x, weight, bias = operands(31, 33, 50, dtype)
    expected = layer(x, weight, bias, threads=1)
    nothing = poisoned(50, 2048, dtype=dtype)[:, :34]
    assert layer(nothing[:31], nothing, nothing[:, 0].contiguous(), threads=1).isnan().all()
    assert torch.equal(layer(x, weight, bias, threads=1), expected)
    check(expected, *exact_layer(x, weight, bias))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("inputs", [40, 301])
def test_what_is_not_finite_stays_in_its_row_or_output(inputs: int, then: str, dtype: torch.dtype) -> None:
    x, weight, bias = operands(31, inputs, 70, dtype)
    hidden = hidden_for(then, 31, 70, dtype)
    expected = layer(x, weight, bias, then, hidden=hidden)
    x[4, -1], x[20, 0], weight[69, inputs // 2], bias[33] = float("nan"), float("inf"), float("nan"), float("nan")
    y = layer(x, weight, bias, then, hidden=hidden)
    other_rows, others = [i for i in range(31) if i not in (4, 20)], [i for i in range(70) if i not in (33, 69)]
    assert not y[[4, 20]].isfinite().any()
    assert y[:, [33, 69]].isnan().all()
    assert torch.equal(y[other_rows][:, others], expected[other_rows][:, others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", THEN[1:])
def test_gelus_after_a_layer(then: str, dtype: torch.dtype) -> None:
    x, one, _ = operands(50_000, 1, 1, dtype)
    x, one = torch.linspace(-16, 16, len(x)).to(dtype)[:, None], torch.ones_like(one)
    hidden = x if then == "gelu-backward" else None
    y = layer(x, one, None, then, hidden=hidden)
    check(y, *followed_by(then, x.double(), torch.zeros(()), dtype, hidden))


@pytest.mark.parametrize("dtype", DTYPES)
def test_gelus_of_what_is_not_finite_after_a_layer(dtype: torch.dtype) -> None:
    given = [float("nan"), float("inf"), -float("inf"), 1e6, -1e6, 0.0]
    _, weight, _ = operands(1, 1, 1, dtype)
    x = torch.tensor(given).to(dtype)[:, None]
    for then in ("gelu", "gelu-tanh"):
        y = layer(x, torch.ones_like(weight), None, then)[:, 0]
        assert not y[:3].isfinite().any()
        assert y[3:].tolist() == pytest.approx([x[3].item(), 0, 0], abs=1e-30)
    dy = layer(torch.ones_like(x), torch.ones_like(weight), None, "gelu-backward", hidden=x)[:, 0]
    assert not dy[:3].isfinite().any()
    assert dy[3:].tolist() == pytest.approx([1, 0, 0.5], rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gelu_by_tanh_of_large_numbers(dtype: torch.dtype) -> None:
    x, one, _ = operands(1, 1, 1, dtype)
    assert layer(x.fill_(-1e38), one.fill_(1), None, "gelu-tanh").item() == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", ["gelu", "gelu-backward"])
def test_weights_larger_than_caches(then: str, dtype: torch.dtype) -> None:
    """Of 17 MiB and more; some of the outputs are compared with float64."""
    x, weight, bias = operands(230, 1500, 6007, dtype)
    hidden = hidden_for(then, 230, 6007, dtype)
    given = poisoned(230, 6007, dtype=dtype) if hidden is None else hidden
    y = layer(x, weight, bias, then, hidden=given)
    some = torch.cat([torch.arange(0, 6007, 13), torch.arange(5990, 6007)])
    exact, allowed = exact_layer(x, weight[some], bias[some])
    check(y[:, some], *followed_by(then, exact, allowed, dtype, None if hidden is None else hidden[:, some]))
    if hidden is None:
        check(given[:, some], exact, allowed)
        assert given.isfinite().all()
    assert torch.equal(layer(x, weight.t().contiguous().t(), bias, then, hidden=given, threads=3), y)


def test_long_sums_are_made_in_parts() -> None:
    """As one sum in float32, that of three thousand times 0.1 would be off by 3e-5 of it."""
    _, weight, _ = operands(1, 3000, 40, torch.float32)
    weight.fill_(0.1)
    y = layer(torch.ones(11, 3000), weight, None)
    torch.testing.assert_close(y, torch.full_like(y, 300), rtol=3e-6, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LAYERS)
def test_the_number_of_threads_changes_no_layer(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    x, weight, bias = operands(*shape, dtype)
    results = []
    for threads in THREADS:
        hidden = poisoned(shape[0], shape[2], dtype=dtype)
        results.append((layer(x, weight, bias, "gelu", hidden=hidden, threads=threads), hidden))
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


# Rows, inputs, hidden, outputs: each thread takes its rows through both layers, in one part or more, or all threads the same rows, because
# the weights are large, again in one part or more.
FEED_FORWARDS = [
    (1, 1, 1, 1),
    (5, 3, 7, 2),
    (33, 16, 48, 17),
    (300, 31, 129, 65),
    (1500, 20, 130, 24),
    (90, 300, 701, 299),
    (3000, 240, 1100, 70),
]


def network(
    rows: int, inputs: int, hidden: int, outputs: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    x, weight1, bias1 = operands(rows, inputs, hidden, dtype)
    return x, weight1, bias1, *operands(1, hidden, outputs, dtype)[1:]


def feed_forward(
    x: Tensor,
    weight1: Tensor,
    bias1: Tensor | None,
    weight2: Tensor,
    bias2: Tensor | None,
    then: str = "gelu",
    y: Tensor | None = None,
    threads: int = 2,
) -> Tensor:
    assert native is not None
    y = poisoned(len(x), len(weight2), dtype=x.dtype) if y is None else y
    first, second = (None if each is None else tensor_view(each) for each in (bias1, bias2))
    native.feed_forward(
        tensor_view(x), tensor_view(weight1), first, then, tensor_view(weight2), second, tensor_view(y), threads
    )
    return y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", FEED_FORWARDS)
def test_feed_forward(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    x, weight1, bias1, weight2, bias2 = network(*shape, dtype)
    hidden, error = followed_by("gelu", *exact_layer(x, weight1, bias1), dtype, None)
    error += ROUNDING[dtype] * hidden.abs()
    exact, allowed = exact_layer(hidden, weight2, bias2)
    check(feed_forward(x, weight1, bias1, weight2, bias2), exact, allowed + error @ weight2.double().abs().t())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("then", ["", "gelu", "gelu-tanh"])
@pytest.mark.parametrize("shape", FEED_FORWARDS)
def test_feed_forward_is_two_layers(shape: tuple[int, int, int, int], then: str, dtype: torch.dtype) -> None:
    x, weight1, bias1, weight2, bias2 = network(*shape, dtype)
    for biases in ((bias1, bias2), (bias1, None), (None, bias2)):
        expected = layer(layer(x, weight1, biases[0], then), weight2, biases[1])
        assert torch.equal(feed_forward(x, weight1, biases[0], weight2, biases[1], then), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", FEED_FORWARDS)
def test_the_number_of_threads_changes_no_network(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    given = network(*shape, dtype)
    results = [feed_forward(*given, threads=threads) for threads in THREADS]
    assert all(torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(300, 31, 129, 65), (90, 300, 701, 299)], ids=["small", "large"])
def test_feed_forward_of_strided_tensors(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    x, weight1, bias1, weight2, bias2 = network(*shape, dtype)
    expected = feed_forward(x, weight1, bias1, weight2, bias2)
    y = framed(poisoned(*expected.shape, dtype=dtype), frame=-9)
    feed_forward(framed(x), framed(weight1.t()).t(), bias1, framed(weight2), bias2, y=y)
    assert torch.equal(y, expected)
    assert frame_is_untouched(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(300, 31, 129, 65), (90, 300, 701, 299)], ids=["small", "large"])
def test_what_is_not_finite_stays_in_its_row_of_a_network(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    given = network(*shape, dtype)
    expected = feed_forward(*given)
    given[0][4, -1], given[0][70, 0] = float("nan"), float("inf")
    y = feed_forward(*given)
    others = [i for i in range(len(y)) if i not in (4, 70)]
    assert not y[[4, 70]].isfinite().any()
    assert torch.equal(y[others], expected[others])


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


def test_errors_of_layers() -> None:
    operands(1, 1, 1, torch.float32)

    def check(match: str, *, kind: Any = ValueError, then: str = "gelu", **changed: Tensor | None) -> None:
        given: Any = {"x": torch.ones(4, 3), "weight": torch.ones(5, 3), "bias": torch.ones(5)} | changed
        given["y"] = changed.get("y", torch.ones(4, 5))
        with pytest.raises(kind, match=match):
            layer(**given, then=then)

    long = torch.ones(5, dtype=torch.float64)
    check("no kernel for float64", x=torch.ones(4, 3).double(), kind=TypeError)
    check(r"input must be a matrix, not empty, got float32 \(0, 3\)", x=torch.ones(0, 3))
    check("input must be a matrix", x=torch.ones(4, 3, 1))
    check("input must have its columns side by side", x=torch.ones(3, 4).t())
    check(r"weight must be of shape \(outputs, 3\), got float32 \(5, 4\)", weight=torch.ones(5, 4))
    check(r"weight must be of shape \(outputs, 3\)", weight=torch.ones(0, 3))
    check(r"weight must be of shape \(outputs, 3\)", weight=torch.ones(5, 3, 1))
    check("weight must have its rows or its columns side by side", weight=torch.ones(10, 6)[::2, ::2])
    check("weight must be float32, got bfloat16", weight=torch.ones(5, 3).bfloat16(), kind=TypeError)
    check(r"bias must be of shape \(5\), got float32 \(4,\)", bias=torch.ones(4))
    check("bias must be contiguous", bias=torch.ones(10)[::2])
    check("bias must be float32", bias=long, kind=TypeError)
    check(r"output must be of shape \(4, 5\), got float32 \(5, 4\)", y=torch.ones(5, 4))
    check(r"output must be of shape \(4, 5\)", y=torch.ones(4, 6))
    check("output must be a matrix", y=torch.ones(4, 5, 1))
    check("output must have its columns side by side", y=torch.ones(5, 4).t())
    check("output must be float32", y=torch.ones(4, 5).double(), kind=TypeError)
    check(r"what the GELU is given must be of shape \(4, 5\)", hidden=torch.ones(4, 4))
    check("what the GELU is given must have its columns side by side", hidden=torch.ones(5, 4).t())
    check("no GELU that would be given something", then="", hidden=torch.ones(4, 5))
    check("what the GELU is given must be float32", hidden=torch.ones(4, 5).bfloat16(), kind=TypeError)
    check("gradient of a GELU needs what the GELU was given", then="gelu-backward")
    check("nothing called 'relu' comes after a layer", then="relu")
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        layer(torch.ones(4, 3), torch.ones(5, 3), None, threads=0)


def test_errors_of_feed_forward() -> None:
    operands(1, 1, 1, torch.float32)

    def check(match: str, *, kind: Any = ValueError, then: str = "gelu", **changed: Tensor | None) -> None:
        given: Any = {"x": torch.ones(4, 3), "weight1": torch.ones(5, 3), "bias1": torch.ones(5)} | changed
        given = {"weight2": torch.ones(2, 5), "bias2": None, "y": torch.ones(4, 2)} | given
        with pytest.raises(kind, match=match):
            feed_forward(**given, then=then)

    check("no kernel for float64", x=torch.ones(4, 3).double(), kind=TypeError)
    check("input must be a matrix, not empty", x=torch.ones(4, 0))
    check(r"first weight must be of shape \(outputs, 3\)", weight1=torch.ones(5, 4))
    check("first weight must have its rows or its columns side by side", weight1=torch.ones(10, 6)[::2, ::2])
    check("first weight must be float32", weight1=torch.ones(5, 3).double(), kind=TypeError)
    check(r"first bias must be of shape \(5\)", bias1=torch.ones(4))
    check(r"second weight must be of shape \(outputs, 5\), got float32 \(2, 4\)", weight2=torch.ones(2, 4))
    check("second weight must have its rows or its columns side by side", weight2=torch.ones(4, 10)[::2, ::2])
    check("second weight must be float32", weight2=torch.ones(2, 5).double(), kind=TypeError)
    check(r"second bias must be of shape \(2\)", bias2=torch.ones(4))
    check("second bias must be float32", bias2=torch.ones(2).double(), kind=TypeError)
    check(r"output must be of shape \(4, 2\)", y=torch.ones(4, 3))
    check("output must be float32", y=torch.ones(4, 2).double(), kind=TypeError)
    check("a layer's gradient is none of a feed-forward network", then="gelu-backward")
    check("nothing called 'relu' comes after a layer", then="relu")


def test_what_has_no_layer_is_refused() -> None:
    assert native is not None
    for dtype in (torch.float32, torch.bfloat16):
        if native.has_layer(code_of(dtype)):
            continue
        x = torch.ones(4, 4, dtype=dtype)
        for refused in (lambda x=x: layer(x, x, None), lambda x=x: feed_forward(x, x, None, x, None)):
            with pytest.raises(TypeError, match=f"no kernel for {str(dtype).removeprefix('torch.')} on {native.isa()}"):
                refused()
