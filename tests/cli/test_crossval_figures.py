"""``pyemo crossval`` of trained recipes: the measures and figures of all held-out decisions together."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pyemo.cli import main
from pyemo.evaluation.measures import measure

LABELS = ["happy", "sad", "neutral"]


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Images, and folds that are done: their decisions stand in ``folds/fold-NN/predictions.csv``."""
    monkeypatch.chdir(tmp_path)
    for label in LABELS:
        Path("images", label).mkdir(parents=True)
        for number in range(8):
            cv2.imwrite(f"images/{label}/{number}.png", np.full((48, 48), 10 * number, np.uint8))
    random = np.random.default_rng(0)
    truth = np.arange(24) // 8
    probabilities = random.dirichlet(np.ones(3), 24) / 2 + np.eye(3)[truth] / 2 * (random.random((24, 1)) > 0.4)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = np.array(LABELS)
    table = pd.DataFrame({"row": np.arange(24), "frame": -1, "path": "p", "label": names[truth]})
    table["subject"] = [f"s{number % 6}" for number in range(24)]
    table["prediction"] = names[probabilities.argmax(axis=1)]
    table[LABELS] = probabilities
    for fold in (1, 2):
        Path(f"folds/fold-0{fold}").mkdir(parents=True)
        table[table["row"] % 2 == fold - 1].to_csv(f"folds/fold-0{fold}/predictions.csv", index=False)
    return table


COMMAND = [
    "crossval",
    "mini-xception",
    "--data",
    "folder:images",
    "--out",
    "folds",
    "labels=[happy, sad, neutral]",
    "folds={kind: stratified, count: 2, allow_subject_overlap: true}",
]


def test_measures_and_figures(folds: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(COMMAND) == 0
    printed = capsys.readouterr().out
    truth = folds["label"].map(LABELS.index).to_numpy()
    expected = measure(truth, folds[LABELS].to_numpy(), LABELS, folds["subject"])
    table = pd.read_csv("folds/measures.csv", index_col="class")
    assert list(table.index) == [*LABELS, "macro", "weighted"]
    np.testing.assert_allclose(table["auc"], expected.classes["auc"])
    assert (table["recall_low"] <= table["recall"]).all()
    content = json.loads(Path("folds/measures.json").read_text())
    assert content["accuracy"]["value"] == pytest.approx(expected.overall["value"]["accuracy"], abs=1e-6)
    assert content["intervals"] == {"level": 0.95, "bootstrap_over": "subjects", "number": 6}
    assert "bootstrap over 6 subjects" in printed
    happy = table.loc["happy"]
    assert f"{happy['f1']:.3f} ({happy['f1_low']:.3f} to {happy['f1_high']:.3f})" in printed
    assert not list(Path("folds").glob("held-out-*"))
    assert main([*COMMAND, "--figures"]) == 0
    for name in ("confusion-counts", "confusion-shares", "roc", "precision-recall", "density", "recall", "precision"):
        assert Path(f"folds/held-out-{name}.png").stat().st_size > 1000
        assert Path(f"folds/held-out-{name}.svg").stat().st_size > 1000


def test_threshold_voting_has_no_such_figures(folds: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crossval", "threshold", "--data", "folder:images", "--figures"]) == 1
    assert "threshold voting gives no probabilities" in capsys.readouterr().err
