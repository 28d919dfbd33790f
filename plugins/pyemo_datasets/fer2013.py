"""FER2013 (Goodfellow et al., "Challenges in Representation Learning", 2013): 35,887 grey 48x48 faces, seven classes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.errors import DataError

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
SIDE = 48
LICENCE = "Kaggle challenge data (ICML 2013 workshop), research use"


class Fer2013:
    """Reads the challenge's ``fer2013.csv`` (``emotion,pixels,Usage``) or image folders ``<split>/<class>/*.jpg|png``.

    ``root`` is the CSV file, a folder that holds it, or the folder of the splits (``train``, ``validation``, ``test``; the names
    ``Training``, ``PublicTest``, ``PrivateTest`` and ``val`` do as well). PublicTest is the validation split, PrivateTest the test split.
    Subjects are not published, so none can be told apart. Unreadable images are left out and listed in ``Manifest.problems``.
    """

    contract_version: ClassVar[int] = 1

    def read(self, root: Path) -> Manifest:
        root = Path(root)
        csv = root if root.suffix == ".csv" else root / "fer2013.csv"
        if csv.is_file():
            return _read_csv(csv)
        if root.is_dir():
            for folder in (root, root / "fer2013"):
                if any(_split_of(entry.name) for entry in folder.glob("*/")):
                    return _read_folders(folder)
        raise DataError(
            f"{root}: expected fer2013.csv or the folders train, validation and test with one folder a class"
        )


def _split_of(name: str) -> str | None:
    lowered = {key.lower(): value for key, value in SPLITS.items()}
    return {"train": "train", "validation": "validation", "val": "validation", "test": "test", **lowered}.get(
        name.lower()
    )


def _read_csv(path: Path) -> Manifest:
    table = pd.read_csv(path, dtype={"emotion": int, "pixels": str, "Usage": str})
    missing = {"emotion", "pixels", "Usage"} - set(table.columns)
    if missing:
        raise DataError(
            f"{path}: the columns {', '.join(sorted(missing))} are missing; expected emotion, pixels, Usage"
        )
    unknown = sorted(set(table["Usage"]) - set(SPLITS))
    if unknown:
        raise DataError(f"{path}: unknown Usage {unknown[0]!r}; expected {', '.join(SPLITS)}")
    if not table["emotion"].between(0, len(LABELS) - 1).all():
        raise DataError(f"{path}: an emotion is outside 0 to {len(LABELS) - 1}")
    images, keep, problems = [], [], []
    for row, pixels in enumerate(table["pixels"]):
        values = np.array(pixels.split(), dtype=np.int64) if isinstance(pixels, str) else np.empty(0, np.int64)
        if values.size == SIDE * SIDE and values.min() >= 0 and values.max() <= 255:
            images.append(values.astype(np.uint8).reshape(SIDE, SIDE))
            keep.append(row)
        else:
            problems.append(f"{path}, row {row}: expected {SIDE * SIDE} intensities from 0 to 255, got {values.size}")
    table = table.iloc[keep]
    return _manifest(
        [f"{path}#{row}" for row in keep],
        [LABELS[emotion] for emotion in table["emotion"]],
        [SPLITS[usage] for usage in table["Usage"]],
        images,
        problems,
    )


def _read_folders(root: Path) -> Manifest:
    paths: list[str] = []
    labels: list[str] = []
    splits: list[str] = []
    images: list[np.ndarray] = []
    problems: list[str] = []
    for split_folder in sorted(entry for entry in root.iterdir() if entry.is_dir()):
        split = _split_of(split_folder.name)
        if split is None:
            problems.append(f"{split_folder}: not a split; left out")
            continue
        for class_folder in sorted(entry for entry in split_folder.iterdir() if entry.is_dir()):
            if class_folder.name not in LABELS:
                problems.append(f"{class_folder}: not one of {', '.join(LABELS)}; left out")
                continue
            for path in sorted(class_folder.iterdir()):
                image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE) if path.stat().st_size else None
                if image is None or image.shape != (SIDE, SIDE):
                    found = (
                        "cannot be decoded"
                        if image is None
                        else f"is {image.shape[1]}x{image.shape[0]}, expected {SIDE}x{SIDE}"
                    )
                    problems.append(f"{path}: {found}; left out")
                    continue
                paths.append(str(path))
                labels.append(class_folder.name)
                splits.append(split)
                images.append(image)
    if not images:
        raise DataError(f"{root}: no readable image in <split>/<class>/; expected the classes {', '.join(LABELS)}")
    return _manifest(paths, labels, splits, images, problems)


def _manifest(
    paths: list[str], labels: list[str], splits: list[str], images: list[np.ndarray], problems: list[str]
) -> Manifest:
    table = pd.DataFrame(
        {"path": paths, "label": labels, "subject": None, "split": splits, "start": np.nan, "end": np.nan}
    )
    return Manifest(table, LABELS, np.stack(images), tuple(problems), LICENCE)
