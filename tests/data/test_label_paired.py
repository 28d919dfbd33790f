from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from layouts import touch
from paired_sets import FACES, write_faces, write_voices
from pyemo_datasets.label_paired import LabelPaired

from pyemo.contracts import Manifest
from pyemo.data.folds import check_disjoint
from pyemo.data.sources import read_data
from pyemo.errors import DataError

ACTORS = range(1, 17)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("paired")
    return write_voices(root / "ravdess", ACTORS), write_faces(
        root / "fer2013", {"train": 22, "validation": 8, "test": 12}
    )


def read(sets: tuple[Path, Path], seed: int = 0) -> Manifest:
    voices, faces = sets
    return read_data(f"label-paired:{voices}", faces=str(faces), seed=seed)[1]


def test_each_utterance_has_a_face_of_its_emotion(sets: tuple[Path, Path]) -> None:
    manifest = read(sets)
    table = manifest.table
    assert len(table) == 16 * 8
    assert manifest.modalities == ("face", "voice")
    assert manifest.labels == FACES
    emotions = ("neutral", "neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")  # calm counts as neutral
    assert [emotions[int(Path(voice).name[6:8]) - 1] for voice in table["voice"]] == table["label"].tolist()
    assert [Path(face).parent.name for face in table["path"]] == table["label"].tolist()
    assert [Path(voice).parent.name[-2:] for voice in table["voice"]] == table["subject"].tolist()
    assert table["cropped"].all()
    assert manifest.images is not None
    brightness = manifest.images.mean(axis=(1, 2)) // 30
    assert [FACES[int(place)] for place in brightness] == table["label"].tolist()
    assert any("calm" in problem for problem in manifest.problems)
    assert "RAVDESS" in manifest.licence
    assert "ICML" in manifest.licence


def test_splits_keep_actors_and_faces_apart(sets: tuple[Path, Path]) -> None:
    table = read(sets).table
    assert [Path(face).parent.parent.name for face in table["path"]] == table["split"].tolist()
    actors = table.groupby("split")["subject"].unique().map(sorted)
    assert {split: len(names) for split, names in actors.items()} == {"train": 10, "validation": 2, "test": 4}
    assert sum(int(actor) % 2 for actor in actors["test"]) == 2
    split = table["split"].to_numpy()
    assert check_disjoint(read(sets), split != "test", split == "test") == ()
    assert table["path"].is_unique


def test_the_seed_changes_actors_and_pairs(sets: tuple[Path, Path]) -> None:
    first, again, other = read(sets), read(sets), read(sets, seed=1)
    assert first.table.equals(again.table)
    assert set(first.table.loc[first.table["split"] == "test", "subject"]) != set(
        other.table.loc[other.table["split"] == "test", "subject"]
    )
    same = first.table["split"].to_numpy() == other.table["split"].to_numpy()
    assert (first.table["path"].to_numpy()[same] != other.table["path"].to_numpy()[same]).any()
    assert (first.table["voice"] == other.table["voice"]).all()


def test_the_same_image_is_not_in_two_splits(sets: tuple[Path, Path], tmp_path: Path) -> None:
    voices, faces = sets
    copy = tmp_path / "fer2013"
    shutil.copytree(faces, copy)
    # Each test face in training too, and one face under two labels.
    for label in FACES:
        for face in (copy / "test" / label).iterdir():
            shutil.copy(face, copy / "train" / label / f"again-{face.name}")
    twice = next((copy / "train" / "sad").glob("Training_*"))
    shutil.copy(twice, copy / "train" / "angry" / "other.png")
    for seed in range(5):
        manifest = read((voices, copy), seed)
        assert manifest.images is not None
        contents = [image.tobytes() for image in manifest.images]
        assert len(set(contents)) == len(contents)
        assert "2 images that FER2013 has under different labels were left out" in manifest.problems
        assert not {str(twice), str(copy / "train" / "angry" / "other.png")} & set(manifest.table["path"])


def test_too_few_faces_are_used_again_and_said(sets: tuple[Path, Path], tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "fer2013", {"train": 22, "validation": 8, "test": 3})
    manifest = read((sets[0], faces))
    assert "split test, label happy: 4 utterances share 3 faces" in manifest.problems
    test = manifest.table[manifest.table["split"] == "test"]
    assert test.loc[test["label"] == "happy", "path"].nunique() == 3
    assert test.loc[test["label"] == "neutral", "path"].value_counts().tolist() == [3, 3, 2]
    assert not set(test["path"]) & set(manifest.table.loc[manifest.table["split"] != "test", "path"])


def test_what_is_refused(sets: tuple[Path, Path], tmp_path: Path) -> None:
    voices, faces = sets
    with pytest.raises(DataError, match="needs the folder of FER2013 too: faces=FOLDER"):
        read_data(f"label-paired:{voices}")
    few = write_voices(tmp_path / "few", (1, 2, 3, 4, 6))
    with pytest.raises(DataError, match="3 men and 3 women of RAVDESS at least, got 2 male"):
        LabelPaired(faces=str(faces)).read(few)
    without = tmp_path / "without"
    shutil.copytree(faces, without)
    shutil.rmtree(without / "test" / "fear")
    with pytest.raises(DataError, match="no face left for 4 utterances: split test, label fear"):
        LabelPaired(faces=str(without)).read(voices)


def test_all_of_ravdess(shared_data: Path, tmp_path: Path) -> None:
    archive = shared_data / "ravdess-speech-16k.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} not found")
    with zipfile.ZipFile(archive) as voices:
        touch(tmp_path, *(name for name in voices.namelist() if name.endswith(".flac")))  # names are enough
    faces = write_faces(tmp_path / "fer2013", {"train": 168, "validation": 48, "test": 72})
    manifest = LabelPaired(faces=str(faces)).read(tmp_path / "ravdess")
    counts = manifest.table.groupby(["split", "label"]).size().unstack()
    assert counts.loc["test"].to_dict() == dict.fromkeys(FACES, 48) | {"neutral": 72}
    assert counts.sum(axis=1).to_dict() == {"test": 360, "train": 840, "validation": 240}
    assert manifest.table["path"].is_unique
    assert len(manifest.problems) == 1  # what became of calm
