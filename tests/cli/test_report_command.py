from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import write_clip, write_image

Pyemo = Callable[..., tuple[int, str, str]]
Loaded = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def run(pyemo: Pyemo, loaded: Loaded, tmp_path: Path) -> Path:
    write_clip(tmp_path / "media" / "clip.avi", [{20: "happy", 120: "sad"}] * 30)
    write_image(tmp_path / "media" / "picture.png", {40: "fear"})
    assert pyemo("predict", "media", "--out", "run")[0] == 0
    return tmp_path / "run"


def test_predict_writes_reports_unless_told_otherwise(pyemo: Pyemo, run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"clip.avi.html", "clip.avi.faces.jpg", "clip.avi.preview.mp4", "picture.png.html"} <= names
    page = (run / "clip.avi.html").read_text(encoding="utf-8")
    assert "clip.avi.preview.mp4" in page
    assert page.count('"kind":"face"') == 2
    assert pyemo("predict", "media", "--out", "bare", "--format", "csv,json")[0] == 0
    assert not list(Path("bare").glob("*.html"))
    assert pyemo("predict", "media", "--out", "alone", "--video", "embed")[0] == 0
    assert "data:video/mp4;base64," in Path("alone", "clip.avi.html").read_text(encoding="utf-8")
    assert not list(Path("alone").glob("*.mp4"))


def test_reports_made_again_are_the_same(pyemo: Pyemo, run: Path) -> None:
    before = {path.name: path.read_text(encoding="utf-8") for path in run.glob("*.html")}
    status, out, err = pyemo("report", "run", "--out", "run/again")
    assert (status, err) == (0, "")
    assert "written: run/again/clip.avi.html" in out
    for name, page in before.items():
        again = (run / "again" / name).read_text(encoding="utf-8")
        data = [json.loads(one.split('id="data">')[1].split("</script>")[0]) for one in (page, again)]
        for row in data[0]["rows"] + data[1]["rows"]:
            for picture in row["pictures"]:
                picture["image"] = len(picture["image"]) // 1000  # compressed twice
        assert data[0] == data[1]


def test_one_file_with_the_clip_inside(pyemo: Pyemo, run: Path) -> None:
    assert pyemo("report", "run/clip.avi.json", "--video", "embed", "--out", "out")[0] == 0
    assert [path.name for path in Path("out").iterdir()] == ["clip.avi.html"]
    assert "data:video/mp4;base64," in Path("out/clip.avi.html").read_text(encoding="utf-8")


def test_runs_without_faces_kept_and_without_the_clip(pyemo: Pyemo, run: Path) -> None:
    for path in (*run.glob("*.faces.jpg"), run.parent / "media" / "clip.avi"):
        path.unlink()
    assert pyemo("report", "run")[0] == 0
    page = (run / "clip.avi.html").read_text(encoding="utf-8")
    assert "The clip cannot be shown" in page
    assert '"pictures":[]' in page


def test_what_is_wrong_is_named_and_the_rest_is_done(pyemo: Pyemo, run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for given, message in (("empty", "no result of `pyemo predict`"), ("absent", "no result of `pyemo predict`")):
        status, _, err = pyemo("report", given)
        assert status == 1
        assert message in err
    (run / "clip.avi.csv").unlink()
    status, out, err = pyemo("report", "run", "--out", "out")
    assert status == 3
    assert "clip.avi.csv is not there; a report needs the timeline" in err
    assert "out/picture.png.html" in out
    table = pd.read_csv(run / "picture.png.csv").drop(columns="sad")
    table.to_csv(run / "picture.png.csv", index=False)
    status, _, err = pyemo("report", "run/picture.png.json")
    assert status == 1
    assert "picture.png.csv: expected the columns start, end, face, label, angry" in err
    (run / "broken.json").write_text("{", encoding="utf-8")
    assert "not readable as JSON" in pyemo("report", "run/broken.json")[2]
    (run / "other.json").write_text('{"votes": {"counts": {}}}', encoding="utf-8")
    assert "other.csv is not there" in pyemo("report", "run/other.json")[2]
    (tmp_path / "file").touch()
    status, _, err = pyemo("report", "run/clip.avi.json", "--out", "file/out")
    assert status == 1
