"""timm's Swin Transformer (``timm.models.swin_transformer``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, WindowAttention
from torch import Tensor

from pyemo.nn.fused import FusedAttention, gather
from pyemo.ops.windows import window_attention


def shifted_windows(
    block: Any, x: Tensor, attend: Callable[[Tensor, tuple[int, int], Tensor | None], Tensor]
) -> Tensor | None:
    """The attention of a block of timm's Swin Transformers on a map (B, H, W, C); ``attend`` is given map, shift and mask.

    None where timm would use a mask that was made for another size of map.
    """
    height, width = x.shape[1], x.shape[2]
    window, shift = block.window_size, block.shift_size
    dynamic_mask = getattr(block, "dynamic_mask", False)  # new in timm 1.0.16
    below, beside = -height % window[0], -width % window[1]
    if any(shift) and not dynamic_mask:
        windows = ((height + below) // window[0]) * ((width + beside) // window[1])
        if block.attn_mask is None or block.attn_mask.shape[0] != windows:
            return None
    if not below and not beside:
        return attend(x, shift, None)
    # timm pads the shifted map, so that the padding lies between what the shift has moved and the rest: not the operation's shift.
    if any(shift):
        x = torch.roll(x, (-shift[0], -shift[1]), (1, 2))
    x = F.pad(x, (0, 0, 0, beside, 0, below))
    mask = block.get_attn_mask(x) if dynamic_mask else block.attn_mask
    x = attend(x, (0, 0), mask)[:, :height, :width]
    return torch.roll(x, tuple(shift), (1, 2)) if any(shift) else x


class FusedSwinTransformerBlock(FusedAttention, SwinTransformerBlock):
    METHOD = "_attn"
    ATTENTION = WindowAttention

    def _attn(self, x: Tensor) -> Tensor:
        attention = shifted_windows(self, x, self._attend) if self.fuses(x) else None
        if attention is None:
            return super()._attn(x)
        return self.attn.proj_drop(self.attn.proj(attention))

    def _attend(self, x: Tensor, shift: tuple[int, int], mask: Tensor | None) -> Tensor:
        attn: Any = self.attn
        table, index = attn.relative_position_bias_table, attn.relative_position_index
        return window_attention(
            attn.qkv(x),
            self.kept((table, index), lambda: gather(table, index, attn.window_area)),
            num_heads=attn.num_heads,
            window_size=attn.window_size,
            shift_size=shift,
            scale=attn.scale,
            mask=mask,
        )


FUSED = {SwinTransformerBlock: FusedSwinTransformerBlock}
