"""For a backbone whose features already are the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.errors import PluginError


class Identity(nn.Module):
    """The vector of the only modality is the logits.

    Raises:
        PluginError: several modalities, or a vector with another size than the number of classes.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, dims: Mapping[str, ModalityDims], num_classes: int) -> None:
        super().__init__()
        if len(dims) != 1:
            raise PluginError(f"fusion 'identity' takes one modality, got {', '.join(dims)}")
        self.modality, size = next(iter(dims.items()))
        if size.vector != num_classes:
            raise PluginError(
                f"fusion 'identity' needs one feature a class: {self.modality} gives {size.vector} for {num_classes} classes"
            )

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput:
        return FusionOutput(inputs[self.modality].vector)
