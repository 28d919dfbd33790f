"""The networks as published, in full size; nothing is computed (device ``meta``)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from pyemo.config import ClassifierRecipe, load_recipe, recipe_names
from pyemo.contracts import FusionInput, FusionOutput
from pyemo.model import EmotionModel, build_model


def network(name: str, *overrides: str) -> EmotionModel:
    recipe = load_recipe(name, overrides)
    assert isinstance(recipe, ClassifierRecipe)
    with torch.device("meta"):
        return build_model(recipe)


def steps(model: EmotionModel, batch: int = 2, count: int = 3) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty(batch, count, *part.input.step, device="meta")
        for name, part in model.config.modalities.items()
    }


def output(model: EmotionModel, inputs: dict[str, torch.Tensor]) -> FusionOutput:
    """Part by part, since the model itself looks at the values of the masks."""
    parts = {}
    for name, x in inputs.items():
        sequence = model.backbones[name](x)
        mask = torch.ones(sequence.shape[:2], dtype=torch.bool, device="meta")
        parts[name] = FusionInput(sequence, model.aggregators[name](sequence, mask), mask)
    return model.fusion(parts)


def features(model: EmotionModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(model.backbones[name](x).shape) for name, x in steps(model).items()}


def parameters(*parts: nn.Module) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def test_mmvt() -> None:
    model = network("mmvt").eval()
    assert features(model) == {"rgb": (2, 3, 768), "hematoxylin": (2, 3, 768)}
    first, _, dropout, last = model.fusion.head
    assert (first.in_features, first.out_features, last.in_features, last.out_features) == (3072, 768, 768, 5)
    assert dropout.p == 0.5
    assert parameters(model.backbones["rgb"]) == 85_798_656  # ViT-B/16 without its classifier
    assert output(model, steps(model)).logits.shape == (2, 5)


def test_regnet_transformer() -> None:
    model = network("regnet-transformer").eval()
    assert features(model) == {"face": (2, 3, 888)}
    assert model.fusion.dense["face"].in_features == 2 * 888
    (layer,) = model.fusion.encoders["face"].layers
    assert layer.attention.qkv.out_features == 3 * 2 * 64
    assert [part.out_features for part in layer.feed_forward if isinstance(part, nn.Linear)] == [512, 888]
    x = {"face": torch.empty(1, 64, 3, 112, 112, device="meta")}
    given = output(model, x).steps
    assert given is not None
    assert given.shape == (1, 64, 8)
    attention = network("regnet-transformer", "model.fusion.options.variant=attention").fusion.encoders["face"]
    assert [type(part) for part in attention.layers] == [type(layer.attention)]


def test_mfm() -> None:
    model = network("mfm").eval()
    assert features(model) == {"face": (2, 3 * 49, 768), "voice": (2, 3 * 49, 768)}
    for backbone in model.backbones.values():
        assert parameters(backbone) == 27_519_354  # Swin-T without its classifier
    assert len(model.fusion.encoder.layers) == 2
    given = output(model, {name: x[:, :1] for name, x in steps(model).items()})
    assert {name: tuple(value.shape) for name, value in given.auxiliary.items()} == dict.fromkeys(
        ("face", "voice", "fusion"), (2, 8)
    )
    # The parts that are trained before are the very same.
    for part, modality in (("mfm-image", "face"), ("mfm-audio", "voice")):
        alone = network(part)
        assert alone.config.modalities[modality] == model.config.modalities[modality]


def test_vgg_face() -> None:
    model = network("vgg-face").eval()
    assert features(model) == {"face": (2, 3, 4096)}
    assert parameters(model.backbones) == 134_260_544  # VGG-16 without its classifier
    assert model.fusion.linear.out_features == 7


@pytest.mark.parametrize(("name", "size"), [("cnn-1", 50), ("cnn-2", 75), ("cnn-3", 150)])
def test_cnns_of_the_thesis(name: str, size: int) -> None:
    model = network(name).eval()
    x = steps(model)
    assert x["face"].shape == (2, 3, 1, size, size)
    assert features(model) == {"face": (2, 3, {"cnn-3": 64}.get(name, 4))}
    assert output(model, x).logits.shape == (2, 4)


def test_parameters_and_multiply_adds_that_the_thesis_counts() -> None:
    """Section 4.4: ResNet-18 with LSTM for faces, ResNet-18 for sound; weights of normalisations are not among its dense layers."""
    model = network("mrpn").eval()
    scoring = [part for part in model.fusion.main.fusion.scoring if isinstance(part, nn.Linear)]
    assert parameters(model.backbones, model.aggregators, *scoring) == 26_813_704
    adds = sum(_multiply_adds(model.backbones[name], x) for name, x in steps(model, 1, 1).items())
    adds += sum(value.numel() for key, value in model.aggregators.named_parameters() if "weight" in key)
    adds += sum(part.weight.numel() for part in scoring)
    assert adds == 4_200_483_008


def test_the_fusions_of_the_thesis_differ_in_their_fusion_alone() -> None:
    models = {name: network(name) for name in ("n0-late", "n0", "n1", "mrpn")}
    assert len({parameters(model.backbones, model.aggregators) for model in models.values()}) == 1
    assert not any(parameter.requires_grad for parameter in models["n0-late"].backbones.parameters())
    assert parameters(models["n0-late"].fusion) == parameters(models["n0"].fusion)
    for name, outputs in {"n0": set(), "n1": {"face", "voice"}, "mrpn": {"face", "voice"}}.items():
        assert set(output(models[name], steps(models[name])).auxiliary) == outputs
    for recipe in ("ver", "ser"):
        (modality,) = network(recipe).config.modalities
        part = models["n0-late"].config.modalities[modality]
        own = network(recipe).config.modalities[modality]
        assert part.model_copy(update={"start_from": None, "frozen": False}) == own


UNEQUAL = {("n0", "cremad", 81.3), ("mrpn", "ravdess", 90.8), ("mrpn", "cremad", 83.0)}
"""Means that are not those of their folds; the recipes say so."""


def _published() -> Iterator[tuple[str, str, float, list[float]]]:
    for name in recipe_names():
        for figures in getattr(load_recipe(name), "published", []):
            yield name, figures.data, figures.mean, figures.folds


def test_published_folds_have_the_published_means() -> None:
    unequal = set()
    for name, data, mean, folds in _published():
        if folds:
            assert len(folds) == {"ravdess": 12, "cremad": 9}[data]
            if abs(np.mean(folds) - mean) > 0.1:
                unequal.add((name, data, mean))
    assert unequal == UNEQUAL


def _multiply_adds(backbone: nn.Module, x: torch.Tensor) -> int:
    """Weights of convolutions times the places where they are applied, and weights of normalisations once."""
    counted = []

    def count(module: nn.Module, _: object, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            counted.append(module.weight.numel() * output.shape[2] * output.shape[3])
        elif isinstance(module, nn.BatchNorm2d):
            counted.append(module.weight.numel())

    handles = [module.register_forward_hook(count) for module in backbone.modules()]
    backbone(x)
    for handle in handles:
        handle.remove()
    return sum(counted)
