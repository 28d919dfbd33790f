from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic import put_in_place_of_dlib, write_clip, write_image

from pyemo.data.prepared import open_prepared

Pyemo = Callable[..., tuple[int, str, str]]


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ROOT/<label>/<clip>, and the synthetic detector in place of dlib's."""
    put_in_place_of_dlib(monkeypatch)
    write_clip(tmp_path / "media" / "happy" / "1.avi", [{40: "happy"}] * 10)
    write_clip(tmp_path / "media" / "sad" / "2.avi", [{40: "sad"}] * 5)
    return tmp_path / "media"


def test_prepare(pyemo: Pyemo, media: Path) -> None:
    write_image(media / "sad" / "none.png", {})
    command = ["prepare", "--data", "folder:media", "--out", "out", "--modalities", "face", "--size", "16"]
    status, out, err = pyemo(*command, "--channels", "1", "--frame-rate", "12.5", "--workers", "1")
    assert status == 0
    assert "face: 2 of 3 rows" in out
    assert "--data prepared:out" in out
    assert err == "pyemo: warning: row 2, media/sad/none.png: face: no face in the image\n"
    data = open_prepared("out")
    assert data.settings.data == "folder"
    assert (data.settings.channels, data.settings.frame_rate) == (1, 12.5)
    assert data.faces(0).crops.shape == (5, 16, 16, 1)
    status, out, _ = pyemo(*command, "--channels", "1", "--frame-rate", "12.5")
    assert (status, "done before: 3 of 3" in out) == (0, True)


def test_some_rows_fail(pyemo: Pyemo, media: Path) -> None:
    (media / "happy" / "text.avi").write_text("this is text")
    status, out, err = pyemo("prepare", "--data", "folder:media", "--out", "out", "--modalities", "face")
    assert status == 3
    assert "face: 2 of 3 rows" in out
    (message,) = pd.read_csv("out/errors.csv")["message"]
    assert f"pyemo: error: {message}" in err
    assert "1 of 3 rows failed; all in out/errors.csv" in err
    (media / "alone" / "happy").mkdir(parents=True)
    (media / "happy" / "text.avi").rename(media / "alone" / "happy" / "text.avi")
    assert pyemo("prepare", "--data", "folder:media/alone", "--out", "other", "--modalities", "face")[0] == 1


def test_wrong_options(pyemo: Pyemo, media: Path) -> None:
    for options, message in (
        (["--modalities", "face,smell"], "modalities must be face, voice or both"),
        (["--size", "1"], "size must be 8 to 1024"),
        (["--detector-option", "x"], "expected KEY=VALUE"),
        (["--data-option", "sbject=1"], "no option 'sbject'"),
    ):
        status, _, err = pyemo("prepare", "--data", "folder:media", "--out", "out", *options)
        assert status == 1
        assert message in err
        assert "Traceback" not in err
    assert pyemo("prepare", "--data", "folder:media")[0] == 2
    (media / "file").touch()
    status, _, err = pyemo("prepare", "--data", "folder:media", "--out", "media/file/out")
    assert (status, "cannot write into media/file/out" in err) == (1, True)


def test_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        (tmp_path / "media" / "happy").mkdir(parents=True, exist_ok=True)
        soundfile.write(f"media/happy/{number}.wav", np.zeros(16000), 16000)
    # A sound that takes minutes.
    with soundfile.SoundFile("media/happy/long.wav", "w", 48000, 2, "PCM_16") as file:
        for _ in range(200):
            file.write(np.zeros((48000, 2)))
    slow = """
import time
from pyemo.cli import main
from pyemo.data.preparation import voices
inner = voices.to_int16
def to_int16(sound):
    time.sleep(0.1 if len(sound) > 16000 else 0)
    return inner(sound)
voices.to_int16 = to_int16
raise SystemExit(main())
"""
    command = ["prepare", "--data", "folder:media", "--out", "out", "--modalities", "voice", "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *command],
        # A shell's background jobs, perhaps these tests, ignore the signal, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    journal, deadline = Path("out/journal.jsonl"), time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if journal.is_file() and len(journal.read_text().splitlines()) == 3:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on where it stopped" in err
    assert "Traceback" not in err
    data = open_prepared("out")
    assert data.usable("voice").tolist() == [True, True, True, False]
    assert len(list(Path("out/voice").iterdir())) == 3  # no half of a file
