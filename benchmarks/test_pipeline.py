"""From a video file to results: the packaged models on the clip of ``pyemo demo``, detector and tracking included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import pyemo
from pyemo.recognition.example import make_example_clip


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_example_clip(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.mark.scaling
@pytest.mark.parametrize("model", ["compact-resnet", "mini-xception"])
def test_predict(compare: Callable[..., None], clip: Path, model: str) -> None:
    recogniser = pyemo.load(model, device="cpu")
    result = recogniser.predict(clip)
    assert len(result.faces) == 1
    compare(
        "predict",
        f"{model}, dlib, {result.frames} frames 480x480",
        torch.float32,
        {"pyemo": lambda: recogniser.predict(clip).timeline[list(result.labels)].to_numpy()},
        expected=result.timeline[list(result.labels)].to_numpy(),
        tolerance=1e-4,
        rounds=5,
        items=("frames", result.frames),
    )
