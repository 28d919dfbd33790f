"""The weights that come with pyemo score what their cards say."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from pyemo import plugins
from pyemo.contracts import Manifest
from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.data.samples import select
from pyemo.evaluation.classifier import evaluate
from pyemo.recognition import load
from pyemo.recognition.late_fusion import common_labels
from pyemo.weights import LoadedFusion, load_any, load_model
from pyemo.weights.store import CARD, WEIGHTS, packaged_names

FACES = ["compact-resnet", "mini-xception"]
NAMES = [*FACES, "compact-voice"]


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
    assert packaged_names() == sorted([*NAMES, "face-and-voice"])
    default = load_any("default")
    assert isinstance(default, LoadedFusion)
    members = {modality: member.recipe.name for modality, member in default.members.items()}
    assert members == {"face": "compact-resnet", "voice": "compact-voice"}
    assert common_labels({name: load_model(name).recipe.labels for name in members.values()}) == BASIC_EMOTIONS


@pytest.mark.parametrize("name", NAMES)
def test_size_and_card(name: str) -> None:
    folder = load_model(name).folder
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 5_000_000
    card = (folder / CARD).read_text(encoding="utf-8")
    of_kind = ("research use", "splits", "pyemo evaluate") if name in FACES else ("NC-SA", "actors", "pyemo crossval")
    for subject in ("licence", "pyemo train", "Limits", *of_kind):
        assert subject.lower() in card.lower()
    assert (folder / WEIGHTS).is_file()


@pytest.mark.parametrize("name", FACES)
def test_accuracy_on_the_test_split(name: str, fer2013: Manifest) -> None:
    loaded = load_model(name)
    samples = select(fer2013, loaded.recipe, ["test"])
    accuracy = evaluate(loaded.model, loaded.recipe, samples).scores.accuracy
    assert len(samples) == 3589
    # The card's figure, to the last digit it prints.
    card = (loaded.folder / CARD).read_text(encoding="utf-8")
    (stated,) = re.findall(r"Test split, all 3,589 images: accuracy ([\d.]+)%", card)
    assert f"{100 * accuracy:.2f}" == stated


def test_the_voice_model_knows_what_it_was_trained_on(shared_data: Path, tmp_path: Path) -> None:
    """No measure of quality: its sound must reach it as it did in training, through files, resampling, slices and windows."""
    archive = shared_data / "ravdess-speech-16k.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} not found")
    with zipfile.ZipFile(archive) as file:
        clips = [name for name in sorted(file.namelist()) if "Actor_07/" in name and name.endswith("02-01-07.flac")]
        file.extractall(tmp_path, clips)
    labels = ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise")
    recogniser = load("compact-voice", device="cpu")
    right = [
        recogniser.predict(tmp_path / clip).label == labels[int(Path(clip).name.split("-")[2]) - 1] for clip in clips
    ]
    assert len(right) >= 8
    assert sum(right) >= 0.75 * len(right)
