"""CNN-1 of the thesis (Chang, section 4.2.2): convolutions and batch normalisation only."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

# (filters, kernel, stride, ReLU) of each unit of the formula. A unit without p is not padded: the first; the others give ceil(size / stride).
_UNITS = (
    (16, 5, 1, False),
    (16, 5, 2, True),
    (32, 5, 1, False),
    (32, 5, 2, True),
    (64, 3, 1, False),
    (64, 3, 2, True),
    (64, 1, 1, False),
    (128, 3, 2, True),
    (256, 1, 1, False),
    (128, 3, 2, True),
    (256, 1, 1, False),
)


class Cnn1(nn.Module):
    """Twelve convolutions, each batch-normalised, every other with ReLU; the last gives one map a class, averaged: its features are the logits.

    Choices where the text is silent: even sizes are padded alike on either side where the stride is 2, and the convolutions have no bias,
    which the normalisation would cancel. As in the formula, the last is normalised too.

    Args:
        num_classes: number of features; the thesis has 4.
        in_channels: 1 for grey faces.

    Shape: (B, T, in_channels, H, W) float -> (B, T, num_classes); published for 50x50 and 75x75.
    """

    contract_version: ClassVar[int] = 1
    modality = "face"

    def __init__(self, num_classes: int = 4, in_channels: int = 1) -> None:
        super().__init__()
        self.feature_dim = num_classes
        units: list[nn.Module] = []
        for index, (filters, kernel, stride, relu) in enumerate((*_UNITS, (num_classes, 3, 2, False))):
            padding = kernel // 2 if index else 0
            units.append(nn.Conv2d(in_channels, filters, kernel, stride, padding, bias=False))
            units.append(nn.BatchNorm2d(filters))
            if relu:
                units.append(nn.ReLU(inplace=True))
            in_channels = filters
        self.units = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x.flatten(0, 1)).mean(dim=(2, 3)).unflatten(0, x.shape[:2])
