"""FER+ (Barsoum et al., ICMI 2016): ten people's votes for each image of FER2013."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo_datasets.pixels import SPLITS, PixelTable, read_pixels
from pyemo_datasets.rows import media, one_of, some, table

LICENCE = "votes: MIT (FER+); images: Kaggle challenge data (ICML 2013 workshop), research use"
LABELS = TAXONOMIES["ferplus"].labels
VOTES = "fer2013new.csv"

_COLUMNS = (*TAXONOMIES["ferplus"].names, "unknown", "NF")  # NF: no face


class FerPlus:
    """Reads the votes ``fer2013new.csv`` with FER2013's ``fer2013.csv`` beside it (or in ``fer2013/``), joined row by row, or with the images
    that the authors' program writes: ``fer0000000.png`` in ``FER2013Train``, ``FER2013Valid`` and ``FER2013Test``, joined by name.

    FER2013 as image folders cannot be joined: their names do not say which row an image is. (Nor do those in the column
    ``Image name``, which are off by one here and there: row 60 of the published file names image 59.)

    The votes' columns, order and empty names were checked against the published file; FER2013's table against its description.

    Args:
        mode: how votes become a label, as the paper defines it, after single votes are struck out. ``majority``: the emotion with more
            than half of the votes. ``probability``: emotions by falling number of votes until they have three quarters of them,
            at most three; the column ``probabilities`` has their shares over ``labels`` (float32, sum 1), and the label is the first.
            Images left without a label, or voted unknown or no face, are left out and counted in ``problems``.

    The table has the further columns ``agreement``, the share of all votes that the label has, and ``probabilities`` (mode ``probability``).

    Raises:
        DataError: ``mode`` is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, mode: str = "majority") -> None:
        one_of("mode", mode, ("majority", "probability"))
        self._mode = mode

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if the votes or the images are not there, or do not belong together."""
        folder = root.parent if root.is_file() else root
        path = root if root.is_file() else root / VOTES
        if not path.is_file():
            raise DataError(f"{root}: {VOTES} is not there")
        votes = _read_votes(path)
        csv = next((at for at in (folder / "fer2013.csv", folder / "fer2013" / "fer2013.csv") if at.is_file()), None)
        problems: list[str] = []
        if csv is not None:
            pixels = read_pixels(csv, len(TAXONOMIES["fer2013"].labels))
            _check_join(path, votes, csv, pixels)
            problems += pixels.problems
            paths = {row: f"{csv}#{row}" for row in pixels.rows}
        else:
            pixels, paths = None, _images(folder, votes, problems)
        rows, kept, dropped = self._rows(votes, paths)
        if not rows:
            raise DataError(f"{root}: no image with a label is left; {some(problems, 3)}")
        problems += [f"{count} images {why}, left out" for why, count in dropped.items() if count]
        images = None
        if pixels is not None:
            position = {row: number for number, row in enumerate(pixels.rows)}
            images = pixels.images[[position[row] for row in kept]]
        return Manifest(table(rows), LABELS, images, tuple(problems), LICENCE)

    def _rows(
        self, votes: pd.DataFrame, paths: dict[int, str]
    ) -> tuple[list[dict[str, Any]], list[int], dict[str, int]]:
        vote = majority if self._mode == "majority" else probabilities
        counts = votes[list(_COLUMNS)].to_numpy()
        unknown, none = "voted unknown or no face", "without a label that enough people agree on"
        dropped = dict.fromkeys((unknown, none), 0)
        rows, kept = [], []
        for row, path in paths.items():
            shares = vote(counts[row])
            if shares is None:
                dropped[none] += 1
            elif shares[len(LABELS) :].any():
                dropped[unknown] += 1
            else:
                best = int(shares.argmax())
                made = {
                    "path": path,
                    "label": LABELS[best],
                    "split": SPLITS[votes["Usage"].iloc[row]],
                    "agreement": counts[row, best] / counts[row].sum(),
                }
                rows.append(made if vote is majority else made | {"probabilities": shares[: len(LABELS)]})
                kept.append(row)
        return rows, kept, dropped


def majority(votes: np.ndarray) -> np.ndarray | None:
    """Votes (10,) for the columns of the file -> 1 for the column with more than half of those that are not single, or None."""
    votes = np.where(votes > 1, votes, 0)
    if votes.max() * 2 <= votes.sum():
        return None
    return (np.arange(len(votes)) == votes.argmax()).astype(np.float32)


def probabilities(votes: np.ndarray) -> np.ndarray | None:
    """Votes (10,) -> shares (10,) float32 that sum to 1, or None if the first emotions do not have more than half of the votes, or are
    more than three. Unknown and no face count only where they come first."""
    votes = np.where(votes > 1, votes, 0)
    chosen = np.zeros(len(votes))
    for count in sorted({int(count) for count in votes[votes > 0]}, reverse=True):
        equal = votes == count
        if equal[len(LABELS) :].any():  # people were at a loss: nothing after them counts
            if not chosen.any() and not equal[: len(LABELS)].any():
                chosen[equal] = count
            else:
                chosen[: len(LABELS)] += np.where(equal, count, 0)[: len(LABELS)]
            break
        chosen[equal] = count
        if chosen.sum() >= 0.75 * votes.sum() or (chosen > 0).sum() >= 3:
            break
    if (chosen > 0).sum() > 3 or chosen.sum() * 2 <= votes.sum():
        return None
    return (chosen / chosen.sum()).astype(np.float32)


def _read_votes(path: Path) -> pd.DataFrame:
    votes = pd.read_csv(path, dtype={"Usage": str, "Image name": str})
    missing = {"Usage", "Image name", *_COLUMNS} - set(votes.columns)
    if missing:
        raise DataError(f"{path}: the columns {', '.join(sorted(missing))} are missing")
    unknown = sorted({str(usage) for usage in votes["Usage"]} - set(SPLITS))
    if unknown:
        raise DataError(f"{path}: unknown Usage {unknown[0]!r}; expected {', '.join(SPLITS)}")
    return votes


def _check_join(path: Path, votes: pd.DataFrame, csv: Path, pixels: PixelTable) -> None:
    if len(votes) != len(pixels.usages):
        raise DataError(f"{path} has {len(votes)} rows, {csv} has {len(pixels.usages)}: they do not belong together")
    other = np.flatnonzero(votes["Usage"].to_numpy() != np.array(pixels.usages, dtype=object))
    if len(other):
        raise DataError(f"{path} and {csv} differ in Usage from row {other[0]} on: they do not belong together")


def _images(folder: Path, votes: pd.DataFrame, problems: list[str]) -> dict[int, str]:
    """Row of the votes -> its image."""
    files = {path.name: path for path in media(folder)}
    rows = {name: row for row, name in enumerate(votes["Image name"]) if isinstance(name, str)}
    found = {row: str(files[name]) for name, row in rows.items() if name in files}
    if not found:
        raise DataError(
            f"{folder}: neither fer2013.csv nor images named fer0000000.png; other image folders of FER2013 do not say which row of "
            f"{VOTES} an image is"
        )
    absent = [name for name in rows if name not in files]
    if absent:
        problems.append(f"{len(absent)} images are not there: {some(absent)}")
    strangers = [str(path) for name, path in files.items() if name not in rows]
    if strangers:
        problems.append(f"{len(strangers)} images have no votes, left out: {some(strangers)}")
    return found
