from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import touch
from pyemo_datasets.ferplus import FerPlus, majority, probabilities

from pyemo.data.sources import read_data
from pyemo.errors import DataError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
# Rows as published (the first ones of the file, its row 17 and row 219), with their places exchanged.
VOTES = (
    "Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0",
    "Training,fer0000001.png,6,0,1,1,0,0,0,0,2,0",
    "Training,fer0000006.png,2,0,0,8,0,0,0,0,0,0",
    "PublicTest,,0,0,0,0,0,0,0,0,0,10",
    "PublicTest,fer0000007.png,0,10,0,0,0,0,0,0,0,0",
    "PrivateTest,fer0000219.png,3,3,0,0,0,0,0,4,0,0",
)


def write(root: Path, votes: tuple[str, ...] = VOTES, usages: list[str] | None = None) -> np.ndarray:
    root.mkdir(exist_ok=True)
    (root / "fer2013new.csv").write_text("\n".join([HEADER, *votes]) + "\n")
    faces = np.random.default_rng(0).integers(0, 256, (len(votes), 48, 48), dtype=np.uint8)
    usages = usages or [vote.split(",")[0] for vote in votes]
    lines = [f"6,{' '.join(map(str, face.ravel()))},{usage}" for face, usage in zip(faces, usages, strict=True)]
    (root / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *lines]) + "\n")
    return faces


def test_votes_are_joined_by_row(tmp_path: Path) -> None:
    faces = write(tmp_path)
    manifest = FerPlus().read(tmp_path)
    assert manifest.table["label"].tolist() == ["neutral", "sad", "happy"]
    assert manifest.table["split"].tolist() == ["train", "train", "validation"]
    np.testing.assert_allclose(manifest.table["agreement"].astype(float), [0.6, 0.8, 1.0])
    np.testing.assert_array_equal(manifest.images, faces[[1, 2, 4]])
    assert [path.rsplit("#")[1] for path in manifest.table["path"]] == ["1", "2", "4"]
    assert sorted(manifest.problems) == [
        "1 images voted unknown or no face, left out",
        "2 images without a label that enough people agree on, left out",
    ]
    assert "probabilities" not in manifest.table


def test_probabilities(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = FerPlus(mode="probability").read(tmp_path)
    assert manifest.table["label"].tolist() == ["neutral", "neutral", "sad", "happy", "contempt"]
    shares = np.stack(manifest.table["probabilities"])
    assert shares.shape == (5, 8)
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    # Of 4 neutral, 3 anger, 2 disgust (the single vote for sadness does not count), the first two are three quarters.
    np.testing.assert_allclose(shares[0], [4 / 7, 0, 0, 0, 3 / 7, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(shares[4], [0.3, 0.3, 0, 0, 0, 0, 0, 0.4], rtol=1e-6)
    _, common = read_data(f"ferplus:{tmp_path}", labels="common", mode="probability")
    assert common.table["label"].tolist() == ["neutral", "neutral", "sad", "happy"]
    assert np.stack(common.table["probabilities"]).shape == (4, 7)
    assert common.problems[-1].startswith("label 'contempt': 1 rows left out")


def votes(**counts: int) -> np.ndarray:
    return np.array([counts.get(name, 0) for name in HEADER.split(",")[2:]])


def test_the_rule_of_the_majority() -> None:
    winner = majority(votes(neutral=5, sadness=4, fear=1))  # the single vote does not count: 5 of 9
    assert winner is not None
    assert winner.argmax() == 0
    assert majority(votes(neutral=5, sadness=5)) is None
    assert majority(votes(neutral=1, sadness=1)) is None


def test_the_rule_of_shares() -> None:
    assert probabilities(votes(neutral=2, happiness=2, surprise=2, sadness=2, anger=2)) is None  # more than three
    assert probabilities(votes(neutral=4, unknown=4, anger=2)) is None  # no more than half before people are at a loss
    at_a_loss = probabilities(votes(unknown=6, anger=4))
    assert at_a_loss is not None
    assert at_a_loss[8] == 1
    kept = probabilities(votes(neutral=6, unknown=4))
    assert kept is not None
    assert kept[0] == 1


def test_the_images_that_the_authors_program_writes(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    touch(
        tmp_path,
        "FER2013Train/fer0000001.png",
        "FER2013Valid/fer0000007.png",
        "FER2013Train/label.csv",
        "FER2013Test/x.png",
    )
    manifest = FerPlus().read(tmp_path)
    assert manifest.images is None
    assert [Path(path).name for path in manifest.table["path"]] == ["fer0000001.png", "fer0000007.png"]
    assert manifest.table["label"].tolist() == ["neutral", "happy"]
    text = "\n".join(manifest.problems)
    assert "3 images are not there: fer0000000.png, fer0000006.png, fer0000219.png" in text
    assert "1 images have no votes, left out" in text


@pytest.mark.parametrize(
    ("rows", "usages", "message"),
    [
        (VOTES[:3], ["Training"] * 2 + ["PublicTest"], "differ in Usage from row 2 on"),
        (("Training,fer0000000.png,4,0",), None, "columns NF, anger, contempt, .* are missing"),
    ],
)
def test_tables_that_do_not_belong_together(
    tmp_path: Path, rows: tuple[str, ...], usages: list[str] | None, message: str
) -> None:
    write(tmp_path, rows, usages)
    if usages is None:
        (tmp_path / "fer2013new.csv").write_text("Usage,Image name,neutral\nTraining,fer0000000.png,4\n")
    with pytest.raises(DataError, match=message):
        FerPlus().read(tmp_path)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fer2013new\.csv is not there"):
        FerPlus().read(tmp_path)
    write(tmp_path)
    lines = (tmp_path / "fer2013.csv").read_text().splitlines()
    (tmp_path / "fer2013.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match=r"has 6 rows, .* has 5"):
        FerPlus().read(tmp_path)
    (tmp_path / "fer2013.csv").unlink()
    touch(tmp_path, "train/happy/Training_1.jpg")  # as FER2013 is often given away
    with pytest.raises(DataError, match="do not say which row"):
        FerPlus().read(tmp_path)
    with pytest.raises(DataError, match="mode='best'"):
        FerPlus(mode="best")
