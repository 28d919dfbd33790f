from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import SquareDetector, brightness_model

from pyemo.recognition import Recogniser


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Makes ``load`` give the synthetic recogniser; the arguments of its calls."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def load(model: str = "default", **options: Any) -> Recogniser:
        calls.append((model, options))
        return Recogniser(brightness_model(tmp_path / "model"), SquareDetector(), device="cpu", every=options["every"])

    monkeypatch.setattr("pyemo.recognition.load", load)
    return calls


@pytest.fixture
def pyemo(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in ``tmp_path``: ``pyemo("predict", ...)`` -> (exit status, standard output, standard error)."""
    from pyemo.cli import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # argparse
            status = int(leaving.code or 0)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
