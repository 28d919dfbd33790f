"""Where a network looks: attention roll-out of transformers, Grad-CAM of convolutional networks.

- Vision transformers: roll-out (Abnar & Zuidema, "Quantifying Attention Flow in Transformers", 2020): the product over the blocks of
  0.5 A + 0.5 I, A the attention averaged over the heads; read at the class token, or averaged over all tokens where there is none.
- Swin: the same product, carried backwards through (shifted) windows and patch merging, from a map in which all last tokens count alike,
  as its average pooling has it.
- Convolutional networks: Grad-CAM (Selvaraju et al. 2017) at the last feature maps with more than one position.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer import window_partition as partition
from timm.models.swin_transformer import window_reverse as reverse
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pyemo.errors import ModelError
from pyemo.nn import restore

Forward = Callable[[nn.Module, Tensor], Tensor]
"""``forward(model, images (B, C, H, W)) -> logits (B, classes)``."""


def attention_maps(
    model: nn.Module, images: Tensor, forward: Forward, classes: Tensor | None = None, *, within: str = ""
) -> tuple[np.ndarray, str]:
    """How much each place of each image counts.

    Args:
        model: contains a timm ViT, Swin or SwinV2, or else convolutions. Neither its weights nor its mode are changed; fused attention
            (:func:`pyemo.accelerate`) is undone in a copy.
        images: (B, C, H, W), normalised as the model wants them.
        forward: how the model is called.
        within: name of the submodule to look into, for models with several; default: the whole model.
        classes: (B,) which class's evidence Grad-CAM shows; default: the decided one. Roll-out does not depend on the class.

    Returns:
        Maps (B, H, W) float32, each from 0 to 1, and the name of the method.

    Raises:
        ModelError: the model has neither.
    """
    plain = restored(model)
    with _evaluating(plain):
        looked_at = plain.get_submodule(within)
        for part in looked_at.modules():
            if isinstance(part, VisionTransformer):
                return _finished(_vit(plain, part, images, forward), images), "attention roll-out"
            if isinstance(part, (SwinTransformer, SwinTransformerV2)):
                return _finished(_swin(plain, part, images, forward), images), "attention roll-out through windows"
        return _finished(_grad_cam(plain, looked_at, images, forward, classes), images), "Grad-CAM"


def restored(model: nn.Module) -> nn.Module:
    """A copy without fused attention, whose attention weights can be seen."""
    plain = copy.deepcopy(model)
    restore(plain)
    return plain


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, was in training.items():
            part.training = was


@contextmanager
def _attentions(blocks: list[Any]) -> Iterator[list[Tensor]]:
    """Collects the attention weights of timm's attention modules, head by head, in the order of the calls."""
    found: list[Tensor] = []
    with ExitStack() as undo:
        for attention in blocks:
            fused = getattr(attention, "fused_attn", None)
            if fused is not None:  # the fused kernel never has the weights in memory
                attention.fused_attn = False
                undo.callback(setattr, attention, "fused_attn", fused)
            # Softmax's output passes through here and nothing else does.
            handle = attention.attn_drop.register_forward_hook(lambda _part, _inputs, weights: found.append(weights))
            undo.callback(handle.remove)
        yield found


@torch.no_grad()
def _vit(model: nn.Module, vit: VisionTransformer, images: Tensor, forward: Forward) -> Tensor:
    with _attentions([block.attn for block in vit.blocks]) as found:
        forward(model, images)
    if len(found) != len(vit.blocks):
        raise ModelError(f"expected attention weights of {len(vit.blocks)} blocks in one call, got {len(found)}")
    flow = torch.eye(found[0].shape[-1], device=images.device).expand(len(images), -1, -1)
    for weights in found:
        flow = 0.5 * (weights.float().mean(dim=1) + torch.eye(weights.shape[-1], device=images.device)) @ flow
    prefix = vit.num_prefix_tokens
    read = flow[:, 0] if vit.global_pool == "token" and prefix else flow[:, prefix:].mean(dim=1)
    height, width = vit.patch_embed.grid_size
    return read[:, prefix:].reshape(-1, height, width)


@torch.no_grad()
def _swin(model: nn.Module, swin: Any, images: Tensor, forward: Forward) -> Tensor:
    blocks = [block for stage in swin.layers for block in stage.blocks]
    sizes: list[tuple[int, int]] = []
    with _attentions([block.attn for block in blocks]) as found, ExitStack() as undo:
        for block in blocks:
            hook = block.register_forward_pre_hook(lambda _part, inputs: sizes.append(tuple(inputs[0].shape[1:3])))
            undo.callback(hook.remove)
        forward(model, images)
    if len(found) != len(blocks):
        raise ModelError(f"expected attention weights of {len(blocks)} blocks in one call, got {len(found)}")
    relevance = torch.ones(len(images), *sizes[-1], device=images.device)
    position = len(blocks)
    for stage in reversed(swin.layers):
        for block in reversed(stage.blocks):
            position -= 1
            relevance = _through_windows(relevance, found[position].float().mean(dim=1), block, sizes[position])
        if position:
            # Patch merging: each token was made of four, or at an odd border of fewer.
            height, width = sizes[position - 1]
            if (height, width) != sizes[position]:
                relevance = relevance.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width] / 4
    return relevance


def _through_windows(relevance: Tensor, weights: Tensor, block: Any, size: tuple[int, int]) -> Tensor:
    """Relevance of a block's outputs (B, H, W) -> of its inputs; ``weights`` (B * windows, N, N)."""
    window = tuple(block.window_size)
    shift = tuple(block.shift_size)
    height, width = size
    padded = F.pad(
        torch.roll(relevance, tuple(-step for step in shift), dims=(1, 2)),
        (0, -width % window[1], 0, -height % window[0]),
    )
    rows = partition(padded[..., None], window).reshape(len(weights), 1, -1)
    rows = (0.5 * (rows @ weights + rows)).reshape(-1, *window, 1)
    back = reverse(rows, window, *padded.shape[1:])[..., 0][:, :height, :width]
    return torch.roll(back, shift, dims=(1, 2))


def _grad_cam(
    model: nn.Module, looked_at: nn.Module, images: Tensor, forward: Forward, classes: Tensor | None
) -> Tensor:
    maps: list[Tensor] = []

    def keep(_part: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1 and len(output) == len(images):
            maps.append(output)

    with ExitStack() as undo, torch.enable_grad():
        for part in looked_at.modules():
            undo.callback(part.register_forward_hook(keep).remove)
        logits = forward(model, images.detach().clone().requires_grad_())
        # Maps of a convolution that gives the classes themselves are the decision, not what it is made of.
        candidates = [output for output in maps if output.shape[1] != logits.shape[1]]
        if not candidates:
            raise ModelError(f"{type(model).__name__} has neither attention nor feature maps to show")
        last = candidates[-1]
        target = logits.argmax(dim=1) if classes is None else classes
        (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), last)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * last).sum(dim=1).relu().detach()


def _finished(maps: Tensor, images: Tensor) -> np.ndarray:
    """At the size of the images, and from 0 to 1; a map that is the same everywhere becomes 0."""
    large = F.interpolate(maps[:, None], size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    low = large.amin(dim=(1, 2), keepdim=True)
    span = large.amax(dim=(1, 2), keepdim=True) - low
    scaled: np.ndarray = torch.where(span > 0, (large - low) / span.clamp_min(1e-12), 0).float().cpu().numpy()
    return scaled
