"""timm's GCViT (``timm.models.gcvit``)."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.gcvit import GlobalContextVitBlock, WindowAttentionGlobal
from torch import Tensor

from pyemo.nn.fused import FusedAttention, gather
from pyemo.ops.windows import window_attention


class FusedGlobalContextVitBlock(FusedAttention, GlobalContextVitBlock):
    METHOD = "_window_attn"
    ATTENTION = WindowAttentionGlobal

    def _window_attn(self, x: Tensor, q_global: Tensor | None = None) -> Tensor:
        window: Any = self.window_size
        height, width, channels = x.shape[1:]
        if not self.fuses(x) or height % window[0] or width % window[1]:  # the original has its own complaint
            return super()._window_attn(x, q_global)
        attn: Any = self.attn
        position = attn.rel_pos
        qkv = attn.qkv(x)
        if attn.use_global and q_global is not None:  # the same queries in every window of an image
            queries = q_global.reshape(-1, *window, channels).tile(1, height // window[0], width // window[1], 1)
            qkv = torch.cat((queries.to(qkv.dtype), qkv), dim=-1)
        table, index = position.relative_position_bias_table, position.relative_position_index
        x = window_attention(
            qkv,
            self.kept((table, index), lambda: gather(table, index, position.window_area)),
            num_heads=attn.num_heads,
            window_size=window,
            scale=attn.scale,
        )
        return attn.proj_drop(attn.proj(x))


FUSED = {GlobalContextVitBlock: FusedGlobalContextVitBlock}
