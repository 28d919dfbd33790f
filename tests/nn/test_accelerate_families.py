"""Accelerated models of timm and torchvision give what they gave before: outputs, and gradients of all parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers import LayerNorm2d
from timm.models.gcvit import GlobalContextVit
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.swin_transformer_v2_cr import SwinTransformerV2Cr
from torch import Tensor, nn

import pyemo
from pyemo.ops.native import native

pytestmark = pytest.mark.skipif(native is None, reason="pyemo was built without its native module")

Size = tuple[int, int]


def timm_swin(kind: type[nn.Module], size: Size, window: Any, **options: Any) -> Callable[[], nn.Module]:
    settings: dict[str, Any] = {
        "patch_size": 2,
        "num_classes": 3,
        "embed_dim": 16,
        "depths": (2, 2),
        "num_heads": (2, 4),
    }
    return lambda: kind(img_size=size, window_size=window, **{**settings, **options})


def torchvision_swin(version: int, window: list[int], **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        swin = pytest.importorskip("torchvision.models.swin_transformer")
        if version == 2:
            options.update(block=swin.SwinTransformerBlockV2, downsample_layer=swin.PatchMergingV2)
        return swin.SwinTransformer([2, 2], 16, [2, 2], [2, 4], window, num_classes=3, **options)

    return make


def maxvit() -> nn.Module:
    small: dict[str, Any] = {"depths": (1, 1), "embed_dim": (32, 64), "block_type": ("M", "M"), "stem_width": 16}
    return timm.create_model("maxvit_tiny_tf_224", img_size=64, num_classes=3, **small)


def gcvit() -> nn.Module:
    return GlobalContextVit(
        img_size=64, num_classes=3, depths=(2, 2), num_heads=(1, 2), embed_dim=16, window_size=(4, 4)
    )


DYNAMIC = {"strict_img_size": False}

OTHERS = {"Mlp", "MLP", "Linear", "LayerNorm", "LayerNorm2d"}
"""What has an entry in the report without being windowed attention."""

# Constructor, size of the images, modules with windowed attention, each beside an MLP.
FAMILIES: dict[str, tuple[Callable[[], nn.Module], Size, int]] = {
    "swin": (timm_swin(SwinTransformer, (56, 56), 7), (56, 56), 4),
    "swin, padded": (timm_swin(SwinTransformer, (46, 60), (5, 4)), (46, 60), 4),
    "swin, one window": (timm_swin(SwinTransformer, (16, 16), 8), (16, 16), 4),
    "swin, one window shifted": (timm_swin(SwinTransformer, (12, 12), 8, always_partition=True), (12, 12), 4),
    "swin, heads of 24 channels": (timm_swin(SwinTransformer, (28, 28), 7, head_dim=24), (28, 28), 4),
    "swin, any size": (timm_swin(SwinTransformer, (56, 56), 7, **DYNAMIC), (56, 84), 4),
    "swin, any size, padded": (timm_swin(SwinTransformer, (56, 56), 5, **DYNAMIC), (46, 62), 4),
    "swin without biases": (timm_swin(SwinTransformer, (28, 28), 7, qkv_bias=False), (28, 28), 4),
    "swinv2": (timm_swin(SwinTransformerV2, (32, 32), 8), (32, 32), 4),
    "swinv2, padded": (timm_swin(SwinTransformerV2, (46, 60), (5, 3), **DYNAMIC), (46, 60), 4),
    "swinv2 without biases": (timm_swin(SwinTransformerV2, (28, 28), 7, qkv_bias=False), (28, 28), 4),
    "swinv2, pretrained window": (timm_swin(SwinTransformerV2, (28, 28), 7, pretrained_window_sizes=(4, 4)), (28, 28), 4),
    "swinv2-cr": (timm_swin(SwinTransformerV2Cr, (28, 28), 7), (28, 28), 4),
    "swinv2-cr, padded": (timm_swin(SwinTransformerV2Cr, (46, 60), 5), (46, 60), 4),
    "torchvision swin": (torchvision_swin(1, [7, 7]), (56, 56), 4),
    "torchvision swin, padded": (torchvision_swin(1, [3, 5]), (50, 60), 4),
    "torchvision swin, one window": (torchvision_swin(1, [8, 8]), (24, 40), 4),
    "torchvision swinv2": (torchvision_swin(2, [7, 7]), (56, 56), 4),
    "torchvision swinv2, padded": (torchvision_swin(2, [5, 3]), (50, 60), 4),
    "maxvit": (maxvit, (64, 64), 4),
    "gcvit": (gcvit, (64, 64), 4),
}  # fmt: skip


def make(family: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Tensor]:
    """The model, none of its parameters at a constant, and a batch for it."""
    torch.manual_seed(0)
    constructor, size, _ = FAMILIES[family]
    model = constructor().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model, torch.randn(2, 3, *size, dtype=dtype)


def run(model: nn.Module, images: Tensor, weight: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    torch.manual_seed(1)  # of stochastic depth
    model.zero_grad()
    output = model(images)
    (output * weight).sum().backward()
    return output.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_stay(family: str, training: bool) -> None:
    """In float64, where nothing but the order of sums can differ."""
    model, images = make(family, torch.float64)
    original = copy.deepcopy(model)
    report = pyemo.accelerate(model)
    kinds = [entry.kind for entry in report.entries]
    assert sum(kind in ("Mlp", "MLP") for kind in kinds) == FAMILIES[family][2], report
    assert sum(kind not in OTHERS for kind in kinds) == FAMILIES[family][2], report
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.LayerNorm)]
    channels_first = [name for name in norms if isinstance(model.get_submodule(name), LayerNorm2d)]
    assert list(report.left_alone) == channels_first
    assert set(report.swapped) >= set(norms) - set(channels_first)
    weight = torch.randn(2, 3, dtype=torch.float64)
    for each in (model, original):
        each.train(training)
        for module in each.modules():
            if isinstance(module, nn.Dropout):
                module.eval()  # the position network of swinv2-cr has one: drawn in another order
    output, grads = run(model, images, weight)
    expected, expected_grads = run(original, images, weight)
    torch.testing.assert_close(output, expected, rtol=1e-8, atol=1e-8)
    largest = max(grad.abs().max().item() for grad in expected_grads.values() if grad is not None)
    for name, grad in expected_grads.items():
        got = grads[name]
        assert (got is None) == (grad is None), name
        if grad is not None and got is not None:
            assert (got - grad).abs().max() <= 1e-8 * max(grad.abs().max().item(), 1e-3 * largest), name


@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_without_gradients(family: str) -> None:
    """In float32 and bfloat16, with the position bias kept from the first call."""
    model, images = make(family)
    model.eval()
    with torch.no_grad():
        expected = model(images)
        pyemo.accelerate(model)
        for _ in range(2):
            torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
        half = model.bfloat16()(images.bfloat16())
        assert half.dtype == torch.bfloat16
        pyemo.restore(model)
        exact = model.double()(images.bfloat16().double())  # of the rounded parameters
        assert (half - exact).abs().max() < 0.1 * exact.abs().max()


@pytest.mark.parametrize(
    "family", ["swin", "swinv2, padded", "swinv2-cr", "torchvision swin, padded", "torchvision swinv2"]
)
def test_autocast(family: str) -> None:
    model, images = make(family)
    model.eval()
    exact = model(images)
    pyemo.accelerate(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images)
    assert (output - exact).abs().max() < 0.1 * exact.abs().max()
    output.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


COMPILED = [
    "swin, any size, padded",
    "swinv2",
    "swinv2-cr",
    "torchvision swin, padded",
    "torchvision swinv2",
]


@pytest.mark.parametrize("family", COMPILED)
def test_a_module_compiled_in_one_graph(family: str) -> None:
    torch._dynamo.reset()
    model, images = make(family)
    model.eval()
    _, module = [module for module in model.modules() if type(module).__name__ in report_kinds(model)][:2]  # it shifts
    maps: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, arguments: maps.append(arguments[0].detach()))
    model(images)
    hook.remove()
    expected = module(maps[0])
    assert pyemo.accelerate(module).swapped[0] == ""
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    output = compiled(maps[0])
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)
    output.sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(compiled(maps[0]), expected, rtol=1e-4, atol=1e-4)


def report_kinds(model: nn.Module) -> set[str]:
    return {entry.kind for entry in pyemo.accelerate(copy.deepcopy(model)).entries} - OTHERS


def test_a_model_compiled_in_one_graph() -> None:
    torch._dynamo.reset()
    model = SwinTransformer(28, patch_size=2, num_classes=3, embed_dim=16, depths=(2,), num_heads=(2,)).eval()
    images = torch.randn(2, 3, 28, 28)
    expected = model(images)
    assert len(pyemo.accelerate(model).swapped) == 9 + 6
    output = torch.compile(model, fullgraph=True, backend="aot_eager")(images)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-4)


def test_the_whole_of_swin_tiny() -> None:
    model = timm.create_model("swin_tiny_patch4_window7_224").eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected = model(images)
        assert len(pyemo.accelerate(model).swapped) == 4 * 12 + 4 + 29
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)
