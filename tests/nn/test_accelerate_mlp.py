"""What accelerate does to MLPs, which need no native module."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from dense_products import Products
from timm.layers import GELUTanh, Mlp
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import pyemo

pytestmark = pytest.mark.usefixtures("products")


def vit() -> Any:
    torch.manual_seed(0)
    return VisionTransformer(28, 2, num_classes=3, embed_dim=16, depth=4, num_heads=2).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def chunked_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The GELUs of the MLPs that take the fused path."""
    calls: list[str] = []
    from pyemo.nn import fused_mlp

    original = fused_mlp.feed_forward

    def noting(*arguments: Any) -> Tensor:
        calls.append(arguments[-1])
        return original(*arguments)

    monkeypatch.setattr(fused_mlp, "feed_forward", noting)
    return calls


@torch.no_grad()
def test_dropout_of_hidden_activations_takes_the_original_path(chunked_calls: list[str]) -> None:
    model = Mlp(16, 64, drop=0.5).eval()
    original = copy.deepcopy(model)
    assert "p=0.5" in pyemo.accelerate(model).entries[0].note
    x = torch.randn(2, 30, 16)
    torch.testing.assert_close(model(x), original(x))
    assert chunked_calls == ["none"]
    for each in (model, original):
        each.train()
    torch.manual_seed(3)
    output = model(x)
    torch.manual_seed(3)
    assert torch.equal(output, original(x))
    model.eval()
    model.drop1.train()  # as for Monte Carlo dropout
    assert not torch.equal(model(x), model(x))
    assert len(chunked_calls) == 1


@pytest.mark.parametrize("hooked", ["fc1", "act", "drop1", "fc2"])
def test_hooks_within_an_mlp_are_called(images: Tensor, hooked: str, chunked_calls: list[str]) -> None:
    model = vit()
    expected = model(images)
    pyemo.accelerate(model)
    seen: list[torch.Size] = []
    part = model.blocks[0].mlp.get_submodule(hooked)
    part.register_forward_hook(lambda module, arguments, output: seen.append(output.shape))
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)
    assert len(seen) == 1
    assert len(chunked_calls) == 3


def test_other_layers_within_an_mlp_are_called(images: Tensor, chunked_calls: list[str]) -> None:
    model = vit()
    model.blocks[3].mlp.act = nn.ReLU()
    original = copy.deepcopy(model)
    assert pyemo.accelerate(model).left_alone == {"blocks.3.mlp": "it has a ReLU in place of a GELU"}
    for each in (model, original):
        torch.manual_seed(1)
        mlps = [block.mlp for block in each.blocks]
        mlps[0].fc1 = nn.Sequential(mlps[0].fc1, nn.Linear(64, 64))
        mlps[1].act = GELUTanh()
        mlps[2].norm = nn.LayerNorm(64)
        nn.utils.parametrizations.weight_norm(mlps[2].fc2)
    torch.testing.assert_close(model(images), original(images), rtol=1e-4, atol=1e-4)
    assert chunked_calls == ["tanh"]


@pytest.mark.parametrize("training", [False, True])
def test_vision_transformer_of_torchvision(training: bool, chunked_calls: list[str], products: Products) -> None:
    vision = pytest.importorskip("torchvision.models.vision_transformer")
    torch.manual_seed(0)
    model = vision.VisionTransformer(32, 4, 2, 2, 16, 64, num_classes=3).train(training)
    nn.init.normal_(model.heads.head.weight)
    original = copy.deepcopy(model)
    assert [entry.kind for entry in pyemo.accelerate(model).entries if entry.swapped].count("MLPBlock") == 2
    images = torch.randn(2, 3, 32, 32)
    for each in (model, original):
        each(images).square().sum().backward()
    assert chunked_calls == ["none", "none"]
    assert products.then.count("gelu-backward") == (2 if products.kernels == "pyemo" else 0)
    for got, expected in zip(model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-4)


def test_special_weights_are_left_to_their_layers(images: Tensor, chunked_calls: list[str]) -> None:
    """Whether the model had them before or gets them later."""
    model = vit()
    expected = model(images)
    special = type("Special", (Tensor,), {})
    for index, accelerated in enumerate((False, True)):
        layer = model.blocks[index].mlp.fc2
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(special))
        if not accelerated:
            assert pyemo.accelerate(model).left_alone["blocks.0.mlp"] == "its weights are a special kind of tensor"
    torch.testing.assert_close(model(images).as_subclass(Tensor), expected, rtol=1e-4, atol=1e-4)
    assert len(chunked_calls) == 2
