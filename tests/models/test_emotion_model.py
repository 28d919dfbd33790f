"""Recipe -> network, with the built-in aggregator and fusions."""

from __future__ import annotations

import pytest
import torch

from pyemo import plugins
from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.contracts import FusionInput, ModalityDims
from pyemo.errors import ConfigError, PluginError
from pyemo.model import EmotionModel, build_model


def recipe(*overrides: str) -> ClassifierRecipe:
    found = load_recipe("mini-xception", overrides)
    assert isinstance(found, ClassifierRecipe)
    return found


def fusion_input(vector: torch.Tensor) -> FusionInput:
    return FusionInput(vector[:, None], vector, torch.ones(len(vector), 1, dtype=torch.bool))


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    torch.manual_seed(0)
    return build_model(recipe("model.fusion.name=linear")).eval()


def test_logits_are_the_fusion_of_the_mean_over_time(model: EmotionModel) -> None:
    x = torch.rand(2, 3, 1, 64, 64)
    features = model.backbones["face"](x)
    assert features.shape == (2, 3, 7)
    output = model({"face": x})
    torch.testing.assert_close(output.logits, model.fusion.linear(features.mean(dim=1)))
    assert output.auxiliary == {}
    assert model.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def test_masked_steps_change_nothing(model: EmotionModel) -> None:
    x = torch.rand(2, 4, 1, 64, 64)
    mask = torch.tensor([[True, True, False, True], [False, False, False, False]])
    x[0, 2] = torch.nan
    x[1] = torch.inf
    logits = model({"face": x}, {"face": mask}).logits
    torch.testing.assert_close(logits[:1], model({"face": x[:1, [0, 1, 3]]}).logits)
    torch.testing.assert_close(logits[1], model.fusion.linear.bias)  # no step at all: the zero vector


def test_padding_does_not_enter_the_statistics_of_batch_normalisation() -> None:
    torch.manual_seed(1)
    padded, whole = build_model(recipe()), build_model(recipe())
    whole.load_state_dict(padded.state_dict())
    x = torch.rand(2, 3, 1, 64, 64)
    mask = torch.tensor([[True, True, True], [True, False, False]])
    padded({"face": torch.where(mask[:, :, None, None, None], x, 1e3)}, {"face": mask})
    whole({"face": x[mask][:, None]})
    averages = dict(whole.named_buffers())
    assert any("running" in name for name in averages)
    for name, buffer in padded.named_buffers():
        torch.testing.assert_close(buffer, averages[name], msg=name)


def test_all_weights_learn() -> None:
    net = build_model(recipe("model.fusion.name=linear"))
    net({"face": torch.rand(4, 2, 1, 64, 64)}).logits.square().sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"expected the modalities \['face'\], got \[\]"),
        ({"face": torch.zeros(1, 1, 1, 64, 64), "smell": torch.zeros(1)}, r"got \['face', 'smell'\]"),
        ({"face": torch.zeros(1, 1, 64, 64)}, r"expected the shape \(1, T, 1, 64, 64\), got \(1, 1, 64, 64\)"),
        ({"face": torch.zeros(2, 1, 3, 64, 64)}, r"got \(2, 1, 3, 64, 64\)"),
        ({"face": torch.zeros(2, 1, 1, 48, 48)}, r"got \(2, 1, 1, 48, 48\)"),
        ({"face": torch.zeros(2, 1, 1, 64, 64, dtype=torch.uint8)}, r"floating-point dtype, got torch.uint8"),
    ],
)
def test_wrong_inputs(model: EmotionModel, inputs: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(inputs)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"smell": torch.ones(2, 3, dtype=torch.bool)}, r"among \['face'\], got \['smell'\]"),
        ({"face": torch.ones(2, 4, dtype=torch.bool)}, r"shape \(2, 3\), got torch.bool \(2, 4\)"),
        ({"face": torch.ones(2, 3)}, r"a boolean mask .* got torch.float32"),
    ],
)
def test_wrong_masks(model: EmotionModel, masks: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model({"face": torch.zeros(2, 3, 1, 64, 64)}, masks)


def test_wrong_recipes() -> None:
    with pytest.raises(PluginError, match="no backbone is called 'mini-exception'; did you mean 'mini-xception'"):
        build_model(recipe("model.modalities.face.backbone.name=mini-exception"))
    with pytest.raises(PluginError, match="has no option 'width'"):
        build_model(recipe("model.modalities.face.backbone.options.width=3"))
    with pytest.raises(ConfigError, match="option 'num_classes' of 'identity' is set by pyemo"):
        build_model(recipe("model.fusion.options.num_classes=7"))
    with pytest.raises(PluginError, match="needs one feature a class: face gives 5 for 7 classes"):
        build_model(recipe("model.modalities.face.backbone.options.num_classes=5"))


def test_mean_of_random_masks() -> None:
    torch.manual_seed(0)
    sequence, mask = torch.randn(20, 9, 4), torch.rand(20, 9) < 0.4
    mask[0] = False
    aggregator = plugins.create("aggregators", "mean", feature_dim=4)
    mean = aggregator(sequence.masked_fill(~mask[..., None], torch.nan), mask)
    for row in range(20):
        steps = sequence[row, mask[row]]
        torch.testing.assert_close(mean[row], steps.mean(dim=0) if len(steps) else torch.zeros(4))
    assert aggregator(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.bool)).tolist() == [[0] * 4] * 2


def test_linear_fusion_takes_modalities_in_a_fixed_order() -> None:
    dims = {"face": ModalityDims(5, 5), "voice": ModalityDims(3, 3)}
    fusion = plugins.create("fusions", "linear", dims=dims, num_classes=4, dropout=0.5)
    face, voice = fusion_input(torch.randn(2, 5)), fusion_input(torch.randn(2, 3))
    expected = torch.cat([face.vector, voice.vector], dim=1) @ fusion.linear.weight.T + fusion.linear.bias
    fusion.eval()
    torch.testing.assert_close(fusion({"face": face, "voice": voice}).logits, expected)
    torch.testing.assert_close(fusion({"voice": voice, "face": face}).logits, expected)
    fusion.train()
    torch.manual_seed(0)
    assert not torch.allclose(fusion({"face": face, "voice": voice}).logits, expected)


def test_identity_fusion_takes_one_modality() -> None:
    vector = torch.randn(2, 7)
    one = plugins.create("fusions", "identity", dims={"face": ModalityDims(7, 7)}, num_classes=7)
    assert one({"face": fusion_input(vector)}).logits is vector
    both = {"face": ModalityDims(7, 7), "voice": ModalityDims(7, 7)}
    with pytest.raises(PluginError, match="takes one modality, got face, voice"):
        plugins.create("fusions", "identity", dims=both, num_classes=7)
