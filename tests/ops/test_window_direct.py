"""Calls past Python, of tensors that the native module reads itself: the same results, and nothing that is not for it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pyemo.ops import window_attention, windows
from pyemo.ops.direct import connected
from pyemo.ops.native import native
from pyemo.ops.reference import windows as reference

pytestmark = pytest.mark.skipif(
    not connected, reason="PyTorch has no exchange API, or pyemo was built without its native module"
)

HEADS = 2
GEOMETRY = (HEADS, (3, 4), (1, 2), None)


def inputs(dtype: torch.dtype = torch.float32, grad: bool = False) -> tuple[Tensor, Tensor]:
    qkv, bias = torch.randn(2, 6, 8, 3 * HEADS * 16).to(dtype), torch.randn(HEADS, 12, 12).to(dtype)
    return qkv.requires_grad_(grad), bias.requires_grad_(grad)


def call(*tensors: Any, geometry: tuple[Any, ...] = GEOMETRY, grad_enabled: bool = False) -> Any:
    qkv, bias, mask, logit_scale = (*tensors, None, None, None)[:4]
    return native.direct_window_attention(qkv, bias, mask, logit_scale, *geometry, 2, grad_enabled)  # type: ignore[union-attr]


def learn(qkv: Tensor, bias: Tensor, geometry: tuple[Any, ...] = GEOMETRY) -> Any:
    return native.direct_window_attention_learning(qkv, bias, None, None, *geometry, 2)  # type: ignore[union-attr]


def differentiate(grad: Tensor, qkv: Tensor, bias: Tensor, kept: Any, geometry: tuple[Any, ...] = GEOMETRY) -> Any:
    wishes = 2, True, False, kept
    return native.direct_window_attention_backward(grad, qkv, bias, None, None, *geometry, *wishes)  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("window", [3, (3, 4), [2, 8]], ids=str)
@pytest.mark.parametrize("beside", ["nothing", "bias", "bias and mask", "cosine"])
def test_the_same_bits_as_through_python(
    monkeypatch: pytest.MonkeyPatch, isa: str, beside: str, window: Any, dtype: torch.dtype
) -> None:
    height, width = (window, window) if isinstance(window, int) else window
    tokens, side = height * width, (2 * height, 3 * width)
    options: dict[str, Any] = {"num_heads": HEADS, "window_size": window, "shift_size": (1, 0)}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    leaves = [torch.randn(2, *side, 3 * HEADS * 16).to(dtype).requires_grad_()]
    if beside != "nothing":
        leaves.append(torch.randn(HEADS, tokens, tokens).to(dtype).requires_grad_())
    if beside == "bias and mask":
        options["mask"] = torch.randn(6, tokens, tokens, dtype=wide)
    if beside == "cosine":
        options["logit_scale"] = torch.tensor([3.0, 50.0], dtype=wide).requires_grad_()
        leaves.append(options["logit_scale"])
    grad = torch.randn(2, *side, HEADS * 16).to(dtype)

    def results() -> list[Tensor]:
        output = window_attention(*leaves[:2] if beside != "nothing" else leaves[:1], **options)
        with torch.no_grad():
            again = window_attention(*leaves[:2] if beside != "nothing" else leaves[:1], **options)
        return [output, again, *torch.autograd.grad(output, leaves, grad)]

    straight = results()
    monkeypatch.setattr(windows, "connected", False)
    for got, want in zip(straight, results(), strict=True):
        assert got.dtype == want.dtype
        assert got.is_contiguous()
        assert torch.equal(got, want)


def test_what_it_answers() -> None:
    qkv, bias = inputs()
    assert isinstance(call(qkv, bias), Tensor)
    assert isinstance(call(qkv, bias, grad_enabled=True), Tensor)
    assert call(qkv, bias.clone().requires_grad_(), grad_enabled=True) is True
    assert isinstance(call(qkv, bias.clone().requires_grad_()), Tensor)
    assert isinstance(call(nn.Parameter(qkv), bias), Tensor)
    output = call(qkv, bias)
    assert type(output) is Tensor
    assert not output.requires_grad
    output.resize_(1000)  # its memory is PyTorch's own


class Subclass(Tensor):
    pass


REFUSED: dict[str, Callable[[Tensor, Tensor], tuple[Any, ...]]] = {
    "subclass": lambda qkv, bias: (qkv.as_subclass(Subclass), bias),
    "subclass beside": lambda qkv, bias: (qkv, bias.as_subclass(Subclass)),
    "array": lambda qkv, bias: (qkv.numpy(), bias.numpy()),
    "nothing": lambda qkv, bias: (None, bias),
    "meta": lambda qkv, bias: (qkv.to("meta"), bias.to("meta")),
    "sparse": lambda qkv, bias: (qkv.to_sparse(), bias),
    "sign": lambda qkv, bias: (torch._neg_view(qkv), bias),
    "zero": lambda qkv, bias: (torch._efficientzerotensor(*qkv.shape), bias),
    "a part of zero": lambda qkv, bias: (torch._efficientzerotensor(4, *qkv.shape[1:])[2:], bias),
    "dimensions": lambda qkv, bias: (qkv[0], bias),
    "integers": lambda qkv, bias: (qkv.to(torch.int16), bias),
    "complex": lambda qkv, bias: (qkv.to(torch.complex64), bias),
    "channels": lambda qkv, bias: (qkv[..., :-1], bias),
    "no channels": lambda qkv, bias: (qkv[..., :0], bias),
    "channels apart": lambda qkv, bias: (qkv.transpose(1, 3).contiguous().transpose(1, 3), bias),
    "bias apart": lambda qkv, bias: (qkv, bias.transpose(1, 2)),
    "shape of bias": lambda qkv, bias: (qkv, bias[:1]),
    "dtype of bias": lambda qkv, bias: (qkv, bias.double()),
    "shape of mask": lambda qkv, bias: (qkv, bias, torch.zeros(3, 12, 12)),
    "dtype of logit_scale": lambda qkv, bias: (qkv, bias, None, torch.ones(HEADS, dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_it_leaves_to_python(change: Callable[[Tensor, Tensor], tuple[Any, ...]]) -> None:
    assert call(*change(*inputs())) is None


@pytest.mark.parametrize(
    "geometry",
    [
        (0, (3, 4), (1, 2), None),
        (-1, (3, 4), (1, 2), None),
        (2.0, (3, 4), (1, 2), None),
        (2**40, (3, 4), (1, 2), None),
        (2, (3, 4, 1), (1, 2), None),
        (2, (4, 4), (1, 2), None),
        (2, (3, 0), (0, 0), None),
        (2, "34", (1, 2), None),
        (2, (3, 4), (3, 2), None),
        (2, (3, 4), (-1, 2), None),
        (2, (3, 4), (1, 2.0), None),
        (2, (3, 4), (1, 2), 1),
        (2, (3, 4), (1, 2), "1"),
    ],
    ids=str,
)
def test_geometry_that_it_leaves_to_python(geometry: tuple[Any, ...]) -> None:
    assert call(*inputs(), geometry=geometry) is None


def test_a_mask_that_wants_a_gradient_is_left_to_python() -> None:
    mask = torch.zeros(4, 12, 12, requires_grad=True)
    assert call(*inputs(), mask, grad_enabled=True) is None
    assert isinstance(call(*inputs(), mask), Tensor)


class Functions(TorchFunctionMode):
    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "watching", [Functions, Operators, lambda: torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])]
)
def test_nothing_past_who_watches(watching: Callable[[], Any]) -> None:
    qkv, bias = inputs()
    with watching():
        assert call(qkv, bias) is None
        assert learn(qkv, bias) is None
        assert differentiate(torch.ones(2, 6, 8, 32), qkv, bias, None) is None
    assert call(qkv, bias) is not None


def test_nothing_past_tracers_and_transforms() -> None:
    qkv, bias = inputs()
    answers = []

    def look(x: Tensor) -> Tensor:
        answers.append(call(qkv, bias))
        return x * 1

    torch.jit.trace(look, torch.ones(2), check_trace=False)
    torch.vmap(look)(torch.ones(2))
    assert answers
    assert all(answer is None for answer in answers)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("window", [(3, 4), (6, 8), (1, 1), (7, 7), (3, 11)], ids=str)
def test_what_is_kept_changes_nothing(isa: str, window: tuple[int, int], dtype: torch.dtype) -> None:
    geometry = (HEADS, window, (0, window[1] // 2), None)
    qkv = torch.randn(2, window[0], 2 * window[1], 3 * HEADS * 16).to(dtype)
    bias = torch.randn(HEADS, window[0] * window[1], window[0] * window[1]).to(dtype)
    output, kept = learn(qkv, bias, geometry)
    assert torch.equal(output, call(qkv, bias, geometry=geometry))
    assert isinstance(kept, Tensor)
    grad = torch.randn_like(output)
    expected = differentiate(grad, qkv, bias, None, geometry)
    for _ in range(2):  # nor does it change
        got = differentiate(grad, qkv, bias, kept, geometry)
        assert torch.equal(got[0], expected[0])
        assert torch.equal(got[1], expected[1])
        assert got[2] is None


def test_not_everything_is_kept() -> None:
    """Neither what is large, nor the cosine attention of bfloat16 products."""
    qkv = torch.randn(8, 56, 56, 288)
    output, kept = learn(qkv, torch.randn(3, 49, 49), (3, 7, 0, None))
    assert kept is None
    assert output.shape == (8, 56, 56, 96)
    kept = learn(qkv[:1], torch.randn(3, 49, 49), (3, 7, 0, None))[1]
    assert 64 * 3 * 49 * 49 <= kept.numel() <= 64 * 3 * 49 * 64


def test_something_else_in_its_place_is_not_used() -> None:
    qkv, bias = inputs()
    output, kept = learn(qkv, bias)
    grad = torch.randn_like(output)
    expected = differentiate(grad, qkv, bias, kept)
    shifted = torch.empty(kept.numel() + 1)[1:].copy_(kept)  # not aligned to 8 bytes
    for other in (
        kept[:-16].clone(),
        kept.new_full((kept.numel() + 16,), 3.0),
        shifted,
        kept.expand(1, -1).contiguous(),
    ):
        assert torch.equal(differentiate(grad, qkv, bias, other)[0], expected[0])
    assert differentiate(grad, qkv, bias, kept.to("meta")) is None


def test_another_instruction_set_for_the_backward_pass() -> None:
    """Its gradients are right, if not the same bits."""
    before = native.isa()  # type: ignore[union-attr]
    isas = native.supported_isas()  # type: ignore[union-attr]
    qkv = torch.randn(2, 14, 14, 3 * HEADS * 16, requires_grad=True)
    bias = torch.randn(HEADS, 49, 49, requires_grad=True)
    options: dict[str, Any] = {"num_heads": HEADS, "window_size": 7, "shift_size": 3}
    grad = torch.randn(2, 14, 14, HEADS * 16)
    want = torch.autograd.grad(reference.window_attention(qkv, bias, **options), (qkv, bias), grad)
    try:
        for first in isas:
            for second in isas:
                native.set_isa(first)  # type: ignore[union-attr]
                output = window_attention(qkv, bias, **options)
                native.set_isa(second)  # type: ignore[union-attr]
                for got, expected in zip(torch.autograd.grad(output, (qkv, bias), grad), want, strict=True):
                    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    finally:
        native.set_isa(before)  # type: ignore[union-attr]


def test_a_graph_that_is_kept_for_a_second_time() -> None:
    qkv, bias = inputs(grad=True)
    output = window_attention(qkv, bias, num_heads=HEADS, window_size=(3, 4))
    first = torch.autograd.grad(output.sum(), (qkv, bias), retain_graph=True)
    second = torch.autograd.grad(output.sum(), (qkv, bias))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_hooks_on_saved_tensors() -> None:
    """What they give back may lie elsewhere, as after offloading."""
    qkv, bias = inputs(grad=True)

    def gradients() -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            window_attention(qkv, bias, num_heads=HEADS, window_size=(3, 4)).square().sum(), (qkv, bias)
        )

    expected = gradients()
    for unpack in (torch.clone, lambda t: t.as_subclass(Subclass)):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), unpack):
            got = gradients()
        assert all(torch.equal(a.as_subclass(Tensor), b) for a, b in zip(got, expected, strict=True))


class Api(ctypes.Structure):
    """The head of DLPack's exchange API."""


Api._fields_ = [
    ("major", ctypes.c_uint32),
    ("minor", ctypes.c_uint32),
    ("previous", ctypes.POINTER(Api)),
    ("functions", ctypes.c_void_p * 5),
]


def test_an_api_of_another_version_is_not_used() -> None:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    newer = Api(major=2, minor=0)
    capsule = make(ctypes.addressof(newer), b"dlpack_exchange_api", None)
    assert native.connect(capsule, (), (), (), torch.empty_like) is False  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        native.connect(make(ctypes.addressof(newer), b"other", None), (), (), (), torch.empty_like)  # type: ignore[union-attr]
    assert call(*inputs()) is not None  # as before
