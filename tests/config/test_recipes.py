from __future__ import annotations

from pathlib import Path

import pytest

from pyemo.config import ClassifierRecipe, ThresholdRecipe, dump_recipe, load_recipe, parse_recipe, recipe_names
from pyemo.errors import ConfigError


@pytest.mark.parametrize("name", recipe_names())
def test_a_packaged_recipe_is_valid_and_survives_a_dump(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(dump_recipe(recipe), "dump") == recipe


def test_overrides() -> None:
    recipe = load_recipe(
        "mini-xception", ["training.epochs=3", "training.optimizer.learning_rate=1e-2", "labels=[a, b]"]
    )
    assert isinstance(recipe, ClassifierRecipe)
    assert recipe.training.epochs == 3
    assert recipe.training.optimizer.learning_rate == 0.01
    assert recipe.labels == ["a", "b"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=3", r"unknown key 'training\.epoch'; did you mean 'epochs'"),
        ("training.epochs=abc", r"key 'training\.epochs': input should be a valid integer, got 'abc' \(str\)"),
        ("training.epochs=3.0", r"key 'training\.epochs'.*got 3\.0 \(float\)"),
        ("training.epochs='3'", r"key 'training\.epochs'.*got '3' \(str\)"),
        ("training.mixup=yes", r"key 'training\.mixup'.*got True \(bool\)"),
        (
            "training.optimizer.lr=1",
            r"unknown key 'training\.optimizer\.lr' \(known here: betas, find_learning_rate, learning_rate",
        ),
        ("training.optimizer.name=lamb", r"key 'training\.optimizer\.name'.*'adam', 'adamw' or 'sgd'"),
        ("training.optimizer.learning_rate=-1", r"key 'training\.optimizer\.learning_rate'.*greater than 0"),
        (
            "model.modalities.face.input.siz=3",
            r"unknown key 'model\.modalities\.face\.input\.siz'; did you mean 'size'",
        ),
        ("training.distillation={teachr: a}", r"unknown key 'training\.distillation\.teachr'; did you mean 'teacher'"),
        (
            "system=other",
            r"key 'system': expected 'classifier' or 'late-fusion' or 'threshold' or 'candide-au', got 'other'",
        ),
        ("training.validation_splits=[]", "without validation_splits, keep must be 'last'"),
        ("training.epochs", r"expected dotted\.key=value"),
        ("name.first=x", "name is a value, not a section"),
        ("labels=[a", "not readable as YAML"),
    ],
)
def test_a_wrong_override_names_the_key(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_recipe("mini-xception", [override])


def test_an_unknown_recipe_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no recipe is called 'mini-xceptoin'.*did you mean 'mini-xception'"):
        load_recipe("mini-xceptoin")
    with pytest.raises(ConfigError, match=r"cannot read recipe missing\.yaml"):
        load_recipe("missing.yaml")


def test_recipes_from_files(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nsystem: threshold\nthresholds: [2e-1, 0.4]\n")
    recipe = load_recipe(path)
    assert isinstance(recipe, ThresholdRecipe)
    assert recipe.thresholds == [0.2, 0.4]
    path.write_text("name: own\nname: twice\n")
    with pytest.raises(ConfigError, match="key 'name' stands twice"):
        load_recipe(path)
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        load_recipe(path)
    path.write_text("name: own\n")
    with pytest.raises(ConfigError, match="key 'system'"):
        load_recipe(path)
