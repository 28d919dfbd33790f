"""CNN-2 of the thesis (Chang, section 4.2.2): after Xception, with separable convolutions beside casting shortcuts."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn


class Cnn2(nn.Module):
    """Two convolutions of 8 filters, four blocks of 16 to 128, and one map a class, averaged: its features are the logits.

    Near to mini-Xception, but everything is padded, the second convolution has no ReLU, both separable convolutions of a block have one, and
    the shortcuts are not normalised. Choices where the text is silent: kernels are 3x3 where none is written; the max pooling is padded, for
    its map to have the shortcut's size; the convolutions before a normalisation have no bias, the shortcuts and the last one have.

    Args:
        num_classes: number of features; the thesis has 4.
        in_channels: 1 for grey faces.

    Shape: (B, T, in_channels, H, W) float -> (B, T, num_classes); published for 75x75.
    """

    contract_version: ClassVar[int] = 1
    modality = "face"

    def __init__(self, num_classes: int = 4, in_channels: int = 1) -> None:
        super().__init__()
        self.feature_dim = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
        )
        self.blocks = nn.Sequential(*(_Block(*widths) for widths in pairwise((8, 16, 32, 64, 128))))
        self.head = nn.Conv2d(128, num_classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.head(self.blocks(self.stem(x.flatten(0, 1))))
        return maps.mean(dim=(2, 3)).unflatten(0, x.shape[:2])


class _Block(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1)
        self.body = nn.Sequential(
            *_separable(in_channels, out_channels),
            *_separable(out_channels, out_channels),
            nn.MaxPool2d(3, 2, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        # Every second row and column is what a stride of 2 of a 1x1 convolution sees (see MiniXception for why it is not strided).
        return self.shortcut(x[..., ::2, ::2]) + self.body(x)


def _separable(in_channels: int, out_channels: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
