"""Modal fusion module: Kim, Kim, Won, "Multi Modal Facial Expression Recognition with Transformer-Based Fusion Networks and Dynamic
Sampling" (ABAW, CVPR 2023, section 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.errors import PluginError
from pyemo.nn.sequences import attended, pool, zero_missing
from pyemo_fusions.probabilities import log_mean_probability


class Mfm(nn.Module):
    """Co-attention of two modalities' steps (equations 1 to 3), encoder layers of ViT, three linear heads, ensemble of their outputs.

    Where the paper is silent: the two attentions are joined along time, since the modalities may differ in their number of steps; the
    encoder's outputs are averaged for its head; 12 heads, a feed-forward of 4 times the size and a last normalisation are ViT-B's, whose
    size of 768 Swin-T shares; the ensemble is the mean of the probabilities. A step that attends to a single step of the other modality
    simply copies it, so the co-attention needs sequences.

    ``logits`` are the ensemble's; ``auxiliary`` always has each modality's by its name and the encoder's as ``"fusion"``. A modality without
    any step in a sample has no part in that sample's ensemble, and neither has the fusion.

    Args:
        dims: sizes of exactly two modalities, I and A in this order (given by pyemo).
        num_classes: number of logits (given by pyemo).
        dim: size of the co-attention; another than both D puts a linear layer before it. Default: D, which must then be the same for both.
        layers: encoder layers.
        heads: attention heads of the encoder; must divide ``dim``.
        dropout: of the encoder layers, in training.

    Raises:
        PluginError: not two modalities, a modality named ``fusion``, or different D without ``dim``.
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        dims: Mapping[str, ModalityDims],
        num_classes: int,
        dim: int | None = None,
        layers: int = 2,
        heads: int = 12,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(dims) != 2 or "fusion" in dims:
            raise PluginError(f"fusion 'mfm' takes two modalities, neither named 'fusion', got {', '.join(dims)}")
        sizes = {modality: size.sequence for modality, size in dims.items()}
        if dim is None and len(set(sizes.values())) > 1:
            found = ", ".join(f"{size} of {modality}" for modality, size in sizes.items())
            raise PluginError(f"fusion 'mfm' needs features of one size, got {found}; its option dim projects them")
        dim = dim or next(iter(sizes.values()))
        if dim % heads:
            raise ValueError(f"the size of the features must be a multiple of heads, got {dim} and {heads}")
        self.image, self.audio = dims
        self.projections = nn.ModuleDict(
            {
                modality: nn.Identity() if size == dim else nn.Linear(size, dim, bias=False)
                for modality, size in sizes.items()
            }
        )
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.scorers = nn.ModuleDict({modality: nn.Linear(size.vector, num_classes) for modality, size in dims.items()})
        self.fusion = nn.Linear(dim, num_classes)

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        """Sequences (B, T_i, D_i), vectors (B, D'_i) -> logits (B, num_classes)."""
        masks = {modality: inputs[modality].mask for modality in self.projections}
        steps = {
            modality: project(zero_missing(inputs[modality].sequence, masks[modality]))
            for modality, project in self.projections.items()
        }
        f_i, f_a, m_i, m_a = steps[self.image], steps[self.audio], masks[self.image], masks[self.audio]
        y = torch.cat([_attention(f_a, f_i, m_i), _attention(f_i, f_a, m_a)], dim=1)
        mask = torch.cat([m_a, m_i], dim=1)
        y_t = pool(self.encoder(y, src_key_padding_mask=~attended(mask)), mask, "mean")
        auxiliary = {modality: scorer(inputs[modality].vector) for modality, scorer in self.scorers.items()}
        auxiliary["fusion"] = self.fusion(y_t)
        has_image, has_audio = m_i.any(dim=1), m_a.any(dim=1)
        ensemble = log_mean_probability(list(auxiliary.values()), [has_image, has_audio, has_image & has_audio])
        return FusionOutput(ensemble, auxiliary)


def _attention(queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
    """softmax(queries keys^T / sqrt(d)) keys: (B, T_q, d), (B, T_k, d), boolean (B, T_k) -> (B, T_q, d)."""
    return F.scaled_dot_product_attention(queries, keys, keys, attn_mask=attended(mask)[:, None, :])
