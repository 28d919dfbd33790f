from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

Pyemo = Callable[..., tuple[int, str, str]]
LABELS = ("happy", "sad")


def predictions(folder: Path, right: float, labels: tuple[str, ...] = LABELS) -> Path:
    """200 decisions of ten people, a share of them right."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 200)
    decided = np.where(np.arange(200) < 200 * right, truth, 1 - truth)
    table = pd.DataFrame(
        {
            "row": range(200),
            "frame": -1,
            "path": "x.png",
            "subject": [f"S{number % 10}" for number in range(200)],
            "label": np.array(labels)[truth],
            "prediction": np.array(labels)[decided],
            labels[0]: np.where(decided == 0, 0.9, 0.1),
            labels[1]: np.where(decided == 1, 0.9, 0.1),
        }
    )
    folder.mkdir()
    table.to_csv(folder / "predictions.csv", index=False)
    return folder


def test_table_bars_and_what_fine_tuning_gains(pyemo: Pyemo, tmp_path: Path) -> None:
    frozen, tuned = predictions(tmp_path / "frozen", 0.7), predictions(tmp_path / "tuned", 0.9)
    given = [f"vit:frozen={frozen}", f"vit:fine-tuned={tuned / 'predictions.csv'}"]
    status, out, err = pyemo("compare", *given, "--out", "out")
    assert (status, err) == (0, "")
    assert "| vit:frozen | 200 | 70.00 % (" in out
    assert "| vit | 70.00 % | 90.00 % | +20.00 |" in out
    assert "bootstrap over 10 subjects" in out
    table = pd.read_csv("out/comparison.csv", index_col="model")
    assert table["accuracy"].tolist() == [0.7, 0.9]
    assert {path.name for path in Path("out").iterdir()} == {
        *(f"{stem}.{kind}" for stem in ("comparison", "frozen-against-fine-tuned") for kind in ("csv", "md")),
        *(f"{stem}.{kind}" for stem in ("recall", "precision") for kind in ("png", "svg")),
    }


def test_one_model_alone(pyemo: Pyemo, tmp_path: Path) -> None:
    status, out, _ = pyemo("compare", f"net={predictions(tmp_path / 'a', 0.8)}")
    assert status == 0
    assert "fine" not in out


def test_what_is_wrong_is_named(pyemo: Pyemo, tmp_path: Path) -> None:
    one, other = predictions(tmp_path / "a", 0.8), predictions(tmp_path / "b", 0.8, ("angry", "sad"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    strange = pd.read_csv(one / "predictions.csv").replace({"label": {"happy": "glad"}})
    strange.to_csv(tmp_path / "strange.csv", index=False)
    for given, message in (
        ([str(one)], "expected NAME=FILE"),
        ([f"x={tmp_path / 'empty'}"], "expected one file *predictions.csv, there are 0"),
        ([f"x={tmp_path / 'bad.csv'}"], "the column row is missing"),
        ([f"x={tmp_path / 'absent.csv'}"], "cannot be read"),
        ([f"x={tmp_path / 'strange.csv'}"], "the label 'glad' has no column of probabilities"),
        ([f"x={one}", f"y={other}"], "different classes"),
    ):
        status, _, err = pyemo("compare", *given)
        assert status == 1
        assert message in err


def test_an_empty_set(pyemo: Pyemo, tmp_path: Path) -> None:
    folder = predictions(tmp_path / "a", 0.8)
    pd.read_csv(folder / "predictions.csv").head(0).to_csv(folder / "predictions.csv", index=False)
    status, _, err = pyemo("compare", f"x={folder}")
    assert status == 1
    assert "the evaluation set is empty" in err


@pytest.mark.parametrize("place", ["file/out"])
def test_an_unwritable_place(pyemo: Pyemo, tmp_path: Path, place: str) -> None:
    folder = predictions(tmp_path / "a", 0.8)
    (tmp_path / "file").touch()
    status, _, err = pyemo("compare", f"x={folder}", "--out", place)
    assert status == 1
    assert "cannot write into" in err
