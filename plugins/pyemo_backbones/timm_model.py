"""Any image model of timm as a backbone."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import timm
from torch import Tensor, nn

from pyemo.errors import ConfigError, ModelError, did_you_mean
from pyemo.nn import accelerate as fuse_attention
from pyemo_backbones.local_weights import fit_weights, read_weights


class Timm(nn.Module):
    """A timm model without its classifier: one vector of pooled features a step, of a face or of a spectrogram.

    Args:
        architecture: timm's name, with or without the tag of its pre-trained weights, for instance ``vit_base_patch16_224``.
        in_channels: channels of a step.
        modality: what it sees, ``face`` or ``voice``.
        pretrained: begin with timm's weights, which timm downloads or takes from its cache.
        weights: begin with those of this file instead (``.safetensors``, or a PyTorch checkpoint), in timm's names.
        accelerate: fuse windowed attention (:func:`pyemo.accelerate`), where the architecture has some.
        image_size: height and width of a step, for architectures built for one size; default: the architecture's own.
        tokens: do not pool: the features of each place of a step, row after row (a Swin-T: 49 of 768 from 224x224).

    Raises:
        ConfigError: no such architecture, or two sources of weights.
        ModelError: ``weights`` is unreadable or does not fit; the classifier alone may differ.

    Shape: (B, T, in_channels, H, W) float -> (B, T, D), or (B, T * K, D) with K tokens a step.
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
        image_size: int | None = None,
        tokens: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(architecture):
            near = did_you_mean(architecture, timm.list_models())
            raise ConfigError(f"timm {timm.__version__} has no architecture '{architecture}'{near}")
        if pretrained and weights:
            raise ConfigError(f"backbone 'timm': pretrained and weights ({weights}) exclude each other")
        size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
        self.model: Any = timm.create_model(
            architecture, pretrained=pretrained, num_classes=0, in_chans=in_channels, **size
        )
        self.modality = modality
        # Differs from num_features where layers between the pooling and the classifier count as features (VGG: 4096, not 512).
        self.feature_dim: int = self.model.num_features if tokens else self.model.head_hidden_size  # type: ignore[assignment]
        self._tokens = tokens
        if weights:
            self._load(weights)
        if accelerate:
            fuse_attention(self.model)

    def forward(self, x: Tensor) -> Tensor:
        steps = x.flatten(0, 1)
        if self._tokens:
            maps: Tensor = self.model.forward_features(steps)
            if maps.ndim == 4 and getattr(self.model, "output_fmt", "NCHW") == "NCHW":
                maps = maps.permute(0, 2, 3, 1)
            return maps.reshape(len(x), -1, maps.shape[-1])
        features: Tensor = self.model(steps)
        return features.unflatten(0, x.shape[:2])

    def _load(self, file: str) -> None:
        tensors = read_weights(file)
        # Where a family has weights of an older form, or of another image size, its module has a function of this name.
        convert = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        if convert:
            try:
                tensors = convert(tensors, self.model)
            except (KeyError, RuntimeError) as error:
                raise ModelError(f"weights: {file} does not fit: {type(error).__name__}: {error}") from error
        config = self.model.pretrained_cfg
        fit_weights(
            self.model,
            tensors,
            file,
            classifier=_names(config.get("classifier")),
            first_convolutions=_names(config.get("first_conv")),
        )


def _names(entry: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())
