"""timm's Swin Transformer V2 (``timm.models.swin_transformer_v2``)."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2Block, WindowAttention
from torch import Tensor

from pyemo.nn.dense import linear
from pyemo.nn.fused import FusedAttention, continuous_position_bias, logit_factor
from pyemo.nn.timm_swin import shifted_windows
from pyemo.ops.windows import window_attention


class FusedSwinTransformerV2Block(FusedAttention, SwinTransformerV2Block):
    METHOD = "_attn"
    ATTENTION = WindowAttention

    def _attn(self, x: Tensor) -> Tensor:
        attention = shifted_windows(self, x, self._attend) if self.fuses(x) else None
        if attention is None:
            return super()._attn(x)
        return self.attn.proj_drop(self.attn.proj(attention))

    def _attend(self, x: Tensor, shift: tuple[int, int], mask: Tensor | None) -> Tensor:
        attn: Any = self.attn
        return window_attention(
            self._qkv(x),
            continuous_position_bias(self, attn),
            num_heads=attn.num_heads,
            window_size=attn.window_size,
            shift_size=shift,
            logit_scale=logit_factor(attn.logit_scale),
            mask=mask,
        )

    def _qkv(self, x: Tensor) -> Tensor:
        attn: Any = self.attn
        if attn.q_bias is None:
            return attn.qkv(x)
        bias = torch.cat((attn.q_bias, attn.k_bias, attn.v_bias))
        return attn.qkv(x) + bias if getattr(attn, "qkv_bias_separate", False) else linear(x, attn.qkv.weight, bias)


FUSED = {SwinTransformerV2Block: FusedSwinTransformerV2Block}
