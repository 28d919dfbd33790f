from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from synthetic import write_clip

from pyemo.recognition import Recogniser

Pyemo = Callable[..., tuple[int, str, str]]
Loaded = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Emotions fill a third of their clips, the rest is neutral; four subjects."""
    for label, shown in (("anger", 10), ("happiness", 10), ("neutral", 2)):
        for number in range(4):
            emotion = {"anger": "angry", "happiness": "happy"}.get(label, "sad")
            write_clip(
                tmp_path / "data" / label / f"S{number}_{label}.avi",
                [{40: emotion}] * shown + [{40: "neutral"}] * (30 - shown),
            )
    return tmp_path / "data"


def test_threshold(pyemo: Pyemo, loaded: Loaded, root: Path) -> None:
    command = [
        "crossval",
        "threshold",
        "folds=4",
        "--data",
        f"folder:{root}",
        "--data-option",
        r"subject=^(S\d+)_",
        "--out",
        "out",
    ]
    status, out, err = pyemo(*command)
    assert (status, err) == (0, "")
    assert loaded[0][0] == "compact-resnet"
    assert "accuracy 1.0000 ± 0.0000, Top-1 0.3333 ± 0.0000" in out
    assert "12 clips, 0 without a face" in out
    results = json.loads(Path("out/results.json").read_text())
    assert results["thresholds_by_fold"] == [0.1] * 4  # the lowest that a clip with 2 of 30 votes does not reach
    assert results["all_folds"]["threshold"]["accuracy"] == 1.0
    assert results["data"] == "folder"
    assert results["recipe"]["folds"] == 4
    predictions = pd.read_csv("out/predictions.csv")
    assert (predictions.groupby("subject")["fold"].nunique() == 1).all()
    assert (predictions["prediction"] == predictions["label"]).all()
    assert len(pd.read_csv("out/folds.csv")) == 4
    assert yaml.safe_load(Path("out/config.yaml").read_text())["folds"] == 4
    assert not Path("out/errors.csv").exists()


def test_three_labels_use_the_frames_again(
    pyemo: Pyemo, loaded: Loaded, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["crossval", "threshold", "--data", f"folder:{root}", "folds=3", "--out", "out"]
    assert pyemo(*command)[0] == 0
    monkeypatch.setattr(Recogniser, "predict", lambda *_, **__: pytest.fail("classified again"))
    status, out, _ = pyemo(*command, "labels=3")
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[-4:-1]] == ["negative", "positive", "neutral"]
    assert set(pd.read_csv("out/predictions.csv")["label"]) == {"negative", "positive", "neutral"}


def test_bad_clips_are_left_out(pyemo: Pyemo, loaded: Loaded, root: Path) -> None:
    (root / "anger" / "bad.mp4").write_text("text")
    write_clip(root / "boredom" / "b.avi", [{40: "sad"}] * 10)
    write_clip(root / "happiness" / "nobody.avi", [{}] * 10)
    status, out, err = pyemo("crossval", "threshold", "folds=3", "--data", f"folder:{root}", "--out", "out")
    assert status == 3
    assert "13 clips, 1 without a face (counted as wrong)" in out
    assert "label 'boredom' is not one of" in err
    assert "2 problems" in err
    assert len(pd.read_csv("out/errors.csv")) == 2


def test_interruption_goes_on(pyemo: Pyemo, loaded: Loaded, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Recogniser.predict
    asked = []

    def interrupted(self: Recogniser, source: Path, **options: Any) -> Any:
        asked.append(source)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return predict(self, source, **options)

    monkeypatch.setattr(Recogniser, "predict", interrupted)
    command = ["crossval", "threshold", "folds=3", "--data", f"folder:{root}", "--out", "out"]
    status, _, err = pyemo(*command)
    assert status == 130
    assert "goes on where it stopped" in err
    assert pyemo(*command)[0] == 0
    assert len(asked) == 5 + 8


def test_errors_without_a_traceback(pyemo: Pyemo, loaded: Loaded, root: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "one" / "happy" / "a.avi", [{40: "happy"}] * 5)
    for arguments, message in (
        (["threshold", "fold=3"], "unknown key 'fold'; did you mean 'folds'?"),
        (["threshold", "labels=5"], "key 'labels'"),
        (["treshold"], "no recipe is called 'treshold'; there are"),
        (["mini-xception"], "this data set does not say who its subjects are"),
        (["threshold", "folds=40"], "40 folds need a class"),
        (["threshold", "--data", f"folder:{tmp_path / 'one'}"], "at least two classes, got happy"),
        (["threshold", "--data", "folder:nowhere"], "nowhere does not exist"),
        (["threshold", "--data", "folders:."], "no dataset is called 'folders'"),
        (["threshold", "--data-option", "subjects=x"], "no option 'subjects'"),
        (["threshold", "--data-option", "subject=("], "not a regular expression"),
    ):
        status, out, err = pyemo("crossval", "--data", f"folder:{root}", "--out", "out", *arguments)
        assert (status, out) == (1, "")
        assert err.startswith("pyemo: error: ")
        assert message in err
