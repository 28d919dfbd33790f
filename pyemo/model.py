"""Recipe -> backbones -> aggregators -> fusion: the neural network of every classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyemo import plugins
from pyemo.config import ClassifierRecipe, ModalityConfig, ModelConfig, PluginConfig
from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.errors import ConfigError, PluginError

INITIAL_WEIGHTS = ("pretrained", "weights")
"""Options by which a backbone is told the weights that it starts with; by default a backbone starts with random ones."""


class EmotionModel(nn.Module):
    """Any number of modalities: each has a backbone (features of each time step) and an aggregator (one vector); a fusion decides.

    A modality is one stream with a name of its own; several may see the same faces or the same sound. The parts of a frozen one have no
    gradients and stay in evaluation mode.

    Args:
        config: plug-ins and their options.
        labels: names of the classes, in the order of the logits.

    Raises:
        PluginError: a plug-in is unknown, broken or refuses its options, is for another modality, or is no ``nn.Module``.
        ConfigError: an option is one that pyemo itself sets.
    """

    def __init__(self, config: ModelConfig, labels: Sequence[str]) -> None:
        super().__init__()
        self.config = config
        self.labels = tuple(labels)
        self.backbones = nn.ModuleDict()
        self.aggregators = nn.ModuleDict()
        dims = {}
        for modality, part in config.modalities.items():
            backbone = _create("backbones", part.backbone)
            if backbone.modality != part.input.kind:
                raise PluginError(
                    f"backbone '{part.backbone.name}' is for {backbone.modality}, but the input of '{modality}' is {part.input.kind}"
                )
            aggregator = _create("aggregators", part.aggregator, feature_dim=backbone.feature_dim)
            self.backbones[modality] = backbone
            self.aggregators[modality] = aggregator
            if part.frozen:
                backbone.requires_grad_(False)
                aggregator.requires_grad_(False)
            dims[modality] = ModalityDims(sequence=backbone.feature_dim, vector=aggregator.output_dim)
        self.fusion = _create("fusions", config.fusion, dims=dims, num_classes=len(self.labels))
        self.train()

    def train(self, mode: bool = True) -> EmotionModel:
        super().train(mode)
        for modality, part in self.config.modalities.items():
            if part.frozen:
                self.backbones[modality].eval()
                self.aggregators[modality].eval()
        return self

    def forward(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None) -> FusionOutput:
        """Classify a batch.

        Args:
            inputs: modality -> floating-point (B, T, channels, height, width), normalised as the recipe says; a step of a face is
                (channels, size, size), of a voice (channels, bins, frames). T may differ between modalities, B may not.
            masks: modality -> boolean (B, T), true where a step exists; a modality without one has all its steps.

        Returns:
            Logits (B, classes), the auxiliary logits of the fusion, and its logits of each step where it gives them.

        Raises:
            ValueError: a modality is missing or unknown, or a tensor has the wrong shape or dtype.
        """
        masks = masks or {}
        self._check(inputs, masks)
        fused = {}
        for modality, x in inputs.items():
            mask = masks[modality] if modality in masks else torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.modalities[modality].frozen):
                sequence, mask = self._features(modality, x, mask)
                fused[modality] = FusionInput(sequence, self.aggregators[modality](sequence, mask), mask)
        output: FusionOutput = self.fusion(fused)
        return output

    def _features(self, modality: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, ...), (B, T) -> (B, T * K, D) with the K features of each step, and their mask.

        Zeros where no step exists: those neither cost time nor enter the statistics of batch normalisation.
        """
        backbone = self.backbones[modality]
        if mask.all():
            sequence = backbone(x)
        else:
            features = backbone(x[mask][:, None])
            steps = features.new_zeros(*mask.shape, *features.shape[1:])
            steps[mask] = features
            sequence = steps.flatten(1, 2)
        return sequence, mask.repeat_interleave(sequence.shape[1] // max(1, mask.shape[1]), dim=1)

    def _check(self, inputs: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        expected = list(self.config.modalities)
        if set(inputs) != set(expected):
            raise ValueError(f"inputs: expected the modalities {expected}, got {list(inputs)}")
        if not set(masks) <= set(expected):
            raise ValueError(f"masks: expected modalities among {expected}, got {list(masks)}")
        batch = next(iter(inputs.values())).shape[0]
        for modality, x in inputs.items():
            step = self.config.modalities[modality].input.step
            if x.ndim != 2 + len(step) or tuple(x.shape[2:]) != step or x.shape[0] != batch:
                raise ValueError(
                    f"inputs[{modality!r}]: expected the shape ({batch}, T, {', '.join(map(str, step))}), got {tuple(x.shape)}"
                )
            if not x.is_floating_point():
                raise ValueError(f"inputs[{modality!r}]: expected a floating-point dtype, got {x.dtype}")
        for modality, mask in masks.items():
            shape = tuple(inputs[modality].shape[:2])
            if tuple(mask.shape) != shape or mask.dtype != torch.bool:
                raise ValueError(
                    f"masks[{modality!r}]: expected a boolean mask of the shape {shape}, got {mask.dtype} {tuple(mask.shape)}"
                )


def build_model(recipe: ClassifierRecipe, *, initialise: bool = True) -> EmotionModel:
    """The network of a recipe, with fresh weights.

    ``initialise=False``, for weights that come from elsewhere, leaves out the backbones' options :data:`INITIAL_WEIGHTS`: nothing is
    downloaded, and the files that training began with need not be there.
    """
    config = recipe.model
    if not initialise:
        config = config.model_copy(
            update={"modalities": {name: _uninitialised(part) for name, part in config.modalities.items()}}
        )
    return EmotionModel(config, recipe.labels)


def _uninitialised(part: ModalityConfig) -> ModalityConfig:
    options = {name: value for name, value in part.backbone.options.items() if name not in INITIAL_WEIGHTS}
    return part.model_copy(update={"backbone": part.backbone.model_copy(update={"options": options})})


def _create(group: str, config: PluginConfig, **supplied: Any) -> Any:
    for option in config.options:
        if option in supplied:
            raise ConfigError(f"option '{option}' of '{config.name}' is set by pyemo, not by a recipe")
    part = plugins.create(group, config.name, **config.options, **supplied)
    if not isinstance(part, nn.Module):
        raise PluginError(
            f"{group.removesuffix('s')} '{config.name}' is a {type(part).__name__}; a part of a model must be a torch.nn.Module"
        )
    return part
