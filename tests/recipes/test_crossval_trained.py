"""``pyemo crossval`` of recipes that are trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shrunken import SHRUNKEN
from small_worlds import ravdess_speech

from pyemo.training import crossval
from pyemo.weights import load_model

Pyemo = Callable[..., tuple[int, str, str]]

SER = [*SHRUNKEN["ser"][1], "training.epochs=2", "training.batch_size=4", "folds={kind: given, name: thesis}"]


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six actors: three of the twelve folds."""
    return ravdess_speech(tmp_path_factory.mktemp("speech"), actors=range(1, 7), seconds=0.3)


def test_folds_one_after_the_other_interrupted_and_resumed(
    pyemo: Pyemo, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["crossval", "ser", *SER, "--data", f"ravdess:{speech}", "--out", "folds", "--device", "cpu"]
    train = crossval.train
    runs = []

    def interrupted(*arguments: object, **options: object) -> Path:
        if len(runs) == 1:
            raise KeyboardInterrupt
        runs.append(arguments[3])
        return train(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(crossval, "train", interrupted)
        status, _, err = pyemo(*command)
    assert status == 130
    assert "interrupted; the same command with --out folds goes on where it stopped" in err
    first = (tmp_path / "folds/fold-01/predictions.csv").read_bytes()
    written = (tmp_path / "folds/fold-01/model/model.safetensors").stat().st_mtime_ns

    status, out, err = pyemo(*command)
    assert status == 0
    assert out.splitlines()[:2] == ["fold 1", "done before"]
    assert "speech: no file of 18 of 24 actors" in err
    assert (tmp_path / "folds/fold-01/predictions.csv").read_bytes() == first
    assert (tmp_path / "folds/fold-01/model/model.safetensors").stat().st_mtime_ns == written

    table = pd.read_csv("folds/folds.csv")
    assert table["fold"].tolist() == [1, 2, 3]
    assert table["subjects"].tolist() == ["01 02", "03 04", "05 06"]
    assert table["samples"].tolist() == [8, 8, 8]
    predictions = pd.read_csv("folds/predictions.csv", dtype={"subject": str})
    assert len(predictions) == 24
    assert sorted(predictions["row"]) == list(range(24))  # every clip once
    assert predictions.groupby("fold")["subject"].unique().map(list).tolist() == [
        ["01", "02"],
        ["03", "04"],
        ["05", "06"],
    ]
    scores = predictions["label"] == predictions["prediction"]
    np.testing.assert_allclose(table["accuracy"], scores.groupby(predictions["fold"]).mean())
    results = json.loads(Path("folds/results.json").read_text())
    assert results["accuracy"]["mean"] == pytest.approx(table["accuracy"].mean())
    assert results["accuracy"]["deviation"] == pytest.approx(table["accuracy"].std(ddof=1))
    # Beside the thesis's own.
    header = next(line for line in out.splitlines() if "held out" in line)
    assert "published, with time augmentation" in header
    assert "71.6" in next(line for line in out.splitlines() if "01 02" in line)
    assert "published (with time augmentation): accuracy 69.30 %" in out
    card = (tmp_path / "folds/fold-02/model/card.md").read_text()
    assert "ravdess without fold 2 (8 clips)" in card
    assert "--folds 2" in card
    assert str(tmp_path) not in card

    # The fold held out, and no other, is what a fold's model has never seen; the next one validated.
    status, out, _ = pyemo(*command, "--folds", "2")
    assert (status, out.splitlines()[:2]) == (0, ["fold 2", "done before"])
    status, _, err = pyemo(*command, "--folds", "4")
    assert (status, "there is no fold 4; there are 1, 2, 3" in err) == (1, True)


def test_folds_side_by_side_give_the_same_and_one_that_fails_is_named(pyemo: Pyemo, speech: Path) -> None:
    Path("together/fold-02").mkdir(parents=True)
    Path("together/fold-02/config.yaml").write_text("name: something else\n")
    command = ["crossval", "ser", *SER, "--data", f"ravdess:{speech}", "--device", "cpu"]
    status, out, err = pyemo(*command, "--out", "together", "--folds", "1,2", "--jobs", "2")
    assert status == 1
    assert "fold 1: done" in out
    assert "1 of 2 folds failed; see together/fold-02.log" in err
    assert "pyemo: error: together/fold-02/config.yaml" in Path("together/fold-02.log").read_text()
    log = Path("together/fold-01.log").read_text()
    assert log.startswith("fold 1\n")
    assert "epoch 2/2" in log
    assert pyemo(*command, "--out", "alone", "--folds", "1")[0] == 0
    assert Path("together/fold-01/predictions.csv").read_bytes() == Path("alone/fold-01/predictions.csv").read_bytes()


def test_parts_start_from_the_models_of_their_own_fold(pyemo: Pyemo, speech: Path) -> None:
    quick = [*SER, "training.epochs=1"]
    common = ["--data", f"ravdess:{speech}", "--prepared", "prepared", "--device", "cpu"]
    assert pyemo("crossval", "ser", *quick, *common, "--out", "ser", "--folds", "1,3")[0] == 0
    start = ["model.modalities.voice.start_from=ser/fold-{fold}/model", "model.modalities.voice.frozen=true"]
    assert pyemo("crossval", "ser", *quick, *start, *common, "--out", "late", "--folds", "1,3")[0] == 0
    for fold in (1, 3):
        before, after = (load_model(f"{run}/fold-{fold:02d}/model") for run in ("ser", "late"))
        assert after.recipe.model.modalities["voice"].start_from == f"ser/fold-{fold:02d}/model"
        old, new = before.model.state_dict(), after.model.state_dict()
        assert all((new[key] == value).all() for key, value in old.items() if key.startswith("backbones."))
    # `train` validates with the first fold, and starts from what has not seen it.
    assert pyemo("train", "ser", *quick, *start, *common, "--out", "one")[0] == 0
    assert load_model("one/model").recipe.model.modalities["voice"].start_from == "ser/fold-01/model"
    every = ["training.validation_splits=[]", "training.keep=last", "training.schedule.name=constant"]
    status, _, err = pyemo("train", "ser", *quick, *start, *every, *common, "--out", "two")
    assert status == 1
    assert "{fold} is the number of a fold, and this run has none; give a model" in err


def test_people_in_two_folds_are_refused_unless_allowed(pyemo: Pyemo, speech: Path) -> None:
    command = [
        "crossval",
        "ser",
        *SER,
        "training.epochs=1",
        "--data",
        f"ravdess:{speech}",
        "--out",
        "mixed",
        "--device",
        "cpu",
    ]
    status, _, err = pyemo(*command, "folds={kind: stratified, count: 2}")
    assert status == 1
    assert "subjects are in the training rows and in the held-out rows (01, 02, 03, 04, 05, 06)" in err
    assert "folds.allow_subject_overlap=true" in err
    allowed = "folds={kind: stratified, count: 2, allow_subject_overlap: true}"
    two = ["training.validation_splits=[]", "training.keep=last", "training.schedule.name=constant"]
    assert pyemo(*command, *two, allowed)[0] == 0
    assert pd.read_csv("mixed/folds.csv")["samples"].tolist() == [12, 12]
