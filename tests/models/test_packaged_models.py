"""The weights that come with pyemo score what their cards say."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from pyemo import plugins
from pyemo.contracts import Manifest
from pyemo.evaluation.classifier import evaluate
from pyemo.data.samples import select
from pyemo.weights import load_model
from pyemo.weights.store import CARD, WEIGHTS, packaged_names

NAMES = ["compact-resnet", "mini-xception"]


@pytest.fixture(scope="module")
def fer2013(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    archive = shared_data / "fer2013.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} not found")
    folder = tmp_path_factory.mktemp("fer2013")
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder, [name for name in file.namelist() if "/test/" in name])
    return plugins.create("datasets", "fer2013").read(folder)


def test_these_models_are_packaged() -> None:
    assert packaged_names() == NAMES
    assert load_model("default").recipe.name == "compact-resnet"


@pytest.mark.parametrize("name", NAMES)
def test_size_and_card(name: str) -> None:
    folder = load_model(name).folder
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 5_000_000
    card = (folder / CARD).read_text(encoding="utf-8")
    for subject in ("licence", "splits", "research use", "pyemo train", "pyemo evaluate", "Limits"):
        assert subject.lower() in card.lower()
    assert (folder / WEIGHTS).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_the_test_split(name: str, fer2013: Manifest) -> None:
    loaded = load_model(name)
    samples = select(fer2013, loaded.recipe, ["test"])
    accuracy = evaluate(loaded.model, loaded.recipe, samples).scores.accuracy
    assert len(samples) == 3589
    # The card's figure, to the last digit it prints.
    card = (loaded.folder / CARD).read_text(encoding="utf-8")
    (stated,) = re.findall(r"Test split, all 3,589 images: accuracy ([\d.]+)%", card)
    assert f"{100 * accuracy:.2f}" == stated
