"""A model made of third-party plug-ins, with several modalities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pyemo.config import FaceInput, ModalityConfig, ModelConfig, PluginConfig, VoiceInput
from pyemo.errors import PluginError
from pyemo.model import EmotionModel

Install = Callable[..., None]

PARTS = """
from torch import nn
from pyemo.contracts import FusionOutput

class Backbone(nn.Module):
    contract_version = 1
    def __init__(self, modality, feature_dim):
        super().__init__()
        self.modality, self.feature_dim = modality, feature_dim
        self.layer = nn.LazyLinear(feature_dim)
    def forward(self, x):
        return self.layer(x.flatten(2))

class Doubled(nn.Module):
    contract_version = 1
    def __init__(self, feature_dim):
        super().__init__()
        self.output_dim = 2 * feature_dim
    def forward(self, sequence, mask):
        return (sequence * mask[..., None]).sum(dim=1).repeat(1, 2)

class Sum(nn.Module):
    contract_version = 1
    def __init__(self, dims, num_classes):
        super().__init__()
        self.dims = dims
        self.scorers = nn.ModuleDict({m: nn.Linear(d.vector, num_classes) for m, d in dims.items()})
    def forward(self, inputs):
        each = {m: scorer(inputs[m].vector) for m, scorer in self.scorers.items()}
        return FusionOutput(sum(each.values()), each)

class Plain:
    contract_version = 1
    modality, feature_dim = "face", 3
    def forward(self, x):
        return x
"""
POINTS = {
    "backbones": {"tiny": "parts_of_models:Backbone", "plain": "parts_of_models:Plain"},
    "aggregators": {"doubled": "parts_of_models:Doubled"},
    "fusions": {"sum": "parts_of_models:Sum"},
}


def modality(name: str, feature_dim: int, size: int, kind: str | None = None) -> ModalityConfig:
    face = FaceInput(size=size)
    voice = VoiceInput(kind="voice", n_mels=size, slice_frames=size, slice_hop=size)
    return ModalityConfig(
        input=voice if (kind or name) == "voice" else face,
        backbone=PluginConfig(name="tiny", options={"modality": name, "feature_dim": feature_dim}),
        aggregator=PluginConfig(name="doubled"),
    )


def test_two_modalities(install: Install) -> None:
    install("model-parts", POINTS, parts_of_models=PARTS)
    parts = {"face": modality("face", 5, 8), "voice": modality("voice", 3, 16)}
    config = ModelConfig(modalities=parts, fusion=PluginConfig(name="sum"))
    model = EmotionModel(config, ["yes", "no"])
    assert {name: (size.sequence, size.vector) for name, size in model.fusion.dims.items()} == {
        "face": (5, 10),
        "voice": (3, 6),
    }
    face, voice = torch.rand(2, 4, 1, 8, 8), torch.rand(2, 7, 1, 16, 16)
    mask = torch.tensor([[True] * 7, [True] * 2 + [False] * 5])
    output = model({"voice": voice, "face": face}, {"voice": mask})
    assert output.logits.shape == (2, 2)
    torch.testing.assert_close(output.logits, output.auxiliary["face"] + output.auxiliary["voice"])
    alone = model({"face": face[1:], "voice": voice[1:, :2]})
    torch.testing.assert_close(output.logits[1:], alone.logits)
    with pytest.raises(ValueError, match=r"expected the modalities \['face', 'voice'\], got \['face'\]"):
        model({"face": face})
    with pytest.raises(ValueError, match=r"inputs\['voice'\]: expected the shape \(2, T, 1, 16, 16\), got \(1, 7, "):
        model({"face": face, "voice": voice[:1]})


def test_parts_that_do_not_fit(install: Install) -> None:
    install("model-parts", POINTS, parts_of_models=PARTS)
    with pytest.raises(PluginError, match="backbone 'tiny' is for voice, but the input of 'speech' is face"):
        EmotionModel(ModelConfig(modalities={"speech": modality("voice", 3, 8, "face")}), ["yes", "no"])
    plain = ModalityConfig(input=FaceInput(size=8), backbone=PluginConfig(name="plain"))
    with pytest.raises(PluginError, match=r"backbone 'plain' is a Plain; a part of a model must be a torch.nn.Module"):
        EmotionModel(ModelConfig(modalities={"face": plain}), ["yes", "no"])
