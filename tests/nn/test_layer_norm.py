"""Layer normalization by pyemo's kernels against torch.nn.functional.layer_norm."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from dense_products import compare
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from pyemo.nn import layer_norm as module
from pyemo.nn.layer_norm import layer_norm
from pyemo.ops.native import native

pytestmark = pytest.mark.skipif(native is None, reason="pyemo was built without its native module")

Arguments = tuple[Tensor, Tensor | None, Tensor | None]
PARAMETERS = pytest.mark.parametrize("parameters", ["weight, bias", "weight", "bias", "none"])
KINDS = [
    pytest.param(torch.float32, torch.float32, id="float32"),
    pytest.param(torch.bfloat16, torch.bfloat16, id="bfloat16"),
    pytest.param(torch.bfloat16, torch.float32, id="mixed"),
]


def plain(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def arguments(
    *shape: int,
    parameters: str = "weight, bias",
    dtype: torch.dtype = torch.float32,
    of_parameters: torch.dtype | None = None,
) -> Arguments:
    def random(*size: int, dtype: torch.dtype, middle: float = 0) -> Tensor:
        return (middle + torch.randn(*size, dtype=torch.float64)).to(dtype).requires_grad_()

    weight, bias = (
        random(shape[-1], dtype=of_parameters or dtype) if name in parameters else None for name in ("weight", "bias")
    )
    return random(*shape, dtype=dtype, middle=0.5), weight, bias


def given(inputs: Arguments) -> list[Tensor]:
    return [each for each in inputs if each is not None]


def detached(inputs: Arguments, dtype: torch.dtype | None = None) -> Any:
    return tuple(None if each is None else each.detach().to(dtype or each.dtype) for each in inputs)


def gradients(function: Callable[..., Tensor], inputs: Arguments, dy: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(function(*inputs), given(inputs), dy)


@pytest.fixture(autouse=True)
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the native kernels were asked for, call by call: y, with the mean and scale of its rows, or gradients."""
    calls: list[str] = []

    def note(name: str, outputs: dict[str, int]) -> None:
        original = getattr(native, name)

        def noting(*views: Any) -> None:
            calls.append(" ".join(output for output, at in outputs.items() if views[at] is not None))
            original(*views)

        monkeypatch.setattr(native, name, noting)

    note("layer_norm", {"y": 4, "mean": 5, "scale": 6})
    note("layer_norm_backward", {"dx": 5, "dweight": 6, "dbias": 7})
    return calls


KEPT = "y mean scale"
ALL_GRADIENTS = "dx dweight dbias"


@pytest.mark.parametrize(("dtype", "of_parameters"), KINDS)
@PARAMETERS
@pytest.mark.parametrize("shape", [(1,), (17,), (3, 1), (33, 17), (2, 3, 20), (2, 3, 5, 96), (1, 97, 64), (700, 100)])
def test_values_and_gradients(
    shape: tuple[int, ...], parameters: str, dtype: torch.dtype, of_parameters: torch.dtype, computed: list[str]
) -> None:
    inputs = arguments(*shape, parameters=parameters, dtype=dtype, of_parameters=of_parameters)
    exact: Any = tuple(None if each is None else each.detach().double().requires_grad_() for each in inputs)
    results = [layer_norm(*inputs), plain(*inputs), plain(*exact)]
    assert computed == [KEPT]
    compare(*results)
    assert results[0].is_contiguous()
    if parameters == "bias" and of_parameters != dtype:
        return  # PyTorch fails to compute the gradients
    dy = torch.randn(shape).to(dtype)
    grads = [
        torch.autograd.grad(result, given(of), dy.to(result.dtype))
        for result, of in zip(results, (inputs, inputs, exact), strict=True)
    ]
    wanted = [name for name, each in zip(ALL_GRADIENTS.split(), inputs, strict=True) if each is not None]
    assert computed[1:] == [" ".join(wanted)]
    for each in zip(*grads, strict=True):
        compare(*each)
    with torch.no_grad():
        assert torch.equal(layer_norm(*inputs), results[0])
    assert computed[2:] == ["y"]


@pytest.mark.parametrize("wanted", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
def test_gradients_of_some(wanted: tuple[int, ...], computed: list[str]) -> None:
    inputs = detached(arguments(4, 5, 6))
    learned = [inputs[i].requires_grad_() for i in wanted]
    dy = torch.randn(4, 5, 6)
    got, want = (torch.autograd.grad(f(*inputs), learned, dy) for f in (layer_norm, plain))
    assert computed == [KEPT, " ".join(ALL_GRADIENTS.split()[i] for i in wanted)]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_without_a_gradient_nothing_is_kept(computed: list[str]) -> None:
    inputs = detached(arguments(9, 6))
    assert not layer_norm(*inputs).requires_grad
    assert computed == ["y"]


def test_eps(computed: list[str]) -> None:
    """By the kernels, and by PyTorch's operations in their place."""
    inputs = arguments(9, 6)
    dy = torch.randn(9, 6)
    for zeros in (False, True):
        results = []
        for function in (layer_norm, plain):
            y = function(*inputs, 0.5)
            results.append(
                (y, *torch.autograd.grad(y, given(inputs), torch._efficientzerotensor(9, 6) if zeros else dy))
            )
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b)
    first, second = (
        torch.autograd.grad(gradient.square().sum(), given(inputs)[:2])
        for gradient in (
            torch.autograd.grad(function(*inputs, 0.5), inputs[0], dy, create_graph=True)[0]
            for function in (layer_norm, plain)
        )
    )
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert computed == [KEPT, ALL_GRADIENTS, KEPT, KEPT]
    with torch.no_grad():
        torch.testing.assert_close(layer_norm(*inputs, eps=0.5), plain(*inputs, eps=0.5))


@pytest.mark.parametrize("middle", [10.0, -1000.0])
def test_rows_far_from_zero(middle: float) -> None:
    """Beside their deviation, that is; values are compared with the truth about them, as they are in float32."""
    x, weight, bias = detached(arguments(20, 768))
    x += middle
    compare(layer_norm(x, weight, bias), plain(x, weight, bias), plain(*detached((x, weight, bias), torch.float64)))


def test_constant_rows() -> None:
    """Nothing but the bias is left of them, whatever their sums are rounded to."""
    inputs: Any = (torch.rand(50, 1) * 1000).expand(50, 768).contiguous().requires_grad_(), *arguments(768)[1:]
    y = layer_norm(*inputs)
    assert torch.equal(y, inputs[2].expand(50, 768))
    assert torch.equal(y, plain(*inputs))
    exact: Any = tuple(each.requires_grad_() for each in detached(inputs, torch.float64))
    dy = torch.randn(50, 768)
    got, other = (gradients(f, inputs, dy) for f in (layer_norm, plain))
    for each in zip(got, other, gradients(plain, exact, dy.double()), strict=True):
        compare(*each)


LAYOUTS: dict[str, Callable[..., Tensor]] = {
    "transposed": lambda random: random(5, 7, 16).transpose(0, 1),
    "channels first": lambda random: random(2, 16, 5, 7).permute(0, 2, 3, 1),
    "one map, channels first": lambda random: random(1, 16, 35).transpose(1, 2),
    "every other channel": lambda random: random(7, 32)[:, ::2],
    "some of the channels": lambda random: random(7, 5, 33)[..., 9:25],
    "every other row": lambda random: random(70, 16)[::2],
    "one row for all": lambda random: random(1, 16).expand(35, 16),
    "one value for all": lambda random: random(1, 1).expand(35, 16),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str, dtype: torch.dtype, computed: list[str]) -> None:
    def strided() -> Tensor:
        made = LAYOUTS[layout](lambda *size: torch.randn(size, dtype=dtype))
        assert not made.is_contiguous()
        return made

    def dense() -> Tensor:
        return torch.randn(strided().shape, dtype=dtype)

    for x, dy in ((strided(), dense()), (dense(), strided()), (strided(), strided())):
        inputs = x.requires_grad_(), *arguments(*x.shape, dtype=dtype)[1:]
        exact: Any = tuple(each.requires_grad_() for each in detached(inputs, torch.float64))
        compare(layer_norm(*inputs), plain(*inputs), plain(*exact))
        got, other = (gradients(f, inputs, dy) for f in (layer_norm, plain))
        for each in zip(got, other, gradients(plain, exact, dy.double()), strict=True):
            compare(*each)
    assert computed == [KEPT, KEPT, ALL_GRADIENTS] * 3


def test_parameters_with_gaps_are_left_to_pytorch(computed: list[str]) -> None:
    x, weight = torch.randn(9, 6), torch.randn(12)[::2]
    assert torch.equal(layer_norm(x, weight, None), plain(x, weight, None))
    assert torch.equal(layer_norm(x, None, weight), plain(x, None, weight))
    assert not computed


def test_an_expanded_gradient(computed: list[str]) -> None:
    inputs = arguments(4, 5, 6)
    got, want = (torch.autograd.grad(f(*inputs).sum(), given(inputs)) for f in (layer_norm, plain))
    assert computed == [KEPT, ALL_GRADIENTS]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("parameters", ["weight, bias", "weight", "none"])  # PyTorch fails with a bias alone
def test_second_derivatives(parameters: str, computed: list[str]) -> None:
    inputs = arguments(9, 6, parameters=parameters)
    dy = torch.randn(9, 6, requires_grad=True)
    results = []
    for function in (layer_norm, plain):
        first = torch.autograd.grad(function(*inputs), given(inputs), dy, create_graph=True)
        assert all(grad.requires_grad for grad in first)
        total = sum(grad.square().sum() for grad in first)
        results.append(torch.autograd.grad(total, (*given(inputs), dy), allow_unused=True))  # type: ignore[arg-type]
    for a, b in zip(*results, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)
    assert computed == [KEPT]


@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 2)])
def test_second_derivatives_of_some(wanted: tuple[int, ...]) -> None:
    inputs = detached(arguments(9, 6))
    learned = [inputs[i].requires_grad_() for i in wanted]
    dy = torch.randn(9, 6, requires_grad=True)
    results = []
    for function in (layer_norm, plain):
        first = torch.autograd.grad(function(*inputs), learned, dy, create_graph=True)
        results.append((*first, *torch.autograd.grad(sum(grad.square().sum() for grad in first), dy)))  # type: ignore[arg-type]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_jacobian_of_batched_gradients(computed: list[str]) -> None:
    inputs: Any = arguments(3, 6)
    got, want = (torch.autograd.functional.jacobian(each, inputs, vectorize=True) for each in (layer_norm, plain))
    assert computed == [KEPT]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "dy", [torch._neg_view(torch.randn(9, 6)), torch._efficientzerotensor(9, 6)], ids=["sign", "zero"]
)
def test_gradients_that_are_not_what_their_memory_holds(dy: Tensor, computed: list[str]) -> None:
    """The sign of conjugated complex numbers is a flag, and zeros may have no memory."""
    inputs = arguments(9, 6)
    got, want = (gradients(each, inputs, dy) for each in (layer_norm, plain))
    assert computed == [KEPT]
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("kind", ["sign", "zero"])
def test_inputs_that_are_not_what_their_memory_holds(kind: str, which: int, computed: list[str]) -> None:
    inputs: Any = list(arguments(9, 6))
    shape = inputs[which].shape
    inputs[which] = torch._neg_view(torch.randn(shape)) if kind == "sign" else torch._efficientzerotensor(shape)
    learned = [each for each in inputs if each.requires_grad]
    got, want = (torch.autograd.grad(f(*inputs).square().sum(), learned) for f in (layer_norm, plain))
    assert not computed
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_the_result_may_be_written_to(computed: list[str]) -> None:
    for shape in ((30, 6), (2, 15, 6), (6,)):
        inputs = arguments(*shape)
        got = torch.autograd.grad(F.relu_(layer_norm(*inputs)).sum(), given(inputs))
        want = torch.autograd.grad(F.relu(plain(*inputs)).sum(), given(inputs))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert computed == [KEPT, ALL_GRADIENTS] * 3


def test_an_input_that_is_written_to_before_the_gradient_is_an_error() -> None:
    x, weight, bias = arguments(30, 6)
    hidden = x * 1
    y = layer_norm(hidden, weight, bias)
    hidden.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing(reentrant: bool, computed: list[str]) -> None:
    inputs = arguments(30, 6)
    dy = torch.randn(30, 6)
    y = checkpoint(layer_norm, *inputs, use_reentrant=reentrant)
    assert isinstance(y, Tensor)
    y.backward(dy)
    assert computed == ["y" if reentrant else KEPT, KEPT, ALL_GRADIENTS]
    for each, want in zip(given(inputs), gradients(plain, inputs, dy), strict=True):
        torch.testing.assert_close(each.grad, want, rtol=1e-4, atol=1e-5)


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch, computed: list[str]) -> None:
    monkeypatch.setattr(module, "native", None)
    inputs = arguments(9, 6)
    dy = torch.randn(9, 6)
    assert torch.equal(layer_norm(*inputs), plain(*inputs))
    for a, b in zip(*(gradients(f, inputs, dy) for f in (layer_norm, plain)), strict=True):
        assert torch.equal(a, b)
    assert not computed


@pytest.mark.parametrize(("dtype", "of_parameters"), KINDS)
@pytest.mark.parametrize("within", [True, False])
def test_autocast(within: bool, dtype: torch.dtype, of_parameters: torch.dtype, computed: list[str]) -> None:
    """It leaves layer normalization as it is."""
    inputs = arguments(40, 16, dtype=dtype, of_parameters=of_parameters)
    dy = torch.randn(40, 16)
    results = []
    for function in (layer_norm, plain):
        with torch.autocast("cpu", torch.bfloat16):
            y = function(*inputs)
            if within:
                grads = torch.autograd.grad(y, given(inputs), dy.to(y.dtype))
        if not within:
            grads = torch.autograd.grad(y, given(inputs), dy.to(y.dtype))
        results.append((y, *grads))
    assert computed == [KEPT, ALL_GRADIENTS]
    exact: Any = tuple(each.requires_grad_() for each in detached(inputs, torch.float64))
    y = plain(*exact)
    for each in zip(*results, (y, *torch.autograd.grad(y, exact, dy.to(dtype).double())), strict=True):
        compare(*each)


@pytest.mark.parametrize(
    "case", ["float64", "float16", "no rows", "no channels", "meta", "subclass", "weight's subclass"]
)
def test_what_the_kernels_do_not_compute(case: str, computed: list[str]) -> None:
    x, weight, bias = detached(arguments(4, 6))
    special = type("Special", (Tensor,), {})
    if case in ("float64", "float16", "meta"):
        x, weight, bias = (each.to("meta" if case == "meta" else getattr(torch, case)) for each in (x, weight, bias))
    elif case == "no rows":
        x = torch.randn(3, 0, 6)
    elif case == "no channels":
        x, weight, bias = x[:, :0], weight[:0], bias[:0]
    elif case == "subclass":
        x = x.as_subclass(special)
    else:
        weight = weight.as_subclass(special)
    got, want = layer_norm(x, weight, bias), plain(x, weight, bias)
    assert type(got) is type(want)
    assert (got.shape, got.dtype, got.device) == (want.shape, want.dtype, want.device)
    if case != "meta":
        assert torch.equal(got, want)
    assert not computed


def test_small_ones_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch, computed: list[str]) -> None:
    monkeypatch.setattr(module, "_LEAST_ELEMENTS", 25 * 3)
    inputs = arguments(49, 6)
    assert torch.equal(layer_norm(*inputs), plain(*inputs))
    layer_norm(*detached(inputs))
    layer_norm(*detached(arguments(24, 3), torch.bfloat16))
    assert not computed
    layer_norm(*arguments(50, 6))
    layer_norm(*detached(arguments(2, 25, 6)))
    layer_norm(*detached(arguments(25, 3), torch.bfloat16))
    assert computed == [KEPT, "y", "y"]


class Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.__name__)
        return function(*args, **(kwargs or {}))


def test_modes_see_pytorchs_operations(computed: list[str]) -> None:
    inputs = arguments(30, 6)
    with Operations() as operations:
        layer_norm(*inputs).sum().backward()
    assert {"native_layer_norm", "native_layer_norm_backward"} <= set(operations.names)
    with Functions() as functions:
        layer_norm(*inputs)
    assert "layer_norm" in functions.names
    with FlopCounterMode(display=False) as counter:
        layer_norm(*inputs).sum().backward()
    assert counter.get_total_flops() == 0
    assert not computed


@pytest.mark.parametrize("wanted", [(0,), (1, 2), (0, 1, 2)])
def test_a_mode_that_comes_for_the_gradients(wanted: tuple[int, ...], computed: list[str]) -> None:
    inputs = detached(arguments(30, 6))
    learned = [inputs[i].requires_grad_() for i in wanted]
    dy = torch.randn(30, 6)
    y = layer_norm(*inputs)
    with Operations() as operations:
        got = torch.autograd.grad(y, learned, dy)
    assert "native_layer_norm_backward" in operations.names
    assert computed == [KEPT]
    assert not any(grad.requires_grad for grad in got)
    for a, b in zip(got, torch.autograd.grad(plain(*inputs), learned, dy), strict=True):
        torch.testing.assert_close(a, b)


def test_transforms_and_compilers_see_pytorchs_operations(computed: list[str]) -> None:
    x, weight, bias = detached(arguments(30, 6))
    expected = plain(x, weight, bias)

    batched = torch.func.vmap(layer_norm, (0, None, None))(x.view(5, 6, 6), weight, bias)
    torch.testing.assert_close(batched.view(30, 6), expected)
    gradient = torch.func.grad(lambda x: layer_norm(x, weight, bias).square().sum())(x)
    torch.testing.assert_close(gradient, torch.func.grad(lambda x: plain(x, weight, bias).square().sum())(x))
    tangent = torch.randn(30, 6)
    with forward_ad.dual_level():
        duals = [f(forward_ad.make_dual(x, tangent), weight, bias) for f in (layer_norm, plain)]
        torch.testing.assert_close(*(forward_ad.unpack_dual(dual).tangent for dual in duals))
    traced = torch.jit.trace(lambda x: layer_norm(x, weight, bias), x, check_trace=False)  # the check is not traced
    torch.testing.assert_close(traced(x[:11]), expected[:11])
    torch._dynamo.reset()
    compiled = torch.compile(layer_norm, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, bias), expected)
    assert not computed


def wrong_arguments() -> dict[str, Arguments]:
    x, weight, bias = detached(arguments(30, 6))
    half = x.bfloat16()
    return {
        "width of the weight": (x, weight[:5], bias),
        "width of the bias": (x, weight, bias[:5]),
        "shape of the weight": (x, weight[None], bias),
        "parameters of another width": (x[:, :5], weight, bias),
        "one parameter for all": (x, weight[:1], bias[:1]),
        "weight of another dtype": (x, weight.bfloat16(), bias),
        "bias of another dtype": (x, weight, bias.double()),
        "parameters of a narrower dtype": (x, weight.bfloat16(), bias.bfloat16()),
        "parameters of two dtypes": (half, weight, bias.bfloat16()),
        "no dimension": (x[0, 0], None, None),
        "integers": (x.long(), None, None),
        "sparse": (x.to_sparse(), weight, bias),
        "sparse weight": (x, weight.to_sparse(), None),
        "another device": (x, weight.to("meta"), bias.to("meta")),
    }


@pytest.mark.parametrize("wrong", wrong_arguments())
def test_errors_are_those_of_pytorch(wrong: str, computed: list[str]) -> None:
    inputs = wrong_arguments()[wrong]
    with pytest.raises((RuntimeError, NotImplementedError)) as expected:
        plain(*inputs)
    with pytest.raises((RuntimeError, NotImplementedError)) as raised:
        layer_norm(*inputs)
    assert type(raised.value) is type(expected.value)
    assert str(raised.value) == str(expected.value)
    assert not computed


@pytest.mark.parametrize(("dtype", "of_parameters"), KINDS)
def test_not_a_number_and_infinity_stay_in_their_rows(dtype: torch.dtype, of_parameters: torch.dtype) -> None:
    inputs = arguments(30, 6, dtype=dtype, of_parameters=of_parameters)
    with torch.no_grad():
        inputs[0][4, 1], inputs[0][20, 0] = float("nan"), float("inf")
    dy = torch.randn(30, 6).to(dtype)
    dy[7, 3] = float("nan")
    for got, want in zip(*((f(*inputs), *gradients(f, inputs, dy)) for f in (layer_norm, plain)), strict=True):
        assert torch.equal(got.isnan(), want.isnan())
        assert torch.equal(got.isfinite(), want.isfinite())


def test_the_number_of_threads_changes_nothing() -> None:
    inputs = arguments(1500, 100)
    dy = torch.randn(1500, 100)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            y = layer_norm(*inputs)
            results.append((y, *torch.autograd.grad(y, given(inputs), dy)))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_two_python_threads_at_once() -> None:
    inputs = arguments(700, 64)
    dy = torch.randn(700, 64)

    def run() -> tuple[Tensor, ...]:
        y = layer_norm(*inputs)
        return y, *torch.autograd.grad(y, given(inputs), dy)

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
