from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pyemo import plugins
from pyemo.data.sources import read_data
from pyemo.errors import DataError, PluginError
from pyemo.evaluation.duplicates import unseen

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def read(root: Path):
    return plugins.create("datasets", "fer2013").read(root)


def write_csv(path: Path, rows: list[tuple[object, str, str]]) -> Path:
    path.write_text(
        "emotion,pixels,Usage\n" + "".join(f"{emotion},{pixels},{usage}\n" for emotion, pixels, usage in rows)
    )
    return path


def faces(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)


def pixels(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel()))


def test_the_challenges_csv(tmp_path: Path) -> None:
    images = faces(3)
    rows = [
        (3, pixels(images[0]), "Training"),
        (6, pixels(images[1]), "PublicTest"),
        (0, pixels(images[2]), "PrivateTest"),
    ]
    write_csv(tmp_path / "fer2013.csv", rows)
    for root in (tmp_path, tmp_path / "fer2013.csv"):
        manifest = read(root)
        assert list(manifest.table["label"]) == ["happy", "neutral", "angry"]
        assert list(manifest.table["split"]) == ["train", "validation", "test"]
        np.testing.assert_array_equal(manifest.images, images)
        assert "research" in manifest.licence


def test_a_bad_row_is_left_out_and_named(tmp_path: Path) -> None:
    image = faces(1)[0]
    path = write_csv(tmp_path / "fer2013.csv", [(1, "1 2 3", "Training"), (2, pixels(image), "Training")])
    manifest = read(path)
    assert list(manifest.table["label"]) == ["fear"]
    assert manifest.problems == (f"{path}, row 0: expected 2304 intensities from 0 to 255, got 3",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("emotion,pixels\n1,2\n", "columns Usage are missing"),
        (f"emotion,pixels,Usage\n9,{'1 ' * 2304},Training\n", "outside 0 to 6"),
        (f"emotion,pixels,Usage\n1,{'1 ' * 2304},Training2\n", "unknown Usage 'Training2'"),
    ],
)
def test_a_csv_of_another_layout_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fer2013.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    "splits", [("train", "validation", "test"), ("Training", "PublicTest", "PrivateTest"), ("train", "val", "test")]
)
def test_image_folders(tmp_path: Path, splits: tuple[str, str, str]) -> None:
    images = faces(len(splits) * len(LABELS))
    for index, image in enumerate(images):
        folder = tmp_path / splits[index // len(LABELS)] / LABELS[index % len(LABELS)]
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{index}.png"), image)
    (tmp_path / splits[0] / "happy" / "note.txt").write_text("no image")
    cv2.imwrite(str(tmp_path / splits[0] / "sad" / "large.png"), np.zeros((64, 64), np.uint8))
    manifest = read(tmp_path)
    assert sorted(set(manifest.table["split"])) == ["test", "train", "validation"]
    assert len(manifest.images) == len(images)
    for row, image in zip(manifest.table.itertuples(), manifest.images, strict=True):
        np.testing.assert_array_equal(image, images[int(Path(row.path).stem)])
        assert Path(row.path).parent.name == row.label
    assert any("note.txt: cannot be decoded" in problem for problem in manifest.problems)
    assert any("large.png: is 64x64, expected 48x48" in problem for problem in manifest.problems)


def test_what_is_not_fer2013_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected fer2013\.csv or the folders"):
        read(tmp_path)


def test_duplicates_across_splits(tmp_path: Path) -> None:
    images = faces(3)
    rows = [
        (0, pixels(images[0]), "Training"),
        (0, pixels(images[0]), "PrivateTest"),
        (0, pixels(images[1]), "PrivateTest"),
    ]
    manifest = read(write_csv(tmp_path / "fer2013.csv", [*rows, (0, pixels(images[1]), "PrivateTest")]))
    # A pair inside the split counts as two images of it.
    assert unseen(manifest, "test").tolist() == [False, True, True]


def test_sources(tmp_path: Path) -> None:
    write_csv(tmp_path / "fer2013.csv", [(3, pixels(faces(1)[0]), "Training")])
    assert read_data(f"fer2013:{tmp_path}")[0] == "fer2013"
    assert read_data(f"pyemo:fer2013:{tmp_path}")[0] == "pyemo:fer2013"
    with pytest.raises(DataError, match="expected NAME:ROOT"):
        read_data("fer2013")
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_data("fer2013:nowhere")
    with pytest.raises(PluginError, match="fer2012"):
        read_data(f"fer2012:{tmp_path}")


def test_the_published_counts(shared_data: Path, tmp_path: Path) -> None:
    import zipfile

    archive = shared_data / "fer2013.zip"
    if not archive.is_file():
        pytest.skip(f"{archive} not found")
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path)
    manifest = read(tmp_path)
    assert manifest.table["split"].value_counts().to_dict() == {"train": 28709, "validation": 3589, "test": 3589}
    assert not manifest.problems
    assert int((~unseen(manifest, "test")).sum()) == 314
