from __future__ import annotations

from pathlib import Path

import pytest
from synthetic import SquareDetector, brightness_model

from pyemo.recognition import Recogniser


@pytest.fixture
def recogniser(tmp_path: Path) -> Recogniser:
    return Recogniser(brightness_model(tmp_path / "model"), SquareDetector(), device="cpu", every=4)
