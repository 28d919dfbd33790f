from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.splitlines()[0])
def test_each_snippet_runs_as_it_stands(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyemo.recognition.example import make_example_clip

    monkeypatch.chdir(tmp_path)
    if "clip.mp4" in snippet:
        make_example_clip(tmp_path / "clip.mp4")
    exec(compile(snippet, "README.md", "exec"), {})
    if ".save(" in snippet:
        assert (tmp_path / "results" / "clip.mp4.csv").is_file()


def test_there_is_a_snippet_for_each_layer() -> None:
    assert [name for name in ("pyemo.load()", "pyemo.ops", "pyemo.model") if name in "".join(SNIPPETS)] == [
        "pyemo.load()",
        "pyemo.ops",
        "pyemo.model",
    ]
