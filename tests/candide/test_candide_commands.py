"""``pyemo train``, ``evaluate`` and ``crossval`` of candide-au."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from numbered_faces import LABELS, people

from pyemo import assets, plugins
from pyemo.cli import main
from pyemo.evaluation.measures import measure

SVM = ["labels=[happy, surprise, neutral]", "classifier={name: svm-linear, c: [1.0], folds: 3}"]
CALLS = 37
"""Of the detector for the 36 pictures: it looks twice at the one without landmarks."""
FIGURES = ("confusion-counts", "confusion-shares", "roc", "precision-recall", "density", "recall", "precision")


@pytest.fixture
def world(mesh, wireframes, tmp_path, monkeypatch):
    """Six pictures of each of six people and a table of them; the last test picture has no landmarks. Gives the detector."""
    detector, rows = people(mesh, 6)
    create = plugins.create

    def made(group, name, **options):
        return detector if (group, name) == ("detectors", "dlib-68") else create(group, name, **options)

    monkeypatch.setattr(plugins, "create", made)
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assets.import_file(wireframes / "candide3-14auv.wfm")
    for number, row in enumerate(rows):
        row |= {"path": f"{number}.png", "split": "train" if number < 24 else "test"}
        cv2.imwrite(row["path"], np.full((48, 48), number if number < 35 else 250, np.uint8))
    pd.DataFrame(rows).to_csv("manifest.csv", index=False)
    return detector


def test_train_and_evaluate(world, tmp_path, capsys):
    assert main(["train", "candide-au", "--data", "manifest:.", "--out", "run", *SVM]) == 0
    printed = capsys.readouterr()
    assert printed.out == "model: run/model\n"
    assert printed.err == "pyemo: no landmarks in 1 rows; all in run/problems.txt\n"
    assert world.calls == CALLS
    evaluate = ["evaluate", "run/model", "--data", "manifest:.", "--prepared", "run"]
    assert main([*evaluate, "--out", "out", "--figures", "--card"]) == 0
    assert world.calls == CALLS  # the landmarks of the training run
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "out/evaluation-test.json").read_text())
    assert (report["rows"], report["rows_without_face"]) == (12, 1)
    assert 0.8 < report["accuracy"] < 1
    assert f"Test split, all 12 rows: accuracy {report['accuracy']:.2%}" in printed
    assert "1 of them have no face with landmarks, which is wrong." in printed
    assert "no t-SNE and no attention maps" in printed
    predictions = pd.read_csv("out/evaluation-test-predictions.csv")
    assert predictions["row"].tolist() == list(range(24, 35))
    measures = pd.read_csv("out/evaluation-test-measures.csv", index_col="class")
    right = predictions["label"] == predictions["prediction"]
    assert measures.loc["weighted", "recall"] == pytest.approx(right.mean())
    for name in FIGURES:
        for ending in ("png", "svg"):
            assert (tmp_path / f"out/evaluation-test-{name}.{ending}").stat().st_size > 1000
    card = (tmp_path / "run/model/card.md").read_text()
    assert "pyemo train candide-au --data manifest:ROOT 'labels=[happy" in card
    assert "## Measured afterwards" in card
    assert "pyemo evaluate candide-au --data manifest:ROOT --split test" in card
    assert main([*evaluate, "--mirror"]) == 1
    assert "--mirror is for models of images" in capsys.readouterr().err
    assert main([*evaluate, "--split", "validation"]) == 1
    assert "no rows of split 'validation'" in capsys.readouterr().err


def test_crossval(world, tmp_path, capsys):
    command = ["crossval", "candide-au", "--data", "manifest:.", "--out", "folds", *SVM, "folds.count=3"]
    assert main([*command, "--figures"]) == 0
    printed = capsys.readouterr().out
    folds = pd.read_csv("folds/folds.csv")
    assert folds["samples"].tolist() == [12, 12, 12]
    assert sorted(" ".join(folds["subjects"]).replace("person", "").split()) == list("012345")
    results = json.loads((tmp_path / "folds/results.json").read_text())
    assert results["data"] == "manifest"
    assert results["accuracy"]["mean"] == pytest.approx(folds["accuracy"].mean())
    predictions = pd.read_csv("folds/predictions.csv")
    assert sorted(predictions["row"]) == list(range(35))
    right = (predictions["label"] == predictions["prediction"]).sum()
    assert results["together"]["accuracy"] == pytest.approx(right / 36)  # the picture without landmarks is wrong
    assert right > 28
    assert "all 36 decisions together" in printed
    assert "1 of them without a face with landmarks, which is wrong; below they are left out" in printed
    assert "bootstrap over 6 subjects" in printed
    truth = predictions["label"].map(LABELS.index).to_numpy()
    expected = measure(truth, predictions[LABELS].to_numpy(), LABELS, predictions["subject"])
    found = pd.read_csv("folds/measures.csv", index_col="class")
    pd.testing.assert_frame_equal(found, expected.classes, check_names=False, check_dtype=False, atol=1e-6)
    for name in FIGURES:
        assert (tmp_path / f"folds/held-out-{name}.png").stat().st_size > 1000
    assert world.calls == CALLS
    assert main(command) == 0
    assert world.calls == CALLS
    assert main([*command, "--jobs", "2"]) == 1
    assert "--folds and --jobs are for networks" in capsys.readouterr().err


def test_an_interruption_keeps_the_landmarks(world, capsys, monkeypatch):
    mark = world.mark

    def interrupted(frame, faces):
        if world.calls == 20:
            raise KeyboardInterrupt
        return mark(frame, faces)

    command = ["train", "candide-au", "--data", "manifest:.", "--out", "run", *SVM]
    with monkeypatch.context() as patch:
        patch.setattr(world, "mark", interrupted)
        assert main(command) == 130
    assert "the same command goes on with the landmarks in run/landmarks.safetensors" in capsys.readouterr().err
    assert main(command) == 0
    assert world.calls == CALLS
