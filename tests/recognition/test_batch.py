from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from synthetic import SquareDetector, brightness_model, picture, write_clip, write_image

from pyemo.errors import ConfigError, PyemoError
from pyemo.recognition import Recogniser, Result
from pyemo.recognition.batch import BatchReport, recognise_all


class Counting(Recogniser):
    """Remembers what it was asked, and can be interrupted."""

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        super().__init__(brightness_model(folder), SquareDetector(), device="cpu")
        self.asked: list[str] = []
        self.stop_at = stop_at

    def predict(self, source: str | Path | np.ndarray, **options: object) -> Result:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(Path(str(source)).name)
        return super().predict(source, **options)  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return [
        write_image(tmp_path / "in" / f"{emotion}.png", {40: emotion}) for emotion in ("angry", "happy", "sad", "fear")
    ]


def batch(recogniser: Recogniser, inputs: list[Path], tmp_path: Path, **options: object) -> BatchReport:
    return recognise_all(recogniser, inputs, tmp_path / "out", **{"threshold": 0.2, **options})  # type: ignore[arg-type]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_files_of_a_batch(pictures: list[Path], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in" / "clip.avi", [{40: "sad"}] * 10)
    report = batch(Counting(tmp_path), [*pictures, clip], tmp_path)
    assert [record["label"] for record in report.records.values()] == ["angry", "happy", "sad", "fear", "sad"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("csv", "json", "html", "faces.jpg")
    assert names == {
        "summary.csv",
        "clip.avi.preview.mp4",
        *(f"{path.name}.{kind}" for path in [*pictures, clip] for kind in kinds),
    }
    rows = table(tmp_path / "out" / "summary.csv")
    assert [row["input"] for row in rows] == [str(path) for path in [*pictures, clip]]
    assert rows[4]["json"] == "clip.avi.json"
    assert rows[4]["frames"] == "10"
    assert float(rows[4]["sad"]) > 0.9


def test_done_inputs_are_not_done_again(pictures: list[Path], tmp_path: Path) -> None:
    first = batch(Counting(tmp_path), pictures, tmp_path)
    again = Counting(tmp_path)
    report = batch(again, pictures, tmp_path)
    assert again.asked == []
    assert report.reused == 4
    assert report.records == first.records
    batch(again, pictures, tmp_path, force=True)
    assert len(again.asked) == 4


def test_what_has_changed_is_done_again(pictures: list[Path], tmp_path: Path) -> None:
    batch(Counting(tmp_path), pictures, tmp_path)
    recogniser = Counting(tmp_path)
    write_image(pictures[1], {40: "surprise", 120: "surprise"})
    os.utime(pictures[2], ns=(1, 1))
    (tmp_path / "out" / "fear.png.csv").unlink()
    report = batch(recogniser, pictures, tmp_path)
    assert recogniser.asked == ["happy.png", "sad.png", "fear.png"]
    assert report.records[pictures[1]]["label"] == "surprise"
    batch(recogniser, pictures, tmp_path, threshold=None)
    assert len(recogniser.asked) == 7
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    batch(recogniser, pictures, tmp_path, threshold=None)
    assert len(recogniser.asked) == 11


def test_an_interrupted_batch_keeps_what_is_done_and_goes_on(pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        batch(Counting(tmp_path, stop_at=2), pictures, tmp_path)
    assert [row["label"] for row in table(tmp_path / "out" / "summary.csv")] == ["angry", "happy"]
    recogniser = Counting(tmp_path)
    report = batch(recogniser, pictures, tmp_path)
    assert recogniser.asked == ["sad.png", "fear.png"]
    assert len(report.records) == len(table(tmp_path / "out" / "summary.csv")) == 4


def test_an_input_cut_off_before_its_json_is_done_again(pictures: list[Path], tmp_path: Path) -> None:
    batch(Counting(tmp_path), pictures[:1], tmp_path)
    (tmp_path / "out" / "angry.png.json").unlink()
    recogniser = Counting(tmp_path)
    batch(recogniser, pictures[:1], tmp_path)
    assert recogniser.asked == ["angry.png"]


def test_failures_do_not_stop_the_others(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.mp4").write_text("not a video")
    inputs = [pictures[0], tmp_path / "in" / "bad.mp4", tmp_path / "gone.png", pictures[1]]

    class Fragile(Counting):
        def predict(self, source: str | Path | np.ndarray, **options: object) -> Result:
            if Path(str(source)).name == "happy.png":
                raise ZeroDivisionError("in somebody's detector")
            return super().predict(source, **options)

    report = batch(Fragile(tmp_path), [*inputs, pictures[2]], tmp_path)
    assert list(report.records) == [pictures[0], pictures[2]]
    rows = table(tmp_path / "out" / "errors.csv")
    assert [row["error"] for row in rows] == ["MediaError", "FileNotFoundError", "ZeroDivisionError"]
    assert [row["input"] for row in rows] == [str(path) for path in inputs[1:]]
    assert "bad.mp4" in rows[0]["message"]
    assert "somebody's detector" in rows[2]["message"]
    batch(Counting(tmp_path), pictures, tmp_path)
    assert not (tmp_path / "out" / "errors.csv").exists()


def test_equal_names_do_not_collide_now_or_later(tmp_path: Path) -> None:
    one, two, three = (
        write_image(tmp_path / name / "x.png", {40: label})
        for name, label in (("a", "sad"), ("b", "fear"), ("c", "happy"))
    )
    batch(Counting(tmp_path), [one], tmp_path)
    report = batch(Counting(tmp_path), [three, two, one], tmp_path)
    files = [record["files"][-1] for record in report.records.values()]
    assert len(set(files)) == 3
    assert files[2] == "x.png.json"
    labels = [json.loads((tmp_path / "out" / file).read_text())["label"] for file in files]
    assert labels == ["happy", "fear", "sad"]
    assert report.reused == 1
    assert batch(Counting(tmp_path), [two, three, one], tmp_path).reused == 3


def test_a_json_file_of_somebody_else_is_left_alone(pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in ("[1]", "{broken", '{"input": "mine"}'):
        (tmp_path / "out" / "angry.png.json").write_text(content)
        report = batch(Counting(tmp_path), pictures[:1], tmp_path)
        assert (tmp_path / "out" / "angry.png.json").read_text() == content
        assert report.records[pictures[0]]["label"] == "angry"


def test_json_is_always_written(pictures: list[Path], tmp_path: Path) -> None:
    batch(Counting(tmp_path), pictures[:1], tmp_path, formats=["csv"])
    assert batch(Counting(tmp_path), pictures[:1], tmp_path, formats=["json"]).reused == 0
    assert (tmp_path / "out" / "angry.png.json").is_file()


def test_listener_hears_the_position(pictures: list[Path], tmp_path: Path) -> None:
    heard: list[tuple[int, str, float]] = []
    clip = write_clip(tmp_path / "in" / "clip.avi", [{40: "sad"}] * 130)
    batch(
        Counting(tmp_path),
        [pictures[0], clip],
        tmp_path,
        listener=lambda done, path, share: heard.append((done, path.name, share)),
    )
    assert heard == [(0, "angry.png", 0.0), (1, "clip.avi", 0.0), (1, "clip.avi", 64 / 130), (1, "clip.avi", 128 / 130)]


def test_bad_arguments_and_places(pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown format 'pdf'"):
        batch(Counting(tmp_path), pictures, tmp_path, formats=["pdf"])
    with pytest.raises(ConfigError, match="threshold"):
        batch(Counting(tmp_path), pictures, tmp_path, threshold=2.0)
    (tmp_path / "out").write_text("a file")
    recogniser = Counting(tmp_path)
    with pytest.raises(PyemoError, match=r"cannot write into .*out"):
        batch(recogniser, pictures, tmp_path)
    assert recogniser.asked == []


def test_arrays_are_not_confused(tmp_path: Path) -> None:
    assert Counting(tmp_path).predict(picture({40: "fear"})).label == "fear"
