"""Any image classifier of torchvision as a backbone; for those that timm lacks (SqueezeNet) and for weights in torchvision's names."""

from __future__ import annotations

from typing import Any, ClassVar

import torchvision
from torch import Tensor, nn

from pyemo.errors import ConfigError, did_you_mean
from pyemo.nn import accelerate as fuse_attention
from pyemo_backbones.local_weights import Tensors, fit_weights, read_weights


class Torchvision(nn.Module):
    """A torchvision classifier whose last layer, the one with an output a class, passes on what it gets: one vector a step.

    Args:
        architecture: torchvision's name, for instance ``squeezenet1_1``.
        in_channels: channels of a step.
        modality: what it sees, ``face`` or ``voice``.
        pretrained: begin with torchvision's weights, which torchvision downloads or takes from its cache.
        weights: begin with those of this file instead (``.safetensors``, or a PyTorch checkpoint), in torchvision's names.
        accelerate: fuse windowed attention (:func:`pyemo.accelerate`), where the architecture has some.

    Raises:
        ConfigError: no such architecture, or two sources of weights.
        ModelError: ``weights`` is unreadable or does not fit; the last layer alone may differ.

    Shape: (B, T, in_channels, H, W) float -> (B, T, D).
    """

    contract_version: ClassVar[int] = 1

    def __init__(
        self,
        architecture: str,
        in_channels: int = 3,
        modality: str = "face",
        pretrained: bool = False,
        weights: str | None = None,
        accelerate: bool = False,
    ) -> None:
        super().__init__()
        known = torchvision.models.list_models(module=torchvision.models)
        if architecture not in known:
            near = did_you_mean(architecture, known)
            raise ConfigError(f"torchvision {torchvision.__version__} has no classifier '{architecture}'{near}")
        if pretrained and weights:
            raise ConfigError(f"backbone 'torchvision': pretrained and weights ({weights}) exclude each other")
        self.model = torchvision.models.get_model(architecture, **_OPTIONS.get(architecture, {}))
        self.modality = modality
        first, stem = next((name, part) for name, part in self.model.named_modules() if isinstance(part, nn.Conv2d))
        last, classifier = [
            (name, part) for name, part in self.model.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))
        ][-1]
        self.feature_dim = classifier.weight.shape[1]
        _replace(self.model, last, nn.Identity())
        if in_channels != 3:
            _replace(self.model, first, _for_channels(stem, in_channels))
        if weights or pretrained:
            tensors = self.converted(read_weights(weights)) if weights else _published(architecture)
            origin = weights or f"torchvision's {architecture}"
            fit_weights(self.model, tensors, origin, classifier=(last, *_AUXILIARY), first_convolutions=(first,))
        if accelerate:
            fuse_attention(self.model)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.model(x.flatten(0, 1))
        return features.unflatten(0, x.shape[:2])

    def converted(self, tensors: Tensors) -> Tensors:
        """The tensors of a weight file in torchvision's names."""
        return tensors


_AUXILIARY = ("AuxLogits", "aux1", "aux2")
_OPTIONS: dict[str, dict[str, Any]] = {
    # Without the second classifier of training, and with PyTorch's initialisation in place of one that takes SciPy a minute.
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def _published(architecture: str) -> Tensors:
    tensors: Tensors = torchvision.models.get_model_weights(architecture).DEFAULT.get_state_dict(
        progress=False, check_hash=True, weights_only=True
    )
    return tensors


def _replace(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, part)


def _for_channels(stem: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """A convolution like ``stem`` for another number of channels, with fresh weights."""
    return nn.Conv2d(
        in_channels,
        stem.out_channels,
        stem.kernel_size,  # type: ignore[arg-type]
        stem.stride,  # type: ignore[arg-type]
        stem.padding,  # type: ignore[arg-type]
        bias=stem.bias is not None,
    )
