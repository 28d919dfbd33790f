from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic import SquareDetector, write_clip, write_image

from pyemo.contracts import Manifest
from pyemo.data.preparation import Preparation, prepare
from pyemo.data.preparation.outcome import open_journal
from pyemo.data.prepared import PreparedSettings, open_prepared
from pyemo.data.sources import read_data
from pyemo.errors import ConfigError, DataError, PluginError

Run = Callable[..., Preparation]
EMOTIONS = ["angry", "happy", "sad", "neutral"]


@pytest.fixture
def clips(tmp_path: Path) -> Manifest:
    """Four clips, each with its sound in a file of its own."""
    rows = []
    for number, emotion in enumerate(EMOTIONS):
        path = write_clip(tmp_path / "data" / f"{emotion}.avi", [{40: emotion}] * (6 + number))
        sound = path.with_suffix(".wav")
        soundfile.write(sound, np.full(1000 * (number + 1), 0.1 * number), 16000)
        rows.append({"path": str(path), "label": emotion, "subject": f"s{number}", "split": None, "voice": str(sound)})
    table = pd.DataFrame(rows, dtype=object).assign(start=np.nan, end=np.nan)
    folds = {"pairs": (("s0", "s1"), ("s2", "s3"))}
    return Manifest(table, tuple(EMOTIONS), None, ("x.avi: left out",), "free", ("face", "voice"), folds)


@pytest.fixture
def run(tmp_path: Path, clips: Manifest) -> Run:
    def call(manifest: Manifest = clips, **options: Any) -> Preparation:
        return prepare(manifest, tmp_path / "out", **{"detector": SquareDetector, "size": 16, "workers": 1, **options})

    return call


def written(folder: Path) -> dict[str, int]:
    """When each cached file was written."""
    return {path.name: path.stat().st_mtime_ns for kind in ("face", "voice") for path in (folder / kind).iterdir()}


def test_everything_comes_back(run: Run, clips: Manifest, tmp_path: Path) -> None:
    clips.table["intensity"] = [1, 2, 1, 2]
    clips.table["agreement"] = [0.5, np.nan, 0.7, 1.0]
    clips.table["frame_labels"] = [np.arange(6, dtype=np.int16), None, None, np.zeros(9, np.int16)]
    run(data="made-up")
    name, manifest = read_data(f"prepared:{tmp_path / 'out'}")
    assert name == "prepared"
    assert (manifest.labels, manifest.licence, manifest.folds) == (clips.labels, "free", clips.folds)
    assert manifest.modalities == ("face", "voice")
    assert manifest.problems == ("x.avi: left out",)
    for column in clips.table.columns.drop("frame_labels"):
        pd.testing.assert_series_equal(manifest.table[column], clips.table[column])
    assert manifest.table["split"].tolist() == [None] * 4
    labels = manifest.table["frame_labels"]
    assert labels.iloc[0].dtype == np.int16
    assert labels.iloc[0].tolist() == list(range(6))
    assert labels.iloc[1] is None
    data = open_prepared(tmp_path / "out")
    module, name = SquareDetector.__module__, SquareDetector.__qualname__
    assert data.settings == PreparedSettings("made-up", ("face", "voice"), 16, 3, f"{module}.{name}")
    assert [data.face_count(row) for row in range(4)] == [6, 7, 8, 9]
    assert [len(data.voice(row)) for row in range(4)] == [1000, 2000, 3000, 4000]


def test_a_second_run_does_what_changed(run: Run, clips: Manifest, tmp_path: Path) -> None:
    first = run()
    assert (first.reused, first.items) == (0, 8)
    before = written(tmp_path / "out")
    assert run().reused == 8
    assert written(tmp_path / "out") == before
    write_clip(tmp_path / "data" / "happy.avi", [{40: "sad"}] * 12)
    changed = run()
    assert changed.reused == 7
    assert changed.data.face_count(1) == 12
    after = written(tmp_path / "out")
    assert len(after) == 8  # the old crops are gone
    assert len(after.items() & before.items()) == 7
    fewer = Manifest(clips.table.iloc[[2, 0]], clips.labels, modalities=("face", "voice"))
    assert run(fewer).reused == 4
    assert len(written(tmp_path / "out")) == 4
    assert run().data.manifest.table["label"].tolist() == EMOTIONS


def test_changed_settings(run: Run, tmp_path: Path) -> None:
    run()
    sounds = {name: when for name, when in written(tmp_path / "out").items() if name.endswith("flac")}
    larger = run(size=24)
    assert larger.reused == 4
    assert larger.data.faces(0).crops.shape == (6, 24, 24, 3)
    assert sounds.items() < written(tmp_path / "out").items()
    assert len(written(tmp_path / "out")) == 8
    # Preparing one modality leaves the other for later.
    voice = run(modalities=["voice"], size=24)
    assert (voice.reused, voice.data.settings.modalities) == (4, ("voice",))
    with pytest.raises(DataError, match="has no face: prepared for voice only"):
        voice.data.faces(0)
    assert run(size=24).reused == 8


def test_rows_alike_share_their_files(run: Run, clips: Manifest, tmp_path: Path) -> None:
    twice = Manifest(pd.concat([clips.table, clips.table]), clips.labels, modalities=("face", "voice"))
    done = run(twice)
    assert len(done.data) == 8
    assert len(written(tmp_path / "out")) == 8
    np.testing.assert_array_equal(done.data.faces(1).crops, done.data.faces(5).crops)


def test_unreadable_files_among_good_ones(run: Run, clips: Manifest, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "happy.avi").write_text("this is text")
    (data / "sad.avi").unlink()
    (data / "sad.wav").write_bytes(b"")
    write_image(data / "picture.png", {40: "happy"})
    (data / "bad.png").write_text("this is text")
    images = [{"path": str(data / name), "label": "happy", "voice": None} for name in ("picture.png", "bad.png")]
    table = pd.concat([clips.table, pd.DataFrame(images, dtype=object)], ignore_index=True)
    done = run(Manifest(table, clips.labels, modalities=("face", "voice")))
    assert [(failure.row, failure.modality) for failure in done.failures] == [
        (1, "face"),
        (2, "face"),
        (2, "voice"),
        (5, "face"),
    ]
    errors = pd.read_csv(tmp_path / "out" / "errors.csv")
    assert errors.columns.tolist() == ["row", "input", "modality", "error", "message"]
    assert errors["message"].tolist() == [failure.message for failure in done.failures]
    for failure, name, why in zip(
        done.failures,
        ("happy.avi", "sad.avi", "sad.wav", "bad.png"),
        ("cannot be read as a video", "no such file", "the file is empty", "cannot be decoded"),
        strict=True,
    ):
        assert failure.input.name == name
        assert name in failure.message
        assert why in failure.message
    assert done.data.usable("face").tolist() == [True, False, False, True, True, False]
    assert done.data.usable("voice").tolist() == [True, True, False, True, False, False]
    assert "no such file" in done.data.manifest.table["problem"].iloc[2]
    assert len(done.data.manifest.problems) == 4
    # Mended, the row is done, and nothing else.
    write_clip(data / "happy.avi", [{40: "happy"}] * 5)
    again = run(Manifest(table, clips.labels, modalities=("face", "voice")))
    assert [failure.row for failure in again.failures] == [2, 2, 5]
    assert again.data.face_count(1) == 5


def test_goes_on_after_being_killed(run: Run, clips: Manifest, tmp_path: Path) -> None:
    expected = run().data
    faces = [expected.faces(row).crops for row in range(4)]
    clips.table.to_json(tmp_path / "table.json", orient="records")
    script = """
import time
import cv2
import pandas as pd
from pyemo.contracts import CropFrame, Face, Manifest
from pyemo.data.preparation import prepare

class SquareDetector:  # as that of the tests, which brings PyTorch, with a pause
    contract_version = 1
    crop_frame = CropFrame()

    def detect(self, frames):
        if sum(1 for _ in open("killed/journal.jsonl")) >= 3:
            time.sleep(600)
        boxes = [cv2.boundingRect((frame.max(axis=2) > 30).astype("uint8")) for frame in frames]
        return [[Face(tuple(map(float, box)), 1.0)] for box in boxes]

SquareDetector.__module__ = "synthetic"
table = pd.read_json("table.json", dtype=False)
table["start"] = table["end"] = float("nan")
prepare(Manifest(table, ("angry",), modalities=("face", "voice")), "killed", detector=SquareDetector, size=16, workers=1)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment)
    journal = tmp_path / "killed" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and len(journal.read_text().splitlines()) >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = journal.read_text().splitlines()
    assert len(lines) >= 3
    with pytest.raises(DataError, match=r"not prepared, or preparation was cut off at once"):
        open_prepared(tmp_path / "killed")
    # A crash of the machine may also cut a line, or lose a file.
    journal.write_text("\n".join(lines) + '\n{"key": "0123", "moda')
    lost = json.loads(lines[0])["file"]
    (tmp_path / "killed" / lost).unlink()
    (tmp_path / "killed" / "face" / ".x-temporary.safetensors").write_bytes(b"half of a file")
    done = prepare(clips, tmp_path / "killed", detector=SquareDetector, size=16, workers=1)
    assert done.reused == len(lines) - 1
    for row in range(4):
        np.testing.assert_array_equal(done.data.faces(row).crops, faces[row])
        np.testing.assert_array_equal(done.data.voice(row), expected.voice(row))
    assert len(written(tmp_path / "killed")) == 8


def test_an_interruption_leaves_what_is_done(run: Run, tmp_path: Path) -> None:
    def interrupt(done: int, path: Path, share: float) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(listener=interrupt)
    data = open_prepared(tmp_path / "out")
    usable = int(data.usable("face").sum() + data.usable("voice").sum())
    assert 3 <= usable < 8
    assert sum("not prepared yet" in problem for problem in data.manifest.problems) >= 1
    assert run().reused == usable


def test_progress(run: Run) -> None:
    calls: list[tuple[int, Path, float]] = []
    run(listener=lambda *call: calls.append(call))
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert {path.suffix for _, path, _ in calls} <= {".avi", ".wav"}
    assert all(0 <= share <= 1 for _, _, share in calls)
    assert calls[-1][0] <= 8


def test_one_writer_at_a_time(run: Run, tmp_path: Path) -> None:
    run()
    with open_journal(tmp_path / "out"), pytest.raises(DataError, match="another `pyemo prepare` is writing"):
        run()


def test_a_folder_holds_one_data_set(run: Run) -> None:
    run(data="ravdess")
    with pytest.raises(
        DataError, match="holds the data set ravdess, prepared before; choose another folder for cremad"
    ):
        run(data="cremad")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size must be 8 to 1024"),
        ({"channels": 2}, "channels must be 1"),
        ({"every": 0}, "every must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"sample_rate": 10}, "sample_rate must be 1000"),
        ({"frame_rate": 0.0}, "frame_rate must be a positive number"),
        ({"modalities": ["face", "smell"]}, "modalities must be face, voice or both, got face, smell"),
    ],
)
def test_options_out_of_range(run: Run, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(**options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_detector_is_known_before_the_first_clip(run: Run) -> None:
    with pytest.raises(PluginError, match="did you mean 'dlib'"):
        run(detector="dlip")
    assert run(detector="dlip", modalities=["voice"]).reused == 0


def test_a_column_that_cannot_be_stored(run: Run, clips: Manifest) -> None:
    clips.table["mixed"] = [1, "a", None, 2.0]
    with pytest.raises(DataError, match="column 'mixed' cannot be stored"):
        run()


def test_selected_rows_and_other_processes(run: Run) -> None:
    data = run().data
    some = data.select([3, 1])
    assert some.manifest.table["label"].tolist() == ["neutral", "happy"]
    np.testing.assert_array_equal(some.faces(0).crops, data.faces(3).crops)
    assert len(data.select(data.manifest.table["label"].to_numpy() == "sad")) == 1
    unpickled = pickle.loads(pickle.dumps(some))
    np.testing.assert_array_equal(unpickled.voice(1), data.voice(1))
    np.testing.assert_array_equal(unpickled.faces(1).crops, data.faces(1).crops)


def test_damaged_folders(run: Run, tmp_path: Path) -> None:
    data = run().data
    table = data.manifest.table
    face, voice = (tmp_path / "out" / table[column].iloc[0] for column in ("face_file", "voice_file"))
    face.write_bytes(face.read_bytes()[:500])
    voice.write_bytes(b"no sound")
    with pytest.raises(DataError, match=rf"{face.name}: this cached file cannot be read"):
        data.faces(0)
    with pytest.raises(DataError, match=rf"{voice.name}: this cached file cannot be read"):
        data.voice(0)
    (tmp_path / "out" / table["face_file"].iloc[1]).unlink()
    with pytest.raises(DataError, match="run `pyemo prepare` again"):
        data.faces(1)
    with pytest.raises(DataError, match=r"there is no prepared\.yaml"):
        open_prepared(tmp_path)
    (tmp_path / "out" / "prepared.yaml").write_text("format: 99")
    with pytest.raises(DataError, match="expected `format: 1`"):
        open_prepared(tmp_path / "out")
    (tmp_path / "out" / "table.parquet").write_text("text")
    with pytest.raises(DataError, match="cannot be read"):
        open_prepared(tmp_path / "out")
