from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from dense_products import Products
from torch import Tensor

from pyemo.nn import feed_forward, layer_norm
from pyemo.nn import products as module
from pyemo.ops.native import View, code_of, native


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small networks of these tests go through the kernels of pyemo or oneDNN, and in chunks."""
    monkeypatch.setattr(module, "_LEAST_OPERATIONS", 0)
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    monkeypatch.setattr(feed_forward, "_CHUNK_BYTES", 2**10)
    monkeypatch.setattr(layer_norm, "_LEAST_ELEMENTS", 0)


@pytest.fixture(params=["pyemo", "onednn"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Products]:
    """Runs the test with pyemo's own kernels and with oneDNN's; a test may ask for others. Each is to compute all the products that it can."""
    noting = Products(request.param)
    if request.param == "onednn":
        if module._operator is None:
            pytest.skip("this PyTorch has no oneDNN")
        monkeypatch.setattr(module, "_LEAST_ROWS", sys.maxsize)
    elif request.param == "pyemo" and (native is None or not native.has_layer(code_of(torch.float32))):
        pytest.skip("pyemo has no kernels for this machine")
    operator = module._operator

    def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None, *then: Any) -> Tensor:
        noting.noted.append(("onednn", x.dtype, {"": "", "none": "gelu", "tanh": "gelu-tanh"}.get(then[-1], "unknown")))
        return operator(x, weight, bias, *then)

    def note(x: View, then: str) -> None:
        noting.noted.append(("pyemo", {code_of(each): each for each in (torch.float32, torch.bfloat16)}[x[1]], then))

    def layer(x: View, weight: View, bias: View | None, then: str, *others: Any) -> None:
        note(x, then)
        native_layer(x, weight, bias, then, *others)

    def chained(x: View, weight: View, bias: View | None, then: str, *others: Any) -> None:
        note(x, f"{then}, chained")
        native_feed_forward(x, weight, bias, then, *others)

    if operator is not None:
        monkeypatch.setattr(module, "_operator", by_onednn)
    if native is not None:
        native_layer, native_feed_forward = native.layer, native.feed_forward
        monkeypatch.setattr(native, "layer", layer)
        monkeypatch.setattr(native, "feed_forward", chained)
    yield noting
    for by, dtype, _ in noting.noted:
        assert by == noting.by(dtype)
