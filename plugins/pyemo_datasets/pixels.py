"""The tables in which FER2013 and its relatives come: ``emotion``, ``pixels`` (48 x 48 intensities as text) and ``Usage``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pyemo.errors import DataError

SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
SIDE = 48


@dataclass(frozen=True)
class PixelTable:
    emotions: np.ndarray
    """(images,) int64, the number in ``emotion``."""
    splits: list[str]
    images: np.ndarray
    """(images, 48, 48) uint8."""
    rows: list[int]
    """The row of the table, from 0, of each image."""
    usages: list[str]
    """``Usage`` of all rows of the table, with those that were left out."""
    problems: list[str]


def read_pixels(path: Path, classes: int) -> PixelTable:
    """Read a table; rows whose pixels are not 48 x 48 intensities are left out and named in ``problems``.

    Raises:
        DataError: a column is missing, an emotion is not a number from 0 to ``classes`` - 1, a ``Usage`` is unknown, or no
            row is left.
    """
    # One of the distributions of FER2013 has blanks after the commas of its header.
    table = pd.read_csv(path, dtype={"pixels": str, "Usage": str}, skipinitialspace=True)
    missing = {"emotion", "pixels", "Usage"} - set(table.columns)
    if missing:
        raise DataError(
            f"{path}: the columns {', '.join(sorted(missing))} are missing; expected emotion, pixels, Usage"
        )
    unknown = sorted({str(usage) for usage in table["Usage"]} - set(SPLITS))
    if unknown:
        raise DataError(f"{path}: unknown Usage {unknown[0]!r}; expected {', '.join(SPLITS)}")
    emotions = pd.to_numeric(table["emotion"], errors="coerce")
    if not (emotions.between(0, classes - 1) & (emotions % 1 == 0)).all():
        raise DataError(f"{path}: an emotion is outside 0 to {classes - 1}")
    images, rows, problems = [], [], []
    for row, pixels in enumerate(table["pixels"]):
        image = _image(pixels)
        if isinstance(image, int):
            problems.append(f"{path}, row {row}: expected {SIDE * SIDE} intensities from 0 to 255, got {image}")
        else:
            images.append(image)
            rows.append(row)
    if not images:
        raise DataError(f"{path}: no row has {SIDE} x {SIDE} intensities from 0 to 255")
    return PixelTable(
        emotions=emotions.to_numpy(np.int64)[rows],
        splits=[SPLITS[usage] for usage in table["Usage"].iloc[rows]],
        images=np.stack(images),
        rows=rows,
        usages=list(table["Usage"]),
        problems=problems,
    )


def _image(pixels: object) -> np.ndarray | int:
    """(48, 48) uint8, or how many intensities there are instead."""
    try:
        values = np.array(pixels.split(), np.int64) if isinstance(pixels, str) else np.empty(0, np.int64)
    except ValueError:
        return 0
    if values.size == SIDE * SIDE and values.min() >= 0 and values.max() <= 255:
        return values.astype(np.uint8).reshape(SIDE, SIDE)
    return int(values.size)
