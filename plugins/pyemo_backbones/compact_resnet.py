"""A small residual network for 48x48 faces, the backbone of the packaged default model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn


class CompactResNet(nn.Module):
    """Stages of 3x3 convolutions with identity shortcuts (He et al. 2016), without bottlenecks or projections.

    Each stage halves the map by 2x2 max-pooling (not the first), widens it by one convolution and refines it by ``blocks`` residual
    blocks of two convolutions. Every convolution is plain and 3x3: the form that CPUs and GPUs run closest to their peak.

    Args:
        in_channels: channels of a face.
        widths: channels of each stage; the last is D.
        blocks: residual blocks of each stage.
        block_scale: what the scale of a block's last normalisation begins at; a small one lets a block that is added to a trained
            network begin near the identity. (0 would stay 0: the ReLU behind it has no slope there.)

    Shape: (B, T, in_channels, H, W) float -> (B, T, D); H and W at least ``2 ** (len(widths) - 1)``.
    """

    contract_version: ClassVar[int] = 1
    modality = "face"

    def __init__(
        self,
        in_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256),
        blocks: Sequence[int] = (1, 1, 2, 1),
        block_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks):
            raise ValueError(f"widths and blocks must have one entry a stage, got {list(widths)} and {list(blocks)}")
        stages: list[nn.Module] = []
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            parts: list[nn.Module] = [] if stage == 0 else [nn.MaxPool2d(2)]
            parts += [
                _convolution(in_channels, width),
                nn.Sequential(*(_Residual(width, block_scale) for _ in range(count))),
            ]
            stages.append(nn.Sequential(*parts))
            in_channels = width
        self.stages = nn.Sequential(*stages)
        self.feature_dim = in_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features = self.stages(x.flatten(0, 1)).mean(dim=(2, 3))
        return features.unflatten(0, x.shape[:2])


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        last = _convolution(channels, channels)
        nn.init.constant_(last[1].weight, scale)  # type: ignore[arg-type]
        self.branch = nn.Sequential(_convolution(channels, channels), last)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)
