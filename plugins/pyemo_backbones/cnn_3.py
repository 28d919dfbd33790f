"""CNN-3 of the thesis (Chang, section 4.2.2): convolutions, max pooling and dense layers."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Cnn3(nn.Module):
    """Four convolutions of 3x3, each followed by 2x2 max pooling, and a dense layer of 64: the features.

    The dropout of 0.5 and the last dense layer are those of a fusion ``linear``. Choices where the text is silent: the convolutions have a
    ReLU (the formula has lost it, for this network as for VGG-16, where the text names it) and no padding (there is no p).

    Args:
        in_channels: 1 for grey faces.
        image_size: height and width of a face, which the dense layer depends on; published for 150.

    Shape: (B, T, in_channels, image_size, image_size) float -> (B, T, 64).
    """

    contract_version: ClassVar[int] = 1
    modality = "face"
    feature_dim = 64

    def __init__(self, in_channels: int = 1, image_size: int = 150) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        size = image_size
        for filters in (32, 32, 64, 64):
            layers += [nn.Conv2d(in_channels, filters, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            in_channels, size = filters, (size - 2) // 2
        if size < 1:
            raise ValueError(f"image_size must be at least 46 for four convolutions and poolings, got {image_size}")
        self.image_size = image_size
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(in_channels * size**2, 64), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[3:]) != (self.image_size,) * 2:
            raise ValueError(
                f"backbone 'cnn-3' has image_size {self.image_size}, got faces of {' x '.join(map(str, x.shape[3:]))}"
            )
        return self.layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])
