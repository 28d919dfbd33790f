from __future__ import annotations

import re
from pathlib import Path

import pytest
from layouts import touch

from pyemo import plugins
from pyemo.data.sources import read_data

PATH = Path(__file__).resolve().parents[2] / "plugins" / "pyemo_datasets" / "README.md"
README = PATH.read_text(encoding="utf-8")


def test_the_table_has_every_data_set_that_is_read_as_published() -> None:
    described = set(re.findall(r"^\| `([\w-]+)` \| .*\|.*\|.*\|.*\|$", README, flags=re.MULTILINE))
    readers = {item.name for item in plugins.info() if item.group == "datasets" and item.distribution == "pyemo"}
    assert described == readers - {"prepared"}  # what `pyemo prepare` wrote is no published data set


def test_the_example_of_a_manifest_is_one(tmp_path: Path) -> None:
    text = re.findall(r"```csv\n(.*?)```", README, flags=re.DOTALL)[0]
    (tmp_path / "manifest.csv").write_text(text)
    touch(tmp_path, "clips/ann-1.mp4", "clips/ben-1.mp4", "sound/ben-1.wav", "frames/ben-2/1.jpg")
    _, manifest = read_data(f"manifest:{tmp_path}")
    assert manifest.problems == ()
    assert manifest.table["label"].tolist() == ["happy", "angry", "sad"]


def test_the_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "FOLDER", *(f"Actor_{actor:02d}/03-01-05-01-01-01-{actor:02d}.wav" for actor in range(1, 25)))
    snippet = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)[0]
    exec(compile(snippet, str(PATH), "exec"), {})
