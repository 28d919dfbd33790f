from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic import write_clip, write_image

from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.model import build_model
from pyemo.recognition import Recogniser
from pyemo.weights import save_model

Pyemo = Callable[..., tuple[int, str, str]]
Loaded = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def media(tmp_path: Path) -> Path:
    write_clip(tmp_path / "media" / "clip.avi", [{40: "happy"}] * 6 + [{40: "neutral"}] * 24)
    write_clip(tmp_path / "media" / "deeper" / "clip.avi", [{}] * 10)
    write_image(tmp_path / "media" / "picture.png", {40: "sad"})
    return tmp_path / "media"


def test_a_folder(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    status, out, err = pyemo("predict", "media", "--out", "out")
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert ["media/clip.avi", "happy", "0.20", "face", "1", "1.2"] in lines
    assert ["media/deeper/clip.avi", "no", "face", "0", "0.4"] in lines
    assert ["media/picture.png", "sad", "1.00", "face", "1"] in lines
    summary = pd.read_csv("out/summary.csv")
    assert summary["label"].fillna("").tolist() == ["happy", "", "sad"]
    for name in summary["json"]:
        assert Path("out", name).is_file()
        assert Path("out", name).with_suffix(".csv").is_file()


def test_globs_and_files(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    assert pyemo("predict", "media/**/*.avi", "media/picture.png", "--out", "out")[0] == 0
    assert pd.read_csv("out/summary.csv")["input"].tolist() == [
        "media/clip.avi",
        "media/deeper/clip.avi",
        "media/picture.png",
    ]


def test_options_reach_the_recogniser(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    options = "--model M --detector yunet --detector-option max_side=320 --detector-option weights=a.onnx --every 3 --device cpu"
    assert pyemo("predict", "media/clip.avi", "--out", "out", "--threshold", "none", *options.split())[0] == 0
    assert loaded == [
        (
            "M",
            {
                "detector": "yunet",
                "detector_options": {"max_side": 320, "weights": "a.onnx"},
                "device": "cpu",
                "every": 3,
                "modalities": None,
                "features": (),
            },
        )
    ]
    record = json.loads(Path("out/clip.avi.json").read_text())
    assert (record["label"], record["threshold"], record["settings"]["every"]) == ("neutral", None, 3)


def test_threshold(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    for threshold, label in (("0.2", "happy"), ("0.21", "neutral"), ("none", "neutral")):
        assert pyemo("predict", "media/clip.avi", "--out", "out", "--threshold", threshold)[0] == 0
        assert json.loads(Path("out/clip.avi.json").read_text())["label"] == label
    for wrong in ("2", "x", "nan"):
        status, _, err = pyemo("predict", "media/clip.avi", "--out", "out", "--threshold", wrong)
        assert status == 2
        assert "expected a number from 0 to 1, or none" in err


def test_formats_and_profile(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    status, out, _ = pyemo("predict", "media/clip.avi", "--out", "out", "--format", "json", "--profile")
    assert status == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["clip.avi.json", "summary.csv"]
    assert [line.split()[0] for line in out.splitlines()[4:]] == [
        "decode",
        "detect",
        "crop",
        "landmarks",
        "model",
        "voice",
        "write",
        "report",
        "total",
        "30",
    ]
    status, _, err = pyemo("predict", "media/clip.avi", "--out", "out", "--format", "pdf")
    assert status == 1
    assert "unknown format 'pdf'" in err


def test_done_before(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    pyemo("predict", "media", "--out", "out")
    written = Path("out/clip.avi.json").stat().st_mtime_ns
    assert "done before: 3" in pyemo("predict", "media", "--out", "out")[1]
    assert Path("out/clip.avi.json").stat().st_mtime_ns == written
    assert "done before" not in pyemo("predict", "media", "--out", "out", "--force")[1]


def test_some_inputs_fail(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    (media / "text.mp4").write_text("this is text")
    (media / "empty.mp4").touch()
    (media / "cut.avi").write_bytes((media / "clip.avi").read_bytes()[:100])
    status, out, err = pyemo("predict", "media", "--out", "out")
    assert status == 3
    assert "media/picture.png" in out
    errors = pd.read_csv("out/errors.csv")
    assert errors["input"].tolist() == ["media/cut.avi", "media/empty.mp4", "media/text.mp4"]
    for message in errors["message"]:
        assert f"pyemo: error: {message}" in err
    assert "3 of 6 inputs failed" in err
    assert pyemo("predict", "media/text.mp4", "--out", "alone")[0] == 1


def test_sounds_are_left_out_unless_named(pyemo: Pyemo, loaded: Loaded, media: Path) -> None:
    (media / "voice.wav").touch()
    status, _, err = pyemo("predict", "media", "--out", "out")
    assert (status, err) == (0, "pyemo: 1 sound file left out: the model sees faces only\n")
    status, _, err = pyemo("predict", "media/voice.wav", "--out", "out")
    assert status == 1
    assert "a sound has no faces" in err


def test_nothing_to_do(pyemo: Pyemo, loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for given, message in (
        ("bare", "no image, video or audio file in this folder"),
        ("absent.mp4", "no such file"),
        ("*.mp4", "matches this pattern"),
    ):
        status, out, err = pyemo("predict", given, "--out", "out")
        assert (status, out) == (1, "")
        assert message in err
    assert not (tmp_path / "out").exists()


def test_errors_without_a_traceback(pyemo: Pyemo, media: Path) -> None:
    for option, value, message in (
        ("--model", "nosuch", "no model is called 'nosuch'"),
        ("--detector", "dlip", "no detector is called 'dlip'; did you mean 'dlib'?"),
        ("--detector-option", "sise=1", "no option 'sise'"),
        ("--detector-option", "x", "expected KEY=VALUE"),
        ("--every", "0", "every must be at least 1"),
        ("--device", "tpu", "device 'tpu'"),
    ):
        model = [] if option == "--model" else ["--model", _tiny_model()]
        status, out, err = pyemo("predict", "media", "--out", "out", option, value, *model)
        assert (status, out) == (1, "")
        assert err.startswith("pyemo: error: ")
        assert message in err


def _tiny_model() -> Path:
    folder = Path("tiny")
    if not folder.exists():
        recipe = load_recipe("mini-xception")
        assert isinstance(recipe, ClassifierRecipe)
        save_model(folder, build_model(recipe), recipe, "random weights")
    return folder.resolve()


def test_out_that_cannot_be_written(pyemo: Pyemo, loaded: Loaded, media: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, err = pyemo("predict", "media", "--out", "file/out")
    assert status == 1
    assert "cannot write into file/out: Not a directory" in err


def test_interruption(pyemo: Pyemo, loaded: Loaded, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Recogniser.predict
    asked = []

    def interrupted(self: Recogniser, source: Path, **options: Any) -> Any:
        asked.append(source)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return predict(self, source, **options)

    monkeypatch.setattr(Recogniser, "predict", interrupted)
    status, _, err = pyemo("predict", "media", "--out", "out")
    assert status == 130
    assert "the same command goes on where it stopped" in err
    assert len(pd.read_csv("out/summary.csv")) == 1
    status, out, _ = pyemo("predict", "media", "--out", "out")
    assert status == 0
    assert "done before: 1" in out


def test_ctrl_c_in_the_middle_of_a_clip(tmp_path: Path, media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(media / "zz_long.avi", [{40: "happy"}, {60: "happy"}] * 4000)
    start = [sys.executable, "-c", "from pyemo.cli import main; raise SystemExit(main())"]
    options = ["--out", "out", "--every", "1", "--device", "cpu", "--model", str(_tiny_model())]
    command = [*start, "predict", "media", *options]
    process = subprocess.Popen(
        command,
        # A shell's background jobs, perhaps these tests, ignore the signal, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not Path("out/picture.png.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted" in err
    assert (
        sorted(path.name for path in Path("out").iterdir() if "zz_long" in path.name or path.name.startswith(".")) == []
    )
    assert len(pd.read_csv("out/summary.csv")) == 3


def test_real_clips_with_the_authors_mini_xception(
    pyemo: Pyemo, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    weights = shared_data / "weights" / "fer2013_mini_XCEPTION.102-0.66.hdf5"
    assert pyemo("assets", "import", weights)[0] == 0
    status, _, _ = pyemo("predict", shared_data / "clips", "--out", "out", "--model", "mini-xception-keras")
    assert status == 0
    summary = pd.read_csv("out/summary.csv", keep_default_na=False).set_index("json")
    assert summary.loc["single_face.mp4.json", ["label", "faces"]].tolist() == ["happy", 1]
    assert summary.loc["single_face.jpg.json", ["label", "faces"]].tolist() == ["happy", 1]
    assert summary.loc["no_face.mp4.json", ["label", "faces"]].tolist() == ["", 0]
    assert summary.loc["face_noface.mov.json", "faces"] == 1
    assert summary.loc["short_hamilton_clip.mp4.json", "faces"] > 1
    assert pd.read_csv("out/no_face.mp4.csv").empty
    assert pd.read_csv("out/face_noface.mov.csv")["end"].max() < 3
