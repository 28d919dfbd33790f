"""FER2013 (Goodfellow et al., "Challenges in Representation Learning", 2013): 35,887 grey 48x48 faces, seven classes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo_datasets.pixels import SIDE, SPLITS, read_pixels

LABELS = TAXONOMIES["fer2013"].labels
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
    pixels = read_pixels(path, len(LABELS))
    return _manifest(
        [f"{path}#{row}" for row in pixels.rows],
        [LABELS[emotion] for emotion in pixels.emotions],
        pixels.splits,
        pixels.images,
        pixels.problems,
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
    return _manifest(paths, labels, splits, np.stack(images), problems)


def _manifest(
    paths: list[str], labels: list[str], splits: list[str], images: np.ndarray, problems: list[str]
) -> Manifest:
    table = pd.DataFrame(
        {"path": paths, "label": labels, "subject": None, "split": splits, "start": np.nan, "end": np.nan}
    )
    return Manifest(table, LABELS, images, tuple(problems), LICENCE)
