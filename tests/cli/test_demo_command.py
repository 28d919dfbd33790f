from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest
from synthetic import brightness_model, write_clip, write_image

from pyemo.media import VideoReader
from pyemo.recognition import Recogniser
from pyemo.recognition.example import make_example_clip

Pyemo = Callable[..., tuple[int, str, str]]


def test_without_a_clip(pyemo: Pyemo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real detector must find the face, as long as it is in the picture."""
    monkeypatch.setattr(
        "pyemo.recognition.load", lambda model, **options: Recogniser(brightness_model(tmp_path), **options)
    )
    status, out, err = pyemo("demo")
    assert (status, err) == (0, "")
    folder = Path("pyemo-demo")
    assert {path.name for path in folder.iterdir()} == {
        f"grace_hopper.mp4{kind}" for kind in ("", ".csv", ".json", ".png", ".html", ".faces.jpg", ".preview.mp4")
    }
    timeline = pd.read_csv(folder / "grace_hopper.mp4.csv")
    assert set(timeline["face"]) == {0}
    assert 60 < len(timeline) < 100
    assert timeline["end"].max() < 4
    assert json.loads((folder / "grace_hopper.mp4.json").read_text())["frames"] == 100
    chart = cv2.imread(str(folder / "grace_hopper.mp4.png"))
    assert chart is not None
    assert chart.std() > 10
    for path in folder.iterdir():
        assert str(path) in out


def test_with_a_clip_and_a_picture(pyemo: Pyemo, loaded: list[Any], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 10 + [{40: "neutral"}] * 15)
    status, out, _ = pyemo("demo", clip, "--out", "there")
    assert status == 0
    assert [line.split() for line in out.splitlines()[1:4]] == [
        ["when", "face", "emotion", "score"],
        ["0.00", "-", "0.40", "s", "0", "happy", "1.00"],
        ["0.40", "-", "1.00", "s", "0", "neutral", "1.00"],
    ]
    status, out, _ = pyemo("demo", write_image(tmp_path / "picture.png", {40: "sad"}), "--out", "there")
    assert status == 0
    assert "picture.png: sad" in out
    assert Path("there/picture.png.png").is_file()
    status, out, _ = pyemo("demo", write_clip(tmp_path / "bare.avi", [{}] * 5), "--out", "there")
    assert status == 0
    assert "bare.avi: no face" in out


def test_bad_clip(pyemo: Pyemo, loaded: list[Any], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("text")
    status, out, err = pyemo("demo", "text.mp4")
    assert (status, out) == (1, "")
    assert err.startswith("pyemo: error: text.mp4: ")


def test_example_clip(tmp_path: Path) -> None:
    with VideoReader(make_example_clip(tmp_path / "clip.mp4")) as reader:
        frames = list(reader)
    assert len(frames) == 100
    assert frames[0].image.shape == (480, 480, 3)
    assert frames[-1].time == pytest.approx(3.96)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
