"""The feed-forward network in chunks against the same written in plain PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad

from pyemo.nn import feed_forward as module
from pyemo.nn.feed_forward import feed_forward

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


@pytest.fixture(autouse=True)
def seven_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of seven tokens for 12 hidden channels of float64 on one thread."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 7 * 12 * 8)


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


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(8, 3), (2, 3, 5, 3), (15, 1), (1, 29, 3)])
def test_values(shape: tuple[int, ...], bias: bool, approximate: str, chunks: list[int]) -> None:
    inputs = arguments(*shape, bias=bias)
    with torch.no_grad():
        expected = plain(*inputs, approximate)
        torch.testing.assert_close(feed_forward(*inputs, approximate), expected)
    assert max(chunks) <= 7
    assert sum(chunks) == expected.numel() // 5
    frozen: Any = [None if each is None else each.detach() for each in inputs]
    torch.testing.assert_close(feed_forward(*frozen, approximate), expected)


@pytest.mark.parametrize("learned", range(5))
def test_whenever_a_gradient_is_wanted_there_is_one(learned: int, chunks: list[int]) -> None:
    inputs: Any = [None if each is None else each.detach() for each in arguments(3, 5, 3)]
    inputs[learned].requires_grad_()
    y = feed_forward(*inputs)
    dy = torch.randn_like(y)
    (got,), (want,) = (torch.autograd.grad(each, inputs[learned], dy) for each in (y, plain(*inputs)))
    torch.testing.assert_close(got, want)
    assert chunks == [15], "the whole at once: a gradient needs all of it"


def test_rows_are_dealt_out_evenly(chunks: list[int]) -> None:
    with torch.no_grad():
        feed_forward(*arguments(22, 3))
    assert chunks == [6, 6, 6, 4]


def test_chunks_are_not_small_beside_the_weights(chunks: list[int]) -> None:
    with torch.no_grad():
        feed_forward(*arguments(32, 16))
        assert chunks == [32]
        feed_forward(*arguments(33, 16))
    assert chunks == [32, 17, 16]


def test_what_fits_into_a_chunk(chunks: list[int]) -> None:
    inputs = arguments(7, 3)
    with torch.no_grad():
        assert torch.equal(feed_forward(*inputs), plain(*inputs))
    assert chunks == [7]


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (9, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    inputs = arguments(*shape)
    with torch.no_grad():
        assert torch.equal(feed_forward(*inputs), plain(*inputs))


def test_strides(chunks: list[int]) -> None:
    x, _, *others = arguments(4, 5, 6)
    inputs: Any = (x.transpose(0, 2)[..., 1:], torch.randn(3, 12, dtype=torch.float64).t(), *others)
    assert not any(each.is_contiguous() for each in inputs[:2])
    with torch.no_grad():
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs))
    assert chunks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_is_as_near_as_pytorch(dtype: torch.dtype, chunks: list[int]) -> None:
    inputs = arguments(2400, 16, hidden=24, out=16, dtype=dtype)
    exact: Any = [None if each is None else each.double() for each in inputs]
    with torch.no_grad():
        want, got, other = plain(*exact), feed_forward(*inputs), plain(*inputs)
    assert len(chunks) == 75
    assert got.dtype == dtype
    error, usual = ((each.double() - want).abs().max() / want.abs().max() for each in (got, other))
    assert error <= 1.5 * usual + torch.finfo(dtype).eps


def test_autocast(chunks: list[int]) -> None:
    inputs = arguments(60, 3, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            y = feed_forward(*inputs)
        assert chunks
        learned = feed_forward(*inputs)
    assert y.dtype == learned.dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(*inputs)
    torch.testing.assert_close(y, expected, rtol=3e-2, atol=3e-2)
    torch.testing.assert_close(learned, expected, rtol=3e-2, atol=3e-2)
    dy = torch.randn_like(expected)
    for got, want in zip(*(torch.autograd.grad(each, inputs, dy) for each in (learned, expected)), strict=True):  # type: ignore[arg-type]
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=3e-2, atol=1e-1)


def test_transforms() -> None:
    inputs = arguments(4, 9, 3)
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


def test_tracing_keeps_the_number_of_tokens_open() -> None:
    parameters: Any = [None if each is None else each.detach() for each in arguments(1, 3)[1:]]
    traced = torch.jit.trace(lambda x: feed_forward(x, *parameters), torch.randn(30, 3, dtype=torch.float64))
    x = torch.randn(41, 3, dtype=torch.float64)
    torch.testing.assert_close(traced(x), plain(x, *parameters))


def test_not_a_number_and_infinity_stay_in_their_rows() -> None:
    inputs = arguments(30, 3)
    with torch.no_grad():
        inputs[0][4, 1], inputs[0][20, 0] = float("nan"), float("inf")
        torch.testing.assert_close(feed_forward(*inputs), plain(*inputs), equal_nan=True)


@pytest.mark.parametrize("wrong", ["width", "dtype", "weight2", "integers"])
def test_errors_are_those_of_pytorch(wrong: str) -> None:
    x, weight1, bias1, weight2, bias2 = arguments(30, 3)
    if wrong == "width":
        x = torch.randn(30, 4, dtype=torch.float64)
    elif wrong == "dtype":
        x = x.float()
    elif wrong == "weight2":
        weight2 = torch.randn(5, 13, dtype=torch.float64)
    else:
        x, weight1, weight2 = (each.long() for each in (x, weight1, weight2))
        bias1 = bias2 = None
    with torch.no_grad(), pytest.raises(RuntimeError) as expected:
        plain(x, weight1, bias1, weight2, bias2)
    with torch.no_grad(), pytest.raises(RuntimeError) as raised:
        feed_forward(x, weight1, bias1, weight2, bias2)
    if wrong != "weight2":  # the same but for the number of rows
        assert str(raised.value) == str(expected.value)
