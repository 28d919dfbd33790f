from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyemo.candide.timeline import COLUMNS
from pyemo.errors import ConfigError, PyemoError
from pyemo.recognition.figure import result_figure
from pyemo.recognition.reporting import contents
from pyemo.recognition.result import Result
from pyemo.recognition.saved import read_result

LABELS = ("happy", "neutral")


def result(rows: list[tuple[float, float, int, float]], **changes: object) -> Result:
    """Rows: start, end, face, probability of happy."""
    happy = np.array([row[3] for row in rows], np.float32)
    timeline = pd.DataFrame(
        {
            "start": [row[0] for row in rows],
            "end": [row[1] for row in rows],
            "face": [row[2] for row in rows],
            "label": np.where(happy >= 0.5, "happy", "neutral").astype(object),
            "happy": happy,
            "neutral": 1 - happy,
        }
    )
    fields: dict[str, object] = {
        "kind": "video",
        "source": "a/clip.mp4",
        "frames": 9,
        "duration": 0.9,
        "threshold": 0.2,
    }
    return Result(labels=LABELS, timeline=timeline, **{**fields, **changes})  # type: ignore[arg-type]


TWO_FACES = result(
    [
        (0.0, 0.1, 0, 0.9),
        (0.0, 0.1, 1, 0.1),
        (0.1, 0.2, 0, 0.7),
        (0.1, 0.2, 1, 0.2),
        (0.2, 0.3, 0, 0.3),
        (0.5, 0.6, 0, 0.4),
    ]
)


def test_segments_join_equal_neighbours_of_one_face() -> None:
    segments = TWO_FACES.segments
    assert segments[["start", "end", "face", "label"]].to_numpy().tolist() == [
        [0.0, 0.2, 0, "happy"],
        [0.0, 0.2, 1, "neutral"],
        [0.2, 0.3, 0, "neutral"],
        [0.5, 0.6, 0, "neutral"],  # the face was away in between
    ]
    np.testing.assert_allclose(segments["happy"], [0.8, 0.15, 0.3, 0.4], rtol=1e-6)


def test_label_and_scores() -> None:
    assert TWO_FACES.label == "happy"  # 2 of 6
    assert TWO_FACES.scores == pytest.approx({"happy": 2.6 / 6, "neutral": 3.4 / 6})
    assert [(face.label, face.frames, face.start, face.end) for face in TWO_FACES.faces] == [
        ("happy", 4, 0.0, 0.6),
        ("neutral", 2, 0.0, 0.2),
    ]


def test_files_hold_the_result(tmp_path: Path) -> None:
    csv, page, summary = TWO_FACES.save(tmp_path / "new" / "folder", extra={"more": 1})
    assert (csv.name, page.name, summary.name) == ("clip.mp4.csv", "clip.mp4.html", "clip.mp4.json")
    read = pd.read_csv(csv)
    assert list(read.columns) == list(TWO_FACES.timeline.columns)
    pd.testing.assert_frame_equal(read, TWO_FACES.timeline, check_dtype=False, atol=1e-6)
    content = json.loads(summary.read_text())
    assert content["more"] == 1
    assert content["label"] == "happy"
    assert content["votes"]["counts"] == {"happy": 2, "neutral": 4}
    assert (
        content["votes"]["mass"]["happy"] == TWO_FACES.votes.mass[0]
    )  # exactly: ties must fall the same way when it is read again
    assert [face["number"] for face in content["faces"]] == [0, 1]
    assert "write" in content["timing"]
    assert sorted(path.name for path in csv.parent.iterdir()) == ["clip.mp4.csv", "clip.mp4.html", "clip.mp4.json"]


def test_only_the_wanted_formats(tmp_path: Path) -> None:
    assert [path.name for path in TWO_FACES.save(tmp_path, "x", formats=["json"])] == ["x.json"]
    with pytest.raises(ConfigError, match="unknown format 'pdf'; there are csv, html, json"):
        TWO_FACES.save(tmp_path, formats=["pdf"])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PyemoError, match=r"cannot write .*clip\.mp4\.csv"):
        TWO_FACES.save(tmp_path / "file")


def with_action_units(plain: Result, jaw: list[float], fit_error: list[float]) -> Result:
    """The other columns are 0.5 where there is a fit."""
    missing = np.isnan(fit_error)
    units = dict.fromkeys(COLUMNS, np.where(missing, np.nan, 0.5)) | {"au26_jaw_drop": jaw, "fit_error": fit_error}
    return replace(plain, timeline=plain.timeline.assign(**{name: np.float32(units[name]) for name in COLUMNS}))


def test_trusted_action_units_are_curves_of_the_report(tmp_path: Path) -> None:
    nan = float("nan")
    plain = result(
        [(0.0, 0.1, -1, 0.9), (0.0, 0.1, 0, 0.9), (0.0, 0.1, 1, 0.9), (0.1, 0.2, 0, 0.9), (0.2, 0.3, 0, 0.9)]
    )
    assert [row.curves for row in contents(plain).rows] == [(), (), ()]
    measured = with_action_units(plain, [nan, 0.3, nan, 0.7, 1.2], [nan, 0.02, nan, 0.3, 0.09])
    for one in (measured, read_result(measured.save(tmp_path)[-1])[0]):
        shown = contents(one)
        voice, marked, unmarked = shown.rows
        assert (voice.curves, unmarked.curves) == ((), ())
        assert len(marked.curves) == 8  # neither the head's turn nor the error
        assert (marked.curves[0].name, marked.curves[0].code) == ("jaw drop", "AU 26/27")
        assert (marked.curves[-1].name, marked.curves[-1].code) == ("eyes closed", "AU 42/43/44/45")
        np.testing.assert_allclose(marked.curves[0].values, [0.3, nan, 1.2], rtol=1e-6)
        np.testing.assert_allclose(marked.curves[1].values, [0.5, nan, 0.5])
        assert "first frames" in shown.measured
    assert "One picture" in contents(replace(measured, kind="image")).measured


def test_figure_interrupts_lines_where_the_face_was_away() -> None:
    figure = result_figure(TWO_FACES)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == list(LABELS)
    x, y = lines[0].get_data()
    np.testing.assert_allclose(x, [0.05, 0.15, 0.25, np.nan, 0.55])
    np.testing.assert_allclose(y, [0.9, 0.7, 0.3, np.nan, 0.4], rtol=1e-6)
    assert len(figure.axes) == 2


def test_figures_without_time_and_without_faces(tmp_path: Path) -> None:
    nan = float("nan")
    bars = result_figure(result([(nan, nan, 0, 0.9)], kind="image", duration=None))
    assert [bar.get_height() for bar in bars.axes[0].patches] == pytest.approx([0.9, 0.1])
    result_figure(result([])).savefig(tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_figure_shows_the_faces_seen_longest() -> None:
    rows = [(step / 10, (step + 1) / 10, face, 0.9) for face in range(12) for step in range(face + 1)]
    figure = result_figure(result(sorted(rows)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [f"face {number}: happy" for number in range(4, 12)]
