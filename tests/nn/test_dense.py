"""Dense layers, by pyemo's kernels and by oneDNN, against torch.nn.functional.linear."""

from __future__ import annotations

import copy
import io
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense_products import Products, compare, gradients_of_inputs_are_pytorchs
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

import pyemo
from pyemo.nn import dense
from pyemo.nn import products as module
from pyemo.nn.dense import linear, linear_gelu
from pyemo.ops.native import native

pytestmark = pytest.mark.usefixtures("products")

DTYPES = [pytest.param(dtype, id=str(dtype).removeprefix("torch.")) for dtype in module._dtypes]
Arguments = tuple[Tensor, Tensor, Tensor | None]


def arguments(*shape: int, out: int = 7, bias: bool = True, dtype: torch.dtype = torch.float32) -> Arguments:
    def random(*size: int) -> Tensor:
        return torch.randn(*size, dtype=torch.float64).to(dtype).requires_grad_()

    return random(*shape), random(out, shape[-1]), random(out) if bias else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (33, 17), (2, 3, 5, 20), (3, 1, 130), (1, 97, 64)])
def test_values_and_gradients(shape: tuple[int, ...], bias: bool, dtype: torch.dtype, products: Products) -> None:
    inputs = [each for each in arguments(*shape, bias=bias, dtype=dtype) if each is not None]
    exact = [each.detach().double().requires_grad_() for each in inputs]
    results = [linear(*inputs), F.linear(*inputs), F.linear(*exact)]
    assert products.then == [""]
    compare(*results)
    dy = torch.randn_like(results[0])
    grads = [
        torch.autograd.grad(result, given, dy.to(result.dtype))
        for result, given in zip(results, (inputs, inputs, exact), strict=True)
    ]
    assert products.then == [""] * (1 if gradients_of_inputs_are_pytorchs(products, dtype) else 2)
    for each in zip(*grads, strict=True):
        compare(*each)
    with torch.no_grad():
        assert torch.equal(linear(*inputs), results[0])


@pytest.mark.parametrize("learned", range(3))
def test_gradients_of_some(learned: int) -> None:
    inputs: Any = [each.detach() for each in arguments(4, 5, 6) if each is not None]
    inputs[learned].requires_grad_()
    y = linear(*inputs)
    dy = torch.randn(5, 4, 7).transpose(0, 1)
    got, want = (torch.autograd.grad(each, inputs[learned], dy)[0] for each in (y, F.linear(*inputs)))
    torch.testing.assert_close(got, want)


def test_an_expanded_gradient() -> None:
    inputs = arguments(4, 5, 6)
    got, want = (torch.autograd.grad(each.sum(), inputs) for each in (linear(*inputs), F.linear(*inputs)))  # type: ignore[arg-type]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


PAIRS = pytest.mark.parametrize(
    ("function", "reference"),
    [(linear, F.linear), (linear_gelu, lambda *given: F.gelu(F.linear(*given)))],
    ids=["linear", "gelu"],
)


@PAIRS
def test_second_derivatives(function: Any, reference: Any) -> None:
    inputs = arguments(9, 6)
    dy = torch.randn(9, 7, requires_grad=True)
    results = []
    for each in (function, reference):
        first = torch.autograd.grad(each(*inputs), inputs, dy, create_graph=True)  # type: ignore[arg-type]
        assert all(grad.requires_grad for grad in first)
        total = sum(grad.square().sum() for grad in first)
        results.append(torch.autograd.grad(total, (*inputs, dy), allow_unused=True))  # type: ignore[arg-type]
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-2)


@PAIRS
def test_a_jacobian_of_batched_gradients(function: Any, reference: Any) -> None:
    inputs = arguments(3, 6)
    got, want = (torch.autograd.functional.jacobian(each, inputs, vectorize=True) for each in (function, reference))  # type: ignore[arg-type]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strides(dtype: torch.dtype, products: Products) -> None:
    x = torch.randn(6, 5, 40).to(dtype).transpose(0, 1)[..., ::2]
    weight = torch.randn(20, 18).to(dtype).t()[::2]
    bias = torch.randn(18).to(dtype)[::2]
    assert not any(each.is_contiguous() for each in (x, weight, bias))
    compare(linear(x, weight, bias), F.linear(x, weight, bias), F.linear(x.double(), weight.double(), bias.double()))
    assert products.noted


@PAIRS
def test_a_bias_with_gaps(function: Any, reference: Any) -> None:
    x, weight, _ = arguments(9, 6)
    bias = torch.randn(14)[::2]
    for learned in (False, True):
        with torch.set_grad_enabled(learned):
            torch.testing.assert_close(function(x, weight, bias), reference(x, weight, bias))


@PAIRS
@pytest.mark.parametrize(
    "dy", [torch._neg_view(torch.randn(9, 7)), torch._efficientzerotensor(9, 7)], ids=["sign", "zero"]
)
def test_gradients_that_are_not_what_their_memory_holds(function: Any, reference: Any, dy: Tensor) -> None:
    """The sign of conjugated complex numbers is a flag, and zeros may have no memory."""
    inputs = arguments(9, 6)
    got, want = (torch.autograd.grad(each(*inputs), inputs, dy) for each in (function, reference))  # type: ignore[arg-type]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@PAIRS
def test_inputs_whose_sign_is_a_flag(function: Any, reference: Any) -> None:
    inputs = torch._neg_view(torch.randn(9, 6)), *arguments(9, 6)[1:]
    got, want = (torch.autograd.grad(each(*inputs).square().sum(), inputs[1:]) for each in (function, reference))  # type: ignore[arg-type]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_the_result_may_be_written_to() -> None:
    for shape in ((30, 6), (2, 15, 6)):
        inputs = arguments(*shape)
        y = F.relu_(linear(*inputs))
        got = torch.autograd.grad(y.sum(), inputs)  # type: ignore[arg-type]
        want = torch.autograd.grad(F.relu(F.linear(*inputs)).sum(), inputs)  # type: ignore[arg-type]
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)


def plain_gelu(x: Tensor, weight: Tensor, bias: Tensor | None, approximate: str = "none") -> Tensor:
    return F.gelu(F.linear(x, weight, bias), approximate=approximate)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str, bias: bool, dtype: torch.dtype, products: Products) -> None:
    inputs: Any = [each for each in arguments(3, 50, 6, out=40, bias=bias, dtype=dtype) if each is not None]
    exact: Any = [each.detach().double().requires_grad_() for each in inputs]
    bias_and = () if bias else (None,)
    with torch.no_grad():
        compare(*(f(*given, *bias_and, approximate) for f, given in ((linear_gelu, inputs), (plain_gelu, inputs), (plain_gelu, exact))))  # fmt: skip
    after = "gelu" if approximate == "none" else "gelu-tanh"
    assert products.then == [after]
    results = [
        function(*given, *bias_and, approximate)
        for function, given in ((linear_gelu, inputs), (plain_gelu, inputs), (plain_gelu, exact))
    ]
    compare(*results)
    dy = torch.randn(40, 50, 3).to(dtype).permute(2, 1, 0)
    grads = [
        torch.autograd.grad(result, given, dy.to(result.dtype))
        for result, given in zip(results, (inputs, inputs, exact), strict=True)
    ]
    joined = approximate == "none" and products.by(dtype) == "pyemo"  # else the GELU follows as an operation of its own
    gradient = [] if gradients_of_inputs_are_pytorchs(products, dtype) else [""]
    assert products.then == [after, "gelu" if joined else "", *gradient]
    for each in zip(*grads, strict=True):
        compare(*each)


@pytest.mark.parametrize("learned", range(3))
def test_gradients_of_some_through_a_gelu(learned: int) -> None:
    inputs: Any = [each.detach() for each in arguments(4, 5, 6) if each is not None]
    inputs[learned].requires_grad_()
    dy = torch.randn(4, 5, 7)
    got, want = (torch.autograd.grad(f(*inputs), inputs[learned], dy)[0] for f in (linear_gelu, plain_gelu))
    torch.testing.assert_close(got, want)


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (dense, module):
        monkeypatch.setattr(each, "native", None)
    inputs = arguments(9, 6)
    for got, want in ((linear, F.linear), (linear_gelu, plain_gelu)):
        grads = [torch.autograd.grad(f(*inputs).square().sum(), inputs) for f in (got, want)]  # type: ignore[arg-type]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_without_onednn(monkeypatch: pytest.MonkeyPatch, products: Products) -> None:
    monkeypatch.setattr(module, "_operator", None)
    inputs = arguments(9, 6)
    for got, want in ((linear, F.linear), (linear_gelu, plain_gelu)):
        grads = [torch.autograd.grad(f(*inputs).square().sum(), inputs) for f in (got, want)]  # type: ignore[arg-type]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert products.then == (["", "", "gelu", ""] if products.kernels == "pyemo" else [])


@pytest.mark.parametrize("products", ["pyemo"], indirect=True)
def test_weights_are_not_packed_for_few_rows(monkeypatch: pytest.MonkeyPatch, products: Products) -> None:
    if module._operator is None:
        pytest.skip("this PyTorch has no oneDNN")
    monkeypatch.setattr(module, "_LEAST_ROWS", 8)
    for rows in (7, 8):
        inputs = arguments(rows, 6)
        for function in (linear, linear_gelu):
            function(*inputs).sum().backward()
    assert [by for by, *_ in products.noted] == ["onednn"] * 4 + ["pyemo"] * 4
    products.noted.clear()


@pytest.mark.parametrize("products", ["pyemo"], indirect=True)
def test_every_instruction_set(products: Products) -> None:
    if module._operator is None:
        pytest.skip("this PyTorch has no oneDNN")
    assert native is not None
    before = native.isa()
    try:
        for isa in native.supported_isas():
            native.set_isa(isa)
            for dtype in module._dtypes:
                inputs = arguments(9, 6, dtype=dtype)
                torch.testing.assert_close(linear(*inputs), F.linear(*inputs))
                assert products.noted.pop() == (products.by(dtype), dtype, "")
    finally:
        native.set_isa(before)


@pytest.mark.skipif(torch.bfloat16 not in module._dtypes, reason="no bfloat16 here")
@pytest.mark.parametrize("within", [True, False])
def test_autocast(within: bool, products: Products) -> None:
    inputs = arguments(40, 16)
    dy = torch.randn(40, 7)
    results = []
    for function in (linear, F.linear):
        with torch.autocast("cpu", torch.bfloat16):
            y = function(*inputs)
            if within:
                grads = torch.autograd.grad(y, inputs, dy.to(y.dtype))  # type: ignore[arg-type]
        if not within:
            grads = torch.autograd.grad(y, inputs, dy.to(y.dtype))  # type: ignore[arg-type]
        results.append((y, *grads))
    assert products.noted
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("case", ["float64", "float16", "empty", "vector", "sparse", "meta", "flag", "subclass"])
def test_what_is_left_to_pytorch(case: str, products: Products) -> None:
    x, weight, bias = arguments(4, 6)
    assert bias is not None
    if case in ("float64", "float16"):
        x, weight, bias = (each.to(getattr(torch, case)) for each in (x, weight, bias))
    elif case == "empty":
        x = torch.randn(3, 0, 6)
    elif case == "vector":
        x = x[0]
    elif case == "sparse":
        weight, bias = weight.detach().to_sparse(), None  # type: ignore[assignment]
    elif case == "meta":
        x, weight, bias = (each.to("meta") for each in (x, weight, bias))
    elif case == "subclass":
        weight = weight.detach().as_subclass(type("Special", (Tensor,), {}))  # type: ignore[arg-type]
    with torch.backends.mkldnn.flags(enabled=case != "flag"):
        got, want = linear(x, weight, bias), F.linear(x, weight, bias)
    assert type(got) is type(want)
    assert got.device == want.device
    if case != "meta":
        assert torch.equal(got, want)
    assert not products.noted


def test_small_ones_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch, products: Products) -> None:
    monkeypatch.setattr(module, "_LEAST_OPERATIONS", 2 * 50 * 6 * 7)
    linear(*arguments(49, 6))
    linear_gelu(*arguments(49, 6), "none")
    assert not products.noted
    linear(*arguments(50, 6))
    linear_gelu(*(None if each is None else each.detach() for each in arguments(2, 25, 6)), "none")  # type: ignore[arg-type]
    assert products.then == ["", "gelu"]


def test_whoever_watches_sees_pytorchs_operations(products: Products) -> None:
    inputs = arguments(30, 6)
    frozen: Any = [None if each is None else each.detach() for each in inputs]
    expected = F.linear(*frozen)

    with FlopCounterMode(display=False) as counter:
        linear_gelu(*inputs).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 30 * 6 * 7

    class Names(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(function.__name__)
            return function(*args, **(kwargs or {}))

    names: list[str] = []
    with Names():
        linear(*inputs)
    assert "linear" in names

    batched = torch.func.vmap(linear, (0, None, None))(frozen[0].view(5, 6, 6), *frozen[1:])
    torch.testing.assert_close(batched.view(30, 7), expected)
    tangent = torch.randn(30, 6)
    with forward_ad.dual_level():
        dual = linear(forward_ad.make_dual(frozen[0], tangent), *frozen[1:])
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangent @ frozen[1].t())
    traced = torch.jit.trace(lambda x: linear(x, *frozen[1:]), frozen[0], check_trace=False)  # the check is not traced
    torch.testing.assert_close(traced(frozen[0][:11]), expected[:11])
    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*frozen), expected)
    assert not products.noted


@pytest.mark.parametrize("wrong", ["width", "dtype", "bias", "bias dtype", "weight"])
def test_errors_are_those_of_pytorch(wrong: str) -> None:
    x, weight, bias = arguments(30, 6)
    if wrong == "width":
        x = torch.randn(30, 5)
    elif wrong == "dtype":
        x = x.bfloat16()
    elif wrong == "bias":
        bias = torch.randn(8)
    elif wrong == "bias dtype":
        bias = torch.randn(7).double()
    else:
        weight = torch.randn(7, 6, 1)
    with pytest.raises(RuntimeError) as expected:
        F.linear(x, weight, bias)
    with pytest.raises(RuntimeError) as raised:
        linear(x, weight, bias)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_not_a_number_and_infinity_stay_in_their_rows(dtype: torch.dtype) -> None:
    x, weight, bias = arguments(30, 6, dtype=dtype)
    with torch.no_grad():
        x[4, 1], x[20, 0] = float("nan"), float("inf")
        got, want = linear(x, weight, bias), F.linear(x, weight, bias)
    assert torch.equal(got.isfinite(), want.isfinite())
    assert torch.equal(got.isnan(), want.isnan())
    torch.testing.assert_close(got, want, rtol=2e-2, atol=2e-2, equal_nan=True)


def test_two_python_threads_at_once() -> None:
    inputs = arguments(200, 64)
    dy = torch.randn(200, 7)

    def run() -> tuple[Tensor, ...]:
        y = linear(*inputs)
        return y, *torch.autograd.grad(y, inputs, dy)  # type: ignore[arg-type]

    expected = run()
    wrong: list[int] = []

    def work() -> None:
        for _ in range(50):
            wrong.extend(1 for a, b in zip(run(), expected, strict=True) if not torch.equal(a, b))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Wider(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), Wider(8, 8), nn.Linear(8, 3, bias=False))


def test_layers_of_any_model(products: Products) -> None:
    model, x = network(), torch.randn(4, 5, 6)
    original = copy.deepcopy(model)
    report = pyemo.accelerate(model)
    assert report.swapped == ["0", "3"]
    assert "Wider is derived from Linear" in report.left_alone["2"]
    for each in (model, original):
        each(x).square().sum().backward()
    assert products.then == [""] * 3  # the input wants no gradient
    for got, expected in zip(model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-5)
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    loaded = torch.load(saved, weights_only=False)
    assert pyemo.restore(loaded) == 2
    assert type(loaded[0]) is nn.Linear
    torch.testing.assert_close(loaded(x), model(x))


def test_special_weights_are_left_alone(products: Products) -> None:
    model = nn.Linear(6, 8)
    special = nn.Linear(6, 8)
    special.weight = nn.Parameter(special.weight.detach().as_subclass(type("Special", (Tensor,), {})))  # type: ignore[arg-type]
    assert "special kind" in pyemo.accelerate(special).left_alone[""]
    pyemo.accelerate(model)
    nn.utils.parametrizations.weight_norm(model)
    expected = F.linear(torch.ones(4, 6), model.weight, model.bias)
    torch.testing.assert_close(model(torch.ones(4, 6)), expected)


def test_a_model_compiled_and_exported(products: Products) -> None:
    torch._dynamo.reset()
    model, x = network(), torch.randn(4, 5, 6)
    expected = model(x)
    pyemo.accelerate(model)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected)
    assert not products.noted
