"""timm's MaxViT (``timm.models.maxxvit``): windows, and grids, which are windows of a map whose rows and columns are dealt out."""

from __future__ import annotations

from typing import Any

from timm.models.maxxvit import AttentionCl, PartitionAttentionCl
from torch import Tensor

from pyemo.nn.fused import FusedAttention
from pyemo.ops.windows import window_attention


class FusedPartitionAttentionCl(FusedAttention, PartitionAttentionCl):
    METHOD = "_partition_attn"
    ATTENTION = AttentionCl

    @classmethod
    def obstacle(cls, module: Any) -> str | None:
        return "its qkv's channels are ordered (head, q|k|v)" if module.attn.head_first else super().obstacle(module)

    def _partition_attn(self, x: Tensor) -> Tensor:
        window = self.partition_size
        if not self.fuses(x) or x.shape[1] % window[0] or x.shape[2] % window[1]:  # the original has its own complaint
            return super()._partition_attn(x)
        if self.partition_block:
            return self._attend(x)
        # A grid's window has every (height / window)-th row and every (width / window)-th column.
        return _deal(self._attend(_deal(x, window)), (x.shape[1] // window[0], x.shape[2] // window[1]))

    def _attend(self, x: Tensor) -> Tensor:
        attn: Any = self.attn
        position = attn.rel_pos
        bias = None
        if position is not None:
            tokens = self.partition_size[0] * self.partition_size[1]
            sources = (*position.parameters(), *position.buffers())
            bias = self.kept(sources, lambda: position.get_bias().view(-1, tokens, tokens))
        x = window_attention(
            attn.qkv(x), bias, num_heads=attn.num_heads, window_size=self.partition_size, scale=attn.scale
        )
        return attn.proj_drop(attn.proj(x))


def _deal(x: Tensor, piles: tuple[int, int]) -> Tensor:
    """(B, H, W, C), where row ``i * (H / piles) + j`` becomes row ``j * piles + i``, and columns likewise."""
    x = x.unflatten(2, (piles[1], -1)).unflatten(1, (piles[0], -1))
    return x.permute(0, 2, 1, 4, 3, 5).flatten(3, 4).flatten(1, 2)


FUSED = {PartitionAttentionCl: FusedPartitionAttentionCl}
