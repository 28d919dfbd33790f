from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

import pyemo
from pyemo.errors import ModelError
from pyemo.evaluation.attention import attention_maps


def call(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)  # type: ignore[no-any-return]


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def stretched(maps: Tensor, side: int) -> np.ndarray:
    large = nn.functional.interpolate(maps[:, None], (side, side), mode="bilinear")[:, 0]
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return ((large - low) / (high - low)).numpy()


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_roll_out_of_a_vit_is_the_product_of_its_attentions(pool: str) -> None:
    torch.manual_seed(0)
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=3, num_classes=4, global_pool=pool, class_token=pool == "token"
    ).eval()
    x = images(64)
    fused = [block.attn.fused_attn for block in vit.blocks]
    maps, method = attention_maps(vit, x, call)
    assert method == "attention roll-out"
    assert [block.attn.fused_attn for block in vit.blocks] == fused
    # By hand, layer by layer, with the attention recomputed from queries and keys.
    flow = None
    with torch.no_grad():
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(x)))
        for block in vit.blocks:
            own = block.attn
            qkv = own.qkv(block.norm1(tokens)).reshape(*tokens.shape[:2], 3, own.num_heads, -1).permute(2, 0, 3, 1, 4)
            weights = (qkv[0] @ qkv[1].transpose(-1, -2) * own.scale).softmax(-1).mean(1)
            step = 0.5 * weights + 0.5 * torch.eye(weights.shape[-1])
            flow = step if flow is None else step @ flow
            tokens = block(tokens)
    assert flow is not None
    read = flow[:, 0, 1:] if pool == "token" else flow.mean(1)
    np.testing.assert_allclose(maps, stretched(read.reshape(2, 4, 4), 64), atol=1e-4)


def dense(weights: Tensor, size: tuple[int, int], window: int, shift: int) -> Tensor:
    """The token-to-token matrix (H W, H W) of one image's windowed attention, from the definition."""
    height, width = size
    matrix = torch.zeros(height * width, height * width)
    per_line = width // window
    for number, block in enumerate(weights):
        top, left = number // per_line * window, number % per_line * window
        places = [
            (top + y + shift) % height * width + (left + x + shift) % width
            for y in range(window)
            for x in range(window)
        ]
        matrix[torch.tensor(places)[:, None], torch.tensor(places)] = block
    return matrix


@pytest.mark.parametrize("architecture", ["swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256"])
def test_roll_out_of_swin_is_the_product_of_its_windows(architecture: str) -> None:
    torch.manual_seed(0)
    swin = timm.create_model(
        architecture, img_size=64, window_size=4, depths=(2, 2), embed_dim=24, num_heads=(2, 4), num_classes=3
    ).eval()
    x = images(64, 1)
    maps, method = attention_maps(swin, x, call)
    assert method == "attention roll-out through windows"
    found: list[Tensor] = []
    blocks = [block for stage in swin.layers for block in stage.blocks]
    for block in blocks:
        if hasattr(block.attn, "fused_attn"):
            block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _part, _inputs, weights: found.append(weights))
    with torch.no_grad():
        swin(x)
    assert [block.shift_size for block in blocks] == [(0, 0), (2, 2), (0, 0), (2, 2)]
    relevance = torch.full((64,), 1.0)
    for number in (3, 2, 1, 0):
        side = 16 if number < 2 else 8
        shift = 2 if number % 2 else 0
        mixing = dense(found[number].mean(1), (side, side), 4, shift)
        torch.testing.assert_close(mixing.sum(1), torch.ones(side * side))
        relevance = 0.5 * (relevance @ mixing + relevance)
        if number == 2:  # the patches were merged two by two
            relevance = torch.kron(relevance.reshape(8, 8), torch.full((2, 2), 0.25)).flatten()
    np.testing.assert_allclose(maps, stretched(relevance.reshape(1, 16, 16), 64), atol=1e-4)


def test_fused_attention_is_left_in_place() -> None:
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=64, window_size=4, depths=(2, 2), embed_dim=24, num_heads=(2, 4)
    ).eval()
    x = images(64, 1)
    plain, _ = attention_maps(swin, x, call)
    pyemo.accelerate(swin)
    kinds = [type(part) for part in swin.modules()]
    fused, _ = attention_maps(swin, x, call)
    np.testing.assert_allclose(fused, plain, atol=1e-4)
    assert [type(part) for part in swin.modules()] == kinds


class Spots(nn.Module):
    """Class 0 likes red, class 1 blue, wherever it is."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 1, bias=False)
        self.head = nn.Linear(4, 2, bias=False)
        with torch.no_grad():
            self.features.weight.zero_()[[0, 1], [0, 2]] = 1.0
            self.head.weight.zero_()[[0, 1], [0, 1]] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu().mean(dim=(2, 3)))


def test_grad_cam_shows_what_speaks_for_the_class() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[0, 0, 4:12, 4:12] = 1.0  # red
    x[0, 2, 20:28, 20:24] = 1.0  # a smaller blue
    model = Spots().train()
    red, method = attention_maps(model, x, call)
    assert method == "Grad-CAM"
    assert model.training
    assert red[0, 6, 6] == 1
    assert red[0, 22, 22] == 0
    blue, _ = attention_maps(model, x, call, torch.tensor([1]))
    assert blue[0, 6, 6] == 0
    assert blue[0, 22, 22] == 1
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_to_show() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    with pytest.raises(ModelError, match="Sequential has neither attention nor feature maps"):
        attention_maps(flat, images(8), call)
