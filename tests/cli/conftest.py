from __future__ import annotations

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
