from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shrunken import SHRUNKEN, Trained
from small_worlds import EMOTIONS, face, picture, voice, write_clip
from synthetic import SquareDetector

from pyemo.config import ClassifierRecipe, load_recipe, recipe_names
from pyemo.evaluation.classifier import evaluate
from pyemo.model import build_model
from pyemo.recognition import Recogniser
from pyemo.weights import load_model

OTHERS = {"threshold", "compact-resnet", "mini-xception", "candide-au", "compact-voice", "default"}
"""Recipes with tests of their own."""


def test_no_recipe_is_forgotten() -> None:
    assert set(recipe_names()) - OTHERS == set(SHRUNKEN)


@pytest.mark.parametrize("name", SHRUNKEN)
def test_a_recipe_learns_16_samples_by_heart_and_reloads_bit_equal(
    name: str, trained: Callable[[str], Trained]
) -> None:
    done = trained(name)
    loaded = load_model(str(done.model))
    assert loaded.recipe == done.recipe
    evaluation = evaluate(loaded.model, loaded.recipe, done.samples)
    assert len(evaluation.truth) == 16
    assert evaluation.scores.accuracy == 1

    checkpoint = torch.load(done.run / "checkpoints" / f"{done.recipe.training.keep}.ckpt", weights_only=True)
    weights = {key.removeprefix("network."): value for key, value in checkpoint["state_dict"].items()}
    again = loaded.model.state_dict()
    assert weights.keys() == again.keys()
    assert all(torch.equal(again[key], value) for key, value in weights.items())
    network = build_model(done.recipe)
    network.load_state_dict(weights)
    same = evaluate(network, done.recipe, done.samples)
    np.testing.assert_array_equal(same.probabilities, evaluation.probabilities)

    with (done.run / "metrics.csv").open(newline="") as file:
        epochs = list(csv.DictReader(file))
    losses = [float(epoch["train_loss"]) for epoch in epochs]
    assert min(losses) < 0.8 * losses[0]
    assert max(float(epoch["validation_macro_f1"]) for epoch in epochs) == pytest.approx(1)


UNITS = {
    "ver": "clips",
    "mmvt": "frames",
    "mfm": "windows",
    "mfm-image": "frames",
    "regnet-transformer": "sequences",
    "cnn-1": "images",
}


@pytest.mark.parametrize(("name", "unit"), UNITS.items())
def test_the_card_counts_what_it_was_trained_on(name: str, unit: str, trained: Callable[[str], Trained]) -> None:
    done = trained(name)
    card = (done.model / "card.md").read_text()
    assert (
        f"- Training data: {done.data.name} ({len(done.data.samples(np.arange(len(done.data.manifest.table)), training=True))} {unit})"
        in card
    )
    assert f"{unit} held out for validation (which chose the epoch, so the figure flatters), 16 decisions:" in card
    assert ("whose faces are read well" in card, "whose voices are read well" in card) == (
        "face" in done.recipe.model.kinds,
        "voice" in done.recipe.model.kinds,
    )


@pytest.mark.parametrize("name", SHRUNKEN)
def test_a_recipe_predicts(name: str, trained: Callable[[str], Trained], tmp_path: Path) -> None:
    done = trained(name)
    recogniser = Recogniser(load_model(str(done.model)), SquareDetector(), device="cpu", every=1)
    table = done.data.manifest.table
    if done.data.name == "aff-wild2":
        source = write_clip(
            tmp_path / "new.mp4", [picture("happy", frame) for frame in range(12)], voice("happy", 0.48)
        )
    else:
        source = Path(table["path"][table["label"] == "happy"].iloc[0])
    result = recogniser.predict(source)
    assert result.label == "happy"
    assert sum(result.scores.values()) == pytest.approx(1, abs=1e-4)
    assert list(result.scores) == list(done.recipe.labels)


def test_parts_of_late_fusion_are_those_of_the_models_before_and_stay(trained: Callable[[str], Trained]) -> None:
    late = load_model(str(trained("n0-late").model)).model.state_dict()
    for modality, part in (("face", "ver"), ("voice", "ser")):
        before = load_model(str(trained(part).model)).model.state_dict()
        own = {key: value for key, value in before.items() if key.startswith(("backbones.", "aggregators."))}
        assert len(own) > 20
        assert all(torch.equal(late[key], value) for key, value in own.items() if f".{modality}." in key)


def test_labels_a_recipe_does_not_know_are_left_out_and_counted(trained: Callable[[str], Trained]) -> None:
    assert "label 'confusing': 1 rows left out (not one of the recipe's)" in trained("mmvt").data.manifest.problems
    assert "label 'contempt': 1 rows left out (not one of the recipe's)" in trained("cnn-1").data.manifest.problems


def test_a_hematoxylin_stream_sees_another_picture() -> None:
    from pyemo.data.batch import Batch
    from pyemo.data.inputs import network_inputs

    recipe = load_recipe("mmvt")
    assert isinstance(recipe, ClassifierRecipe)
    faces = torch.from_numpy(np.stack([face(emotion, 1, 224) for emotion in EMOTIONS])).permute(0, 3, 1, 2)[:, None]
    values, masks = network_inputs(
        recipe.model, Batch(torch.zeros(4), faces=faces, face_mask=torch.ones(4, 1, dtype=torch.bool))
    )
    assert {name: tuple(value.shape) for name, value in values.items()} == dict.fromkeys(
        ("rgb", "hematoxylin"), (4, 1, 3, 224, 224)
    )
    assert masks["rgb"].all()
    for value in values.values():
        assert (value.amin(dim=(2, 3, 4)), value.amax(dim=(2, 3, 4))) == (pytest.approx(0), pytest.approx(1))
    stain = values["hematoxylin"]
    assert torch.equal(stain[:, :, 0], stain[:, :, 2])
    assert not torch.allclose(values["rgb"], stain, atol=0.1)
