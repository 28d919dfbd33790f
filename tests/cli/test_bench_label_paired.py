"""``pyemo bench label-paired`` on small sets in the real layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from paired_sets import FACES, write_faces, write_voices

from pyemo.benchmarking.label_paired import runs
from pyemo.benchmarking.label_paired.summary import difference, holm, summarise
from pyemo.weights import load_model

Pyemo = Callable[..., tuple[int, str, str]]
SMALL = (
    "training.epochs=1",
    "training.batch_size=16",
    "model.modalities.face.input.size=16",
    "model.modalities.face.backbone.options={widths: [4, 8], blocks: [0, 0]}",
    "model.modalities.voice.backbone.options={bins: 40, widths: [4, 8], blocks: [1, 1], steps: [[4, 4], [4, 4]], dim: 8, attention: 4}",
)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("paired")
    return write_voices(root / "ravdess", range(1, 7), sound=True), write_faces(
        root / "fer2013", {"train": 6, "validation": 6, "test": 6}
    )


@pytest.fixture
def command(sets: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> tuple[str | Path, ...]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return ("bench", "label-paired", "--ravdess", sets[0], "--faces", sets[1], "--out", "out", *SMALL)


def test_one_seed_and_what_a_second_call_does(
    pyemo: Pyemo, command: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--seeds", "3", "--methods", "late-average,n0-late")
    status, out, err = pyemo(*command, *asked)
    assert status == 0
    assert "not RAVDESS audio-video" in out
    assert "label 'calm': 6 rows count as neutral" in err
    table = pd.read_csv("out/results.csv")
    # The single networks are needed by both; of the faces there is one training for both conditions.
    assert table["method"].tolist() == ["voice", "face", "late-average", "n0-late"] * 2
    assert table["condition"].tolist() == ["clean"] * 4 + ["wrong-30"] * 4
    assert table["test_samples"].unique().tolist() == [16]
    assert table["training_samples"].tolist() == [32, 32, 0, 32] * 2
    assert not Path("out/runs/seed-3/wrong-30/face").exists()
    faces = table[table["method"] == "face"]
    assert faces["accuracy"].nunique() == 1

    clean = Path("out/runs/seed-3/clean")
    voice, face, late = (pd.read_csv(clean / name / "predictions.csv") for name in ("voice", "face", "late-average"))
    mean = (voice[list(FACES)] + face[list(FACES)]) / 2
    assert mean.idxmax(axis=1).tolist() == late["prediction"].tolist()
    assert np.mean(late["prediction"] == late["label"]) == pytest.approx(table["accuracy"][2])
    joined = load_model(str(clean / "n0-late" / "model"))
    for name in ("voice", "face"):
        own = load_model(str(clean / name / "model")).model.backbones[name].state_dict()
        frozen = joined.model.backbones[name].state_dict()
        assert all(bool((own[key] == frozen[key]).all()) for key in own)
    shares = {
        condition: json.loads(Path(f"out/runs/seed-3/{condition}/voice/result.json").read_text())["settings"]["recipe"][
            "sampling"
        ]["wrong_partner"]
        for condition in ("clean", "wrong-30")
    }
    assert shares == {"clean": 0.0, "wrong-30": 0.3}

    document = json.loads(Path("out/results.json").read_text())
    assert (document["runs_done"], document["runs_planned"]) == (8, 8)
    assert document["machine"]["cpu"]
    assert {line["accuracy"]["deviation"] for line in document["methods"]} == {None}
    picture = cv2.imread("out/chart.png")
    assert picture is not None
    assert picture.std() > 10

    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    status, again, _ = pyemo(*command, *asked)
    assert status == 0
    assert again.count("done before") == 8
    assert pd.read_csv("out/results.csv").equals(table)
    status, _, err = pyemo(*command, *asked, "training.epochs=2")
    assert status == 1
    assert "holds a run of another configuration or of other data" in err


def test_all_methods_and_an_interruption(
    pyemo: Pyemo, command: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, trained = runs.train, []

    def train(*arguments: Any, **options: Any) -> Path:
        trained.append(arguments[0].name)
        if len(trained) == 5:
            raise KeyboardInterrupt
        return original(*arguments, **options)

    monkeypatch.setattr(runs, "train", train)
    asked = ("--seeds", "0", "--conditions", "wrong-30")
    status, out, err = pyemo(*command, *asked)
    assert status == 130
    assert "goes on where it stopped" in err
    assert "wrong-30   concat" in out
    assert json.loads(Path("out/results.json").read_text())["runs_done"] == 5
    status, out, _ = pyemo(*command, *asked)
    assert status == 0
    names = ["voice", "face", "n0-late", "concat", "pairwise", "n0", "n1", "mrpn", "mfm"]
    assert trained == [f"label-paired {name}" for name in (*names[:5], *names[4:])]
    table = pd.read_csv("out/results.csv").set_index("method")
    assert len(table) == 10
    assert table.loc["n0-late", "parameters"] < table.loc["n0", "parameters"] < table.loc["mrpn", "parameters"]


def test_errors_without_a_traceback(pyemo: Pyemo, sets: tuple[Path, Path]) -> None:
    both = ("--ravdess", sets[0], "--faces", sets[1])
    for arguments, message in (
        (("label-paired",), "label-paired needs both data sets: --ravdess DIR --faces DIR"),
        (("label-paired", *both, "--methods", "mrpm"), "no method is called 'mrpm'; did you mean 'mrpn'?"),
        (("label-paired", *both, "--conditions", "dirty"), "no condition is called 'dirty'; there are clean, wrong-30"),
        (("label-paired", *both, "training.epoch=1"), "unknown key 'training.epoch'"),
        (("label-paired", *both, "training.train_splits=[train, test]"), "the split test is for the test"),
        (("ops", "training.epochs=1"), "key=value is for label-paired only"),
    ):
        status, _, err = pyemo("bench", *arguments, "--out", "out")
        assert status == 1
        assert message in err
    status, _, err = pyemo("bench", "label-paired", *both, "--seeds", "0,x")
    assert status == 2
    assert "expected numbers from 0" in err


def test_differences_are_paired_by_seed() -> None:
    rows = [
        {"seed": seed, "condition": condition, "method": method, "accuracy": accuracy}
        for condition, method, of in (
            ("clean", "n0", (0.5, 0.6, 0.7)),
            ("clean", "n1", (0.52, 0.63, 0.71)),
            ("clean", "mrpn", (0.5, 0.6)),
            ("wrong-30", "n0", (0.4, 0.5, 0.6)),
        )
        for seed, accuracy in enumerate(of)
    ]
    table = pd.DataFrame(rows).assign(balanced_accuracy=0.5, macro_f1=0.5, seconds=1.0)
    lines = {
        (line.condition, line.method): line for line in summarise(table, ["clean", "wrong-30"], ["n0", "n1", "mrpn"])
    }
    n1 = lines["clean", "n1"].against
    assert n1 is not None
    # By hand: differences 0.02, 0.03, 0.01; t = 0.02 / (0.01 / sqrt(3)) = 3.4641 with 2 degrees of freedom.
    assert (n1.seeds, n1.mean, n1.deviation) == (3, pytest.approx(0.02), pytest.approx(0.01))
    assert n1.p == pytest.approx(0.0742, abs=1e-4)
    assert (n1.low, n1.high) == (pytest.approx(0.02 - 0.02484, abs=1e-5), pytest.approx(0.02 + 0.02484, abs=1e-5))
    mrpn = lines["clean", "mrpn"].against
    assert mrpn is not None
    assert (mrpn.seeds, mrpn.mean, mrpn.p) == (2, 0.0, None)
    assert lines["clean", "n0"].against is None
    drop = lines["wrong-30", "n0"].against_clean
    assert drop is not None
    assert drop.mean == pytest.approx(-0.1)
    assert difference(pd.Series({0: 0.5}), pd.Series({0: 0.4, 1: 0.3})) is None


def test_holm() -> None:
    # Holm's own procedure by hand: 0.01 * 4, 0.02 * 3, max(0.03 * 2, 0.06), max(0.04, 0.06).
    assert holm({"a": 0.02, "b": 0.01, "c": 0.04, "d": 0.03}) == pytest.approx(
        {"b": 0.04, "a": 0.06, "d": 0.06, "c": 0.06}
    )
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
