"""RAVDESS and FER2013 in their real layouts, small and made up: what ``label-paired`` is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import soundfile

FACES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}


def write_voices(root: Path, actors: Sequence[int], statements: Sequence[int] = (1,), *, sound: bool = False) -> Path:
    """One utterance of each of the eight emotions, actor and statement; empty files, or tones as high as the number of the emotion."""
    for actor in actors:
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        for emotion in range(1, 9):
            for statement in statements:
                path = folder / f"03-01-{emotion:02d}-01-{statement:02d}-01-{actor:02d}.flac"
                if sound:
                    time = np.arange(6400 + 160 * actor) / 16000
                    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * emotion * time), 16000)
                else:
                    path.touch()
    return root


def write_faces(root: Path, counts: dict[str, int]) -> Path:
    """``counts`` faces of each label in each split: as bright as the number of the label, with noise."""
    random = np.random.default_rng(0)
    number = 0
    for split, count in counts.items():
        for place, label in enumerate(FACES):
            folder = root / split / label
            folder.mkdir(parents=True)
            for _ in range(count):
                number += 1
                image = 30 * place + random.integers(0, 40, (48, 48))
                cv2.imwrite(str(folder / f"{SPLITS[split]}_{number}.png"), image.astype(np.uint8))
    return root
