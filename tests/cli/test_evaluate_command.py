from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pyemo.cli import main
from pyemo.config import load_recipe
from pyemo.model import build_model
from pyemo.weights import save_model

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Two random images a class and split; one test image is a copy of a training image."""
    generator = np.random.default_rng(0)
    root = tmp_path / "fer"
    for split in ("train", "validation", "test"):
        for label in LABELS:
            folder = root / split / label
            folder.mkdir(parents=True)
            for index in range(2):
                cv2.imwrite(str(folder / f"{index}.png"), generator.integers(0, 256, (48, 48), dtype=np.uint8))
    (root / "test" / "happy" / "0.png").write_bytes((root / "train" / "sad" / "1.png").read_bytes())
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    recipe = load_recipe("mini-xception")
    return save_model(tmp_path / "model", build_model(recipe), recipe, "# a card\n")


def test_figures_files_and_card(faces: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", f"fer2013:{faces}"]
    assert (
        main(["evaluate", str(model), *data, "--drop-duplicates", "--mirror", "--out", str(tmp_path / "out"), "--card"])
        == 0
    )
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out" / "evaluation-test.json").read_text())
    assert f"Test split, all 14 images: accuracy {report['accuracy']:.2%}" in printed
    assert "13 images: accuracy" in printed
    assert "mirrored image: accuracy" in printed
    assert (tmp_path / "out" / "evaluation-test-confusion.png").is_file()
    card = (model / "card.md").read_text()
    assert card.startswith("# a card\n\n## Measured afterwards")
    assert "pyemo evaluate mini-xception --data fer2013:ROOT --split test --drop-duplicates --mirror" in card


def test_a_split_that_is_not_there(faces: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(model), "--data", f"fer2013:{faces}", "--split", "dev"]) == 1
    assert "no rows of split 'dev'" in capsys.readouterr().err


def test_measures_predictions_and_figures(
    faces: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["evaluate", str(model), "--data", f"fer2013:{faces}", "--out", str(out), "--figures"]) == 0
    printed = capsys.readouterr().out
    assert "95% intervals: bootstrap over 14 samples, since subjects are not known; they may be too narrow." in printed
    assert "no t-SNE" not in printed
    measures = pd.read_csv(out / "evaluation-test-measures.csv", index_col="class")
    assert list(measures.index) == [*LABELS, "macro", "weighted"]
    assert (measures["recall_low"] <= measures["recall"]).all()
    content = json.loads((out / "evaluation-test-measures.json").read_text())
    assert content["classes"]["macro"]["recall"] == pytest.approx(measures.loc["macro", "recall"], abs=1e-6)
    assert len(pd.read_csv(out / "evaluation-test-predictions.csv")) == 14
    for figure in (
        "confusion-counts",
        "confusion-shares",
        "roc",
        "precision-recall",
        "density",
        "recall",
        "precision",
        "tsne",
        "attention",
    ):
        for ending in ("png", "svg"):
            assert (out / f"evaluation-test-{figure}.{ending}").stat().st_size > 5000


def test_figures_need_a_place(faces: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", f"fer2013:{faces}", "--figures"]
    assert main(["evaluate", str(model), *data]) == 1
    assert "--figures needs --out" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["evaluate", str(model), *data, "--out", str(tmp_path / "file" / "out")]) == 1
    assert "cannot write into" in capsys.readouterr().err
