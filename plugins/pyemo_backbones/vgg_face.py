"""VGG-16 from face identification: the thesis's transfer learning (Chang, section 4.3), after Parkhi, Vedaldi, Zisserman, "Deep Face
Recognition", 2015."""

from __future__ import annotations

from typing import ClassVar

from pyemo_backbones.local_weights import Tensors
from pyemo_backbones.torchvision_model import Torchvision


class VggFace(Torchvision):
    """The network of section 4.3.1 without its last layer, which told 2622 people apart: 4096 features a face.

    A fusion ``linear`` with 7 outputs replaces that layer, as in section 4.3.2. The formula of the thesis has fewer convolutions and one
    pooling less than VGG-16, but its text gives VGG-16's 138 million parameters and a map of 7x7 from 224x224: it is VGG-16, as torchvision
    builds it. Dropout of 0.5 follows both dense layers, as in the formula (the text has one).

    Args:
        in_channels: channels of a face; 3, unless trained from scratch.
        weights: file with weights (``.safetensors``, or a PyTorch checkpoint), in torchvision's names or in those of Parkhi's layers
            (``conv1_1`` to ``fc7``; a last layer is left out). Weights converted from VGG-Face expect RGB from 0 to 255 less the means
            129.186, 104.762, 93.594.

    Raises:
        ModelError: ``weights`` is unreadable or does not fit.

    Shape: (B, T, in_channels, H, W) float -> (B, T, 4096); published for 224x224.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, in_channels: int = 3, weights: str | None = None) -> None:
        super().__init__("vgg16", in_channels, weights=weights)

    def converted(self, tensors: Tensors) -> Tensors:
        renamed = {}
        for name, tensor in tensors.items():
            layer, _, kind = name.rpartition(".")
            if layer in {"fc6", "fc7", "fc8"} and kind == "weight":
                tensor = tensor.flatten(1)  # Caffe's dense layers on maps are convolutions
            renamed[f"{_LAYERS.get(layer, layer)}.{kind}"] = tensor
        return renamed


_LAYERS = {
    "conv1_1": "features.0",
    "conv1_2": "features.2",
    "conv2_1": "features.5",
    "conv2_2": "features.7",
    "conv3_1": "features.10",
    "conv3_2": "features.12",
    "conv3_3": "features.14",
    "conv4_1": "features.17",
    "conv4_2": "features.19",
    "conv4_3": "features.21",
    "conv5_1": "features.24",
    "conv5_2": "features.26",
    "conv5_3": "features.28",
    "fc6": "classifier.0",
    "fc7": "classifier.3",
    "fc8": "classifier.6",
}
