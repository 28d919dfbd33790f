"""timm's other Swin Transformer V2 (``timm.models.swin_transformer_v2_cr``)."""

from __future__ import annotations

from typing import Any

from timm.models.swin_transformer_v2_cr import SwinTransformerV2CrBlock, WindowMultiHeadAttention
from torch import Tensor

from pyemo.nn.fused import FusedAttention, logit_factor
from pyemo.nn.timm_swin import shifted_windows
from pyemo.ops.windows import window_attention


class FusedSwinTransformerV2CrBlock(FusedAttention, SwinTransformerV2CrBlock):
    METHOD = "_shifted_window_attn"
    ATTENTION = WindowMultiHeadAttention

    def _shifted_window_attn(self, x: Tensor) -> Tensor:
        attention = shifted_windows(self, x, self._attend) if self.fuses(x) else None
        if attention is None:
            return super()._shifted_window_attn(x)
        return self.attn.proj_drop(self.attn.proj(attention))

    def _attend(self, x: Tensor, shift: tuple[int, int], mask: Tensor | None) -> Tensor:
        attn: Any = self.attn
        return window_attention(
            attn.qkv(x),
            self._position_bias(),
            num_heads=attn.num_heads,
            window_size=attn.window_size,
            shift_size=shift,
            logit_scale=logit_factor(attn.logit_scale),
            mask=mask,
        )

    def _position_bias(self) -> Tensor:
        attn: Any = self.attn

        def compute() -> Tensor:
            return attn._relative_positional_encodings()[0]

        if any(part.training for part in attn.meta_mlp.modules()):  # it has dropout of its own
            return compute()
        return self.kept((*attn.meta_mlp.parameters(), attn.relative_coordinates_log), compute)


FUSED = {SwinTransformerV2CrBlock: FusedSwinTransformerV2CrBlock}
