"""mini-Xception: Arriaga, Valdenegro-Toro, Ploeger, "Real-time Convolutional Neural Networks for Emotion and Gender
Classification", 2017 (arXiv:1710.07557), as the authors' Keras code builds it."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class MiniXception(nn.Module):
    """58,423 parameters with 7 classes (in Keras's count, which includes the running statistics of batch normalisation).

    The network has no layer after its global average pooling: its features are one value a class, the logits.

    Args:
        num_classes: number of features.
        in_channels: 1 for grey faces, 3 for RGB.
    """

    contract_version: ClassVar[int] = 1
    modality: str = "face"

    def __init__(self, num_classes: int = 7, in_channels: int = 1) -> None:
        super().__init__()
        self.feature_dim = num_classes
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, 8, 3, bias=False),
            _batch_norm(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, bias=False),
            _batch_norm(8),
            nn.ReLU(inplace=True),
        )
        widths = (8, 16, 32, 64, 128)
        self.blocks = nn.Sequential(*(_Block(*pair) for pair in pairwise(widths)))
        self.head = nn.Conv2d(widths[-1], num_classes, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)  # Keras's default, "glorot_uniform"
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, channels, height, width), intensities in [-1, 1] -> (B, T, num_classes). Published for 64x64."""
        maps = self.head(self.blocks(self.stem(x.flatten(0, 1))))
        return maps.mean(dim=(2, 3)).unflatten(0, x.shape[:2])


class _Block(nn.Module):
    """Two separable convolutions and a max pooling, beside a 1x1 convolution of every second row and column.

    The shortcut is published as a convolution with stride 2. Taking the rows first is the same; PyTorch 2.13 and 2.15 crashed in the
    backward pass of the strided form (8 channels, float32, channels last, CPU with AVX-512).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), _batch_norm(out_channels))
        self.body = nn.Sequential(
            *_separable(in_channels, out_channels),
            _batch_norm(out_channels),
            nn.ReLU(inplace=True),
            *_separable(out_channels, out_channels),
            _batch_norm(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        # TensorFlow's "same" padding of a 3x3 window with stride 2: odd sizes get one row on either side, even sizes one at the end only.
        padding = (y.shape[-2] % 2, y.shape[-1] % 2)
        return F.max_pool2d(y, 3, stride=2, padding=padding, ceil_mode=True) + self.shortcut(x[..., ::2, ::2])


def _separable(in_channels: int, out_channels: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    return depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    # Keras's defaults; its momentum of 0.99 is the weight of the old value, PyTorch's that of the new.
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)
