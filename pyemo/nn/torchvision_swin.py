"""torchvision's Swin Transformers (``torchvision.models.swin_transformer``)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.swin_transformer import ShiftedWindowAttention, ShiftedWindowAttentionV2

from pyemo.nn.dense import linear
from pyemo.nn.fused import FusedAttention, continuous_position_bias, gather, logit_factor
from pyemo.ops.windows import window_attention


class FusedShiftedWindowAttention(FusedAttention, ShiftedWindowAttention):
    def dropped_share(self) -> float:
        attn: Any = self
        return attn.attention_dropout

    def forward(self, x: Tensor) -> Tensor:
        if not self.fuses(x):
            return super().forward(x)
        attn: Any = self
        table, index = attn.relative_position_bias_table, attn.relative_position_index
        tokens = attn.window_size[0] * attn.window_size[1]
        bias = self.kept((table, index), lambda: gather(table, index, tokens))
        return _attend(self, x, attn.qkv.bias, bias, None)


class FusedShiftedWindowAttentionV2(FusedAttention, ShiftedWindowAttentionV2):
    def dropped_share(self) -> float:
        attn: Any = self
        return attn.attention_dropout

    def forward(self, x: Tensor) -> Tensor:
        if not self.fuses(x):
            return super().forward(x)
        attn: Any = self
        qkv_bias = attn.qkv.bias
        if qkv_bias is not None:  # keys have none, whatever the parameter says
            q_bias, _, v_bias = qkv_bias.chunk(3)
            qkv_bias = torch.cat((q_bias, torch.zeros_like(q_bias), v_bias))
        return _attend(self, x, qkv_bias, continuous_position_bias(self, attn), logit_factor(attn.logit_scale))


def _attend(attn: Any, x: Tensor, qkv_bias: Tensor | None, bias: Tensor, logit_scale: Tensor | None) -> Tensor:
    height, width = x.shape[1], x.shape[2]
    window = attn.window_size
    below, beside = -height % window[0], -width % window[1]
    if below or beside:
        x = F.pad(x, (0, 0, 0, beside, 0, below))
    # A map of one window is not shifted.
    shift = [0 if size <= w else s for size, w, s in zip(x.shape[1:3], window, attn.shift_size, strict=True)]
    # Functions and not attn.qkv(x), like the original, which calls neither module.
    x = window_attention(
        linear(x, attn.qkv.weight, qkv_bias),
        bias,
        num_heads=attn.num_heads,
        window_size=window,
        shift_size=shift,
        logit_scale=logit_scale,
    )
    x = x[:, :height, :width]
    x = linear(x, attn.proj.weight, attn.proj.bias)
    return F.dropout(x, attn.dropout, attn.training)


FUSED = {
    ShiftedWindowAttention: FusedShiftedWindowAttention,
    ShiftedWindowAttentionV2: FusedShiftedWindowAttentionV2,
}
