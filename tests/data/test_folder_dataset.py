from __future__ import annotations

from pathlib import Path

import pytest
from pyemo_datasets.folder import Folder

from pyemo import plugins
from pyemo.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(folder: Folder, root: Path) -> dict[str, tuple[str, str | None, str | None]]:
    table = folder.read(root).table
    assert table[["start", "end"]].isna().all(axis=None)
    return {
        Path(row.path).relative_to(root).as_posix(): (row.label, row.subject, row.split) for row in table.itertuples()
    }


def test_clips_and_folders_of_images(tmp_path: Path) -> None:
    touch(tmp_path, "Anger/a.mp4", "Anger/seq/1.jpg", "Anger/seq/2.jpg", "boredom/deep/er/b.avi", "boredom/x.wav")
    touch(tmp_path, "Anger/notes.txt", "Anger/.hidden.mp4", ".git/c.mp4", "readme.mp4")
    assert rows(Folder(), tmp_path) == {
        "Anger/a.mp4": ("angry", None, None),
        "Anger/seq": ("angry", None, None),
        "boredom/deep/er/b.avi": ("boredom", None, None),
        "boredom/x.wav": ("boredom", None, None),
    }
    assert Folder().read(tmp_path).labels == ("angry", "boredom")


def test_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/happy/1.png", "val/happy/2.png", "test/sad/3.png")
    assert rows(Folder(), tmp_path) == {
        "train/happy/1.png": ("happy", None, "train"),
        "val/happy/2.png": ("happy", None, "validation"),
        "test/sad/3.png": ("sad", None, "test"),
    }


def test_a_class_named_like_a_split_among_others_is_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "test/1.png", "sad/2.png")
    assert rows(Folder(), tmp_path) == {"test/1.png": ("test", None, None), "sad/2.png": ("sad", None, None)}


def test_subjects(tmp_path: Path) -> None:
    touch(tmp_path, "happy/S1_happy_1.avi", "happy/S12_happy_1.avi", "happy/other.avi", "sad/S3_x/1.png")
    found = rows(Folder(subject=r"^(S\d+)_"), tmp_path)
    assert {name: row[1] for name, row in found.items()} == {
        "happy/S1_happy_1.avi": "S1",
        "happy/S12_happy_1.avi": "S12",
        "happy/other.avi": None,
        "sad/S3_x": "S3",
    }
    assert rows(Folder(subject=r"S\d+"), tmp_path)["sad/S3_x"][1] == "S3"  # without a group the whole match


def test_problems(tmp_path: Path) -> None:
    touch(tmp_path, "happy/1.png", "sad/notes.txt")
    manifest = Folder().read(tmp_path)
    assert manifest.problems == (f"{tmp_path / 'sad'}: no media in it; left out",)
    with pytest.raises(DataError, match="no media in class folders"):
        Folder().read(touch(tmp_path / "flat", "1.png"))
    with pytest.raises(DataError, match="is not a folder"):
        Folder().read(tmp_path / "happy" / "1.png")
    with pytest.raises(DataError, match=r"subject='\(' is not a regular expression"):
        Folder(subject="(")


def test_it_is_a_plug_in() -> None:
    assert isinstance(plugins.create("datasets", "folder", subject="S"), Folder)
