from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.contracts import Manifest

TINY = [
    "labels=[left, right, middle]",
    "model.modalities.face.input={size: 16, channels: 1, normalization: per-image}",
    "model.modalities.face.backbone.options={widths: [8, 16], blocks: [0, 1]}",
    "augmentation={mirror: 0.0, crop: 0.0, shift: 0.0, rotation: 5, noise: 5}",
    "training.epochs=3",
    "training.batch_size=16",
    "training.precision='32'",
    "training.ema_decay=0.9",
]


@pytest.fixture(autouse=True)
def _small(one_thread: None) -> None:
    pass


@pytest.fixture
def tiny_recipe() -> Callable[..., ClassifierRecipe]:
    """The default recipe, shrunk so that it trains in seconds; takes further overrides."""

    def make(*overrides: str) -> ClassifierRecipe:
        recipe = load_recipe("compact-resnet", [*TINY, *overrides])
        assert isinstance(recipe, ClassifierRecipe)
        return recipe

    return make


@pytest.fixture
def bars() -> Manifest:
    """Grey 16x16 images with a bright vertical bar at the left, the right or in the middle: easy to learn, not trivial for a constant."""
    generator = np.random.default_rng(0)
    rows, images = [], []
    for split, count in (("train", 96), ("validation", 30), ("test", 30)):
        for index in range(count):
            label = ("left", "right", "middle")[index % 3]
            image = generator.integers(0, 80, (16, 16))
            column = {"left": 2, "right": 11, "middle": 7}[label]
            image[:, column : column + 3] += 120
            images.append(image.astype(np.uint8))
            rows.append(
                {
                    "path": f"{split}/{index}",
                    "label": label,
                    "subject": None,
                    "split": split,
                    "start": np.nan,
                    "end": np.nan,
                }
            )
    return Manifest(pd.DataFrame(rows), ("left", "right", "middle"), np.stack(images), licence="made up, free for all")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
