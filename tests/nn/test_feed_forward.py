"""The feed-forward network, in one kernel and in chunks, against the same written in plain PyTorch."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense_products import Products, compare, gradients_of_inputs_are_pytorchs
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from pyemo.nn import dense
from pyemo.nn import feed_forward as module
from pyemo.nn import products as products_module
from pyemo.nn.feed_forward import feed_forward

pytestmark = pytest.mark.usefixtures("products")

DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in products_module._dtypes]
# In float64, the layers are PyTorch's.
EACH = pytest.mark.parametrize("products", ["pytorch", "onednn", "pyemo"], indirect=True)
IN_CHUNKS = pytest.mark.parametrize("products", ["pytorch", "onednn"], indirect=True)
Arguments = tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None]


def plain(
    x: Tensor, weight1: Tensor, bias1: Tensor | None, weight2: Tensor, bias2: Tensor | None, approximate: str = "none"
) -> Tensor:
    return F.linear(F.gelu(F.linear(x, weight1, bias1), approximate=approximate), weight2, bias2)


def arguments(
    *shape: int, out: int = 5, hidden: int = 12, bias: bool = True, dtype: torch.dtype = torch.float64
) -> Arguments:
    def random(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64).to(dtype).requires_grad_()

    width = shape[-1]
    return (
        random(*shape),
        random(hidden, width),
        random(hidden) if bias else None,
        random(out, hidden),
        random(out) if bias else None,
    )


def frozen(inputs: Arguments) -> Any:
    return [None if each is None else each.detach() for each in inputs]


@pytest.fixture(autouse=True)
def seven_rows(monkeypatch: pytest.MonkeyPatch, products: Products) -> None:
    """Chunks of seven tokens for 12 hidden channels on one thread."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 7 * 12 * products.dtype.itemsize)


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each chunk."""
    tokens: list[int] = []
    original = module.linear_gelu

    def noting(x: Tensor, *others: Any) -> Tensor:
        tokens.append(x.numel() // x.shape[-1])
        return original(x, *others)

    monkeypatch.setattr(module, "linear_gelu", noting)
    return tokens


@EACH
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(8, 3), (2, 3, 5, 3), (15, 1), (1, 29, 3)])
def test_values(shape: tuple[int, ...], bias: bool, approximate: str, chunks: list[int], products: Products) -> None:
    inputs = arguments(*shape, bias=bias, dtype=products.dtype)
    with torch.no_grad():
        expected = plain(*inputs, approximate)
        torch.testing.assert_close(feed_forward(*inputs, approximate), expected)
    if products.kernels == "pyemo":
        assert not chunks
        assert products.then == ["gelu, chained" if approximate == "none" else "gelu-tanh, chained"]
    else:
        assert max(chunks) <= 7
        assert sum(chunks) == expected.numel() // 5
    torch.testing.assert_close(feed_forward(*frozen(inputs), approximate), expected)


@EACH
@pytest.mark.parametrize("learned", range(5))
def test_whenever_a_gradient_is_wanted_there_is_one(learned: int, chunks: list[int], products: Products) -> None:
    inputs = frozen(arguments(3, 5, 3, dtype=products.dtype))
    inputs[learned].requires_grad_()
    y = feed_forward(*inputs)
    dy = torch.randn_like(y)
    (got,), (want,) = (torch.autograd.grad(each, inputs[learned], dy) for each in (y, plain(*inputs)))
    torch.testing.assert_close(got, want)
    if products.kernels == "pyemo":
        before = [] if learned > 2 else ["gelu-backward"] + [""] * (learned == 0)
        assert products.then == ["gelu", "", *before]
    else:
        assert chunks == [15], "the whole at once: a gradient needs all of it"


def assert_same(got: Tensor, want: Tensor, products: Products) -> None:
    """To the bit where the layers are PyTorch's."""
    exactly: Any = {"rtol": 0, "atol": 0} if products.kernels == "pytorch" else {}
    torch.testing.assert_close(got, want, **exactly)


@IN_CHUNKS
def test_rows_are_dealt_out_evenly(chunks: list[int], products: Products) -> None:
    with torch.no_grad():
        feed_forward(*arguments(22, 3, dtype=products.dtype))
    assert chunks == [6, 6, 6, 4]


@IN_CHUNKS
def test_chunks_are_not_small_beside_the_weights(chunks: list[int], products: Products) -> None:
    with torch.no_grad():
        feed_forward(*arguments(32, 16, dtype=products.dtype))
        assert chunks == [32]
        feed_forward(*arguments(33, 16, dtype=products.dtype))
    assert chunks == [32, 17, 16]


@IN_CHUNKS
def test_what_fits_into_a_chunk(chunks: list[int], products: Products) -> None:
    inputs = arguments(7, 3, dtype=products.dtype)
    with torch.no_grad():
        assert_same(feed_forward(*inputs), plain(*inputs), products)
    assert chunks == [7]


@EACH
@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (9, 0)])
def test_empty(shape: tuple[int, ...], products: Products) -> None:
    inputs = arguments(*shape, dtype=products.dtype)
    with torch.no_grad():
        assert_same(feed_forward(*inputs), plain(*inputs), products)


def strided(dtype: torch.dtype) -> Any:
    inputs = (
        torch.randn(4, 5, 6, dtype=dtype).transpose(0, 2)[..., 1:],
        torch.randn(3, 12, dtype=dtype).t(),
        torch.randn(24, dtype=dtype)[::2],
        torch.randn(12, 10, dtype=dtype)[:, ::2].t(),
        torch.randn(10, dtype=dtype)[::2],
    )
    return [each.requires_grad_() for each in inputs]


@pytest.mark.parametrize("products", ["pytorch", "onednn", "pyemo"], indirect=True)
def test_strides(chunks: list[int], products: Products) -> None:
    inputs = strided(products.dtype)
    assert not any(each.is_contiguous() for each in inputs)
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs))
    assert products.noted if products.kernels == "pyemo" else chunks


def assert_as_near(got: Tensor, other: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    """``got`` to the truth as ``other``, which PyTorch computes in a dtype."""
    error, usual = ((each.double() - exact).abs().max() / exact.abs().max() for each in (got, other))
    assert error <= 1.5 * usual + torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_as_near_as_pytorch(dtype: torch.dtype, chunks: list[int], products: Products) -> None:
    inputs = arguments(2400, 16, hidden=24, out=16, dtype=dtype)
    exact: Any = [None if each is None else each.double() for each in inputs]
    with torch.no_grad():
        want, got, other = plain(*exact), feed_forward(*inputs), plain(*inputs)
    if products.by(dtype) == "pyemo":
        assert products.then == ["gelu, chained"]
    else:
        assert len(chunks) == 75
    assert got.dtype == dtype
    assert_as_near(got, other, want, dtype)


@pytest.mark.parametrize("within", [False, True])
def test_autocast(within: bool, chunks: list[int], products: Products) -> None:
    """Hidden activations that do not leave registers before the GELU are nearer to the truth than PyTorch's, which are rounded."""
    inputs = arguments(60, 3, dtype=torch.float32)
    exact: Any = [each.to(torch.bfloat16).double().requires_grad_() for each in frozen(inputs)]
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            y = feed_forward(*inputs)
        assert products.noted if products.by(torch.bfloat16) == "pyemo" else chunks
        results = feed_forward(*inputs), plain(*inputs), plain(*exact)
    assert y.dtype == results[0].dtype == torch.bfloat16
    for got in (y, results[0]):
        assert_as_near(got, results[1], results[2], torch.bfloat16)
    dy = torch.randn_like(results[1])
    with torch.autocast("cpu", torch.bfloat16, enabled=within):
        grads = [
            torch.autograd.grad(result, given, dy.to(result.dtype))
            for result, given in zip(results, (inputs, inputs, exact), strict=True)
        ]
    for got, other, true in zip(*grads, strict=True):
        assert got.dtype == torch.float32
        assert_as_near(got, other, true, torch.bfloat16)


@EACH
def test_transforms(products: Products) -> None:
    inputs = arguments(4, 9, 3, dtype=products.dtype)
    dims = (0, None, None, None, None)
    torch.testing.assert_close(torch.func.vmap(feed_forward, dims)(*inputs), plain(*inputs))
    got = torch.func.grad(lambda *each: feed_forward(*each).square().sum(), (0, 1))(*inputs)
    want = torch.func.grad(lambda *each: plain(*each).square().sum(), (0, 1))(*inputs)
    torch.testing.assert_close(got, want)
    tangent = torch.randn_like(inputs[0])
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(inputs[0], tangent)
        torch.testing.assert_close(
            forward_ad.unpack_dual(feed_forward(dual, *inputs[1:])).tangent,
            forward_ad.unpack_dual(plain(dual, *inputs[1:])).tangent,
        )
    assert not products.noted


@EACH
def test_tracing_keeps_the_number_of_tokens_open(products: Products) -> None:
    parameters: Any = [None if each is None else each.detach() for each in arguments(1, 3, dtype=products.dtype)[1:]]
    traced = torch.jit.trace(lambda x: feed_forward(x, *parameters), torch.randn(30, 3, dtype=products.dtype))
    products.noted.clear()  # the check of what was traced is not traced
    x = torch.randn(41, 3, dtype=products.dtype)
    torch.testing.assert_close(traced(x), plain(x, *parameters))
    assert not products.noted


@EACH
def test_not_a_number_and_infinity_stay_in_their_rows(products: Products) -> None:
    inputs = arguments(30, 3, dtype=products.dtype)
    with torch.no_grad():
        inputs[0][4, 1], inputs[0][20, 0] = float("nan"), float("inf")
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs), equal_nan=True)


@EACH
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("wrong", ["width", "dtype", "weight2", "integers"])
def test_errors_are_those_of_pytorch(wrong: str, learned: bool, products: Products) -> None:
    x, weight1, bias1, weight2, bias2 = arguments(30, 3, dtype=products.dtype)
    if wrong == "width":
        x = torch.randn(30, 4, dtype=products.dtype)
    elif wrong == "dtype":
        x = x.to(torch.float32 if products.dtype == torch.float64 else torch.bfloat16)
    elif wrong == "weight2":
        weight2 = torch.randn(5, 13, dtype=products.dtype)
    else:
        x, weight1, weight2 = (each.long() for each in (x, weight1, weight2))
        bias1 = bias2 = None
    with torch.set_grad_enabled(learned), pytest.raises(RuntimeError) as expected:
        plain(x, weight1, bias1, weight2, bias2)
    with torch.set_grad_enabled(learned), pytest.raises(RuntimeError) as raised:
        feed_forward(x, weight1, bias1, weight2, bias2)
    if wrong != "weight2" or learned:  # the same but for the number of rows
        assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (33, 17), (2, 3, 5, 20), (3, 1, 130), (1, 97, 64)])
def test_values_and_gradients(
    shape: tuple[int, ...], bias: bool, approximate: str, dtype: torch.dtype, products: Products
) -> None:
    inputs = arguments(*shape, bias=bias, dtype=dtype)
    exact: Any = [None if each is None else each.double().requires_grad_() for each in frozen(inputs)]
    each: Any = ((feed_forward, inputs), (plain, inputs), (plain, exact))
    results = [function(*given, approximate) for function, given in each]
    compare(*results)
    dy = torch.randn(tuple(reversed(results[0].shape))).to(dtype).permute(*reversed(range(len(shape))))
    grads = [
        torch.autograd.grad(result, [one for one in given if one is not None], dy.to(result.dtype))
        for result, (_, given) in zip(results, each, strict=True)
    ]
    for those in zip(*grads, strict=True):
        compare(*those)
    if products.by(dtype) == "pyemo" and approximate == "none":
        assert products.then == ["gelu", "", "gelu-backward", ""]
        assert torch.equal(feed_forward(*frozen(inputs)), results[0])
    else:
        assert products.then == [""] * (2 if gradients_of_inputs_are_pytorchs(products, dtype) else 4)


def gradients(function: Any, inputs: Arguments, dy: Tensor, wanted: Any = slice(None)) -> tuple[Tensor, ...]:
    return torch.autograd.grad(function(*inputs), inputs[wanted], dy)  # type: ignore[arg-type]


def assert_gradients_are_pytorchs(inputs: Arguments, dy: Tensor, wanted: Any = slice(None)) -> None:
    for got, want in zip(*(gradients(each, inputs, dy, wanted) for each in (feed_forward, plain)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_gradients_of_any_of_them(products: Products) -> None:
    dy = torch.randn(3, 5, 5)
    for some in range(1, 2**5):
        inputs = frozen(arguments(3, 5, 3, dtype=torch.float32))
        wanted = [each.requires_grad_() for i, each in enumerate(inputs) if some >> i & 1]
        results = [torch.autograd.grad(function(*inputs), wanted, dy) for function in (feed_forward, plain)]
        for got, want in zip(*results, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert products.noted


def test_a_backward_pass_leaves_what_another_needs() -> None:
    inputs = arguments(9, 6, dtype=torch.float32)
    y, dy = feed_forward(*inputs), torch.randn(9, 5)
    first, second = (torch.autograd.grad(y, inputs, dy, retain_graph=True) for _ in range(2))  # type: ignore[arg-type]
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize(
    "dy",
    [
        torch.ones(()).expand(9, 5),
        torch.randn(5).expand(9, 5),
        torch.randn(9, 1).expand(9, 5),
        torch.randn(5, 9).t(),
        torch.randn(9, 15)[:, ::3],
        torch.randn(9, 15)[:, 3:8],
        torch._neg_view(torch.randn(9, 5)),
        torch._efficientzerotensor(9, 5),
    ],
    ids=["one number", "one row", "one column", "transposed", "every third", "part", "sign", "zero"],
)
def test_gradients_of_any_layout(dy: Tensor) -> None:
    """The sign of conjugated complex numbers is a flag, and zeros may have no memory."""
    assert_gradients_are_pytorchs(arguments(9, 6, dtype=torch.float32), dy)


def test_gradients_of_strided_tensors(products: Products) -> None:
    assert_gradients_are_pytorchs(strided(torch.float32), torch.randn(6, 5, 5))
    assert products.noted


def test_inputs_whose_sign_is_a_flag() -> None:
    inputs = torch._neg_view(torch.randn(9, 6)), *arguments(9, 6, dtype=torch.float32)[1:]
    assert_gradients_are_pytorchs(inputs, torch.randn(9, 5), slice(1, None))
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs))


def test_second_derivatives() -> None:
    inputs = arguments(9, 6, dtype=torch.float32)
    dy = torch.randn(9, 5, requires_grad=True)
    results = []
    for each in (feed_forward, plain):
        first = torch.autograd.grad(each(*inputs), inputs, dy, create_graph=True)  # type: ignore[arg-type]
        assert all(grad.requires_grad for grad in first[:4])  # that of the last bias is a sum
        total = sum(grad.square().sum() for grad in first)
        results.append(torch.autograd.grad(total, (*inputs, dy), allow_unused=True))  # type: ignore[arg-type]
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2)


def test_a_jacobian_of_batched_gradients() -> None:
    inputs = arguments(3, 6, dtype=torch.float32)
    got, want = (torch.autograd.functional.jacobian(each, inputs, vectorize=True) for each in (feed_forward, plain))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("shape", [(30, 6), (2, 15, 6)])
def test_the_result_may_be_written_to(shape: tuple[int, ...]) -> None:
    inputs = arguments(*shape, dtype=torch.float32)
    results = [F.relu_(feed_forward(*inputs)), F.relu(plain(*inputs))]
    for got, want in zip(*(torch.autograd.grad(y.sum(), inputs) for y in results), strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_what_is_not_finite_stays_in_its_row_of_a_gradient() -> None:
    inputs = arguments(30, 6, dtype=torch.float32)
    with torch.no_grad():
        inputs[0][4, 1], inputs[0][20, 0] = float("nan"), float("inf")
    got, want = (gradients(each, inputs, torch.randn(30, 5), slice(1)) for each in (feed_forward, plain))
    assert torch.equal(got[0].isfinite(), want[0].isfinite())


def test_whoever_watches_sees_pytorchs_operations(products: Products) -> None:
    inputs = arguments(30, 6, dtype=torch.float32)
    with FlopCounterMode(display=False) as counter:
        feed_forward(*inputs).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 30 * 12 * (6 + 5)

    class Names(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    names: list[str] = []
    with Names():
        feed_forward(*inputs)
    assert [name for name in names if name in ("linear", "gelu")] == ["linear", "gelu", "linear"]

    torch._dynamo.reset()
    for given in (inputs, frozen(inputs)):
        compiled = torch.compile(feed_forward, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), plain(*given))
    assert not products.noted


def test_whoever_watches_the_backward_pass_sees_pytorchs_operations(products: Products) -> None:
    inputs = arguments(30, 6, dtype=torch.float32)
    y = feed_forward(*inputs)
    products.noted.clear()
    with FlopCounterMode(display=False) as counter:
        y.sum().backward()
    assert counter.get_total_flops() >= 2 * 2 * 30 * 12 * (6 + 5)
    assert not products.noted


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("case", ["float64", "float16", "empty", "vector", "meta", "flag", "subclass"])
def test_what_is_left_to_pytorch(case: str, learned: bool, products: Products) -> None:
    inputs: Any = arguments(4, 6, dtype=torch.float32)
    if case in ("float64", "float16"):
        inputs = [each.to(getattr(torch, case)) for each in inputs]
    elif case == "empty":
        inputs = torch.randn(3, 0, 6), *inputs[1:]
    elif case == "vector":
        inputs = inputs[0][0], *inputs[1:]
    elif case == "meta":
        inputs = [each.to("meta") for each in inputs]
    elif case == "subclass":
        special = type("Special", (Tensor,), {})
        inputs = [each.detach().as_subclass(special) if i in (1, 3) else each for i, each in enumerate(inputs)]
    with torch.backends.mkldnn.flags(enabled=case != "flag"), torch.set_grad_enabled(learned):
        got, want = feed_forward(*inputs), plain(*inputs)
    assert type(got) is type(want)
    assert got.device == want.device
    assert got.shape == want.shape
    if case != "meta":
        assert torch.equal(got, want)
    assert not products.noted


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("learned", [False, True])
def test_no_outputs(learned: bool) -> None:
    inputs = arguments(9, 6, out=0, dtype=torch.float32)
    with torch.set_grad_enabled(learned):
        assert feed_forward(*inputs).shape == (9, 0)


@pytest.mark.usefixtures("products")
def test_no_such_approximation() -> None:
    with torch.no_grad(), pytest.raises(RuntimeError):
        feed_forward(*arguments(9, 6, dtype=torch.float32), "erf")


def test_a_special_second_weight_alone(products: Products) -> None:
    """The first layer may be computed all the same."""
    inputs: Any = list(arguments(9, 6, dtype=torch.float32))
    inputs[3] = inputs[3].detach().as_subclass(type("Special", (Tensor,), {}))
    for learned in (False, True):
        with torch.set_grad_enabled(learned):
            got, want = feed_forward(*inputs), plain(*inputs)
        assert type(got) is type(want)
        torch.testing.assert_close(got, want)


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (dense, products_module):
        monkeypatch.setattr(each, "native", None)
    inputs = arguments(9, 6, dtype=torch.float32)
    assert_gradients_are_pytorchs(inputs, torch.randn(9, 5))
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs))


@pytest.mark.parametrize("products", ["pyemo"], indirect=True)
def test_small_networks_and_few_rows(monkeypatch: pytest.MonkeyPatch, products: Products) -> None:
    if products_module._operator is None:
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(products_module, "_LEAST_OPERATIONS", 2 * 7 * 6 * 12)
    monkeypatch.setattr(products_module, "_LEAST_ROWS", 8)
    seen = []
    for rows in (6, 7, 8):
        for learned in (False, True):
            with torch.set_grad_enabled(learned):
                feed_forward(*arguments(rows, 6, out=12, dtype=torch.float32))
            seen.append([(by, then) for by, _, then in products.noted])
            products.noted.clear()
    assert seen == [
        [("onednn", "")],  # the second layer is larger
        [("onednn", "")],
        [("onednn", "gelu"), ("onednn", "")],
        [("onednn", ""), ("onednn", "")],
        [("pyemo", "gelu, chained")],
        [("pyemo", "gelu"), ("pyemo", "")],
    ]


def test_two_python_threads_at_once() -> None:
    inputs = arguments(200, 64, hidden=96, dtype=torch.float32)
    dy = torch.randn(200, 5)

    def run() -> tuple[Tensor, ...]:
        y = feed_forward(*inputs)
        return y, feed_forward(*frozen(inputs)), *torch.autograd.grad(y, inputs, dy)  # type: ignore[arg-type]

    expected = run()
    right: list[bool] = []

    def work() -> None:
        for _ in range(50):
            right.extend(map(torch.equal, run(), expected))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * (2 * 50 * 7)
