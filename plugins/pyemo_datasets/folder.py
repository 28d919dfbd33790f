"""Any labelled folder: a folder a class, in it files, or a folder of images for each clip."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import basic_emotion, in_order
from pyemo.errors import DataError, MediaError
from pyemo.media import find_media, kind
from pyemo_datasets.rows import modalities

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


class Folder:
    """Reads ``ROOT/<label>/<file>``, ``ROOT/<label>/<clip>/<images>`` (a row with the folder of the clip as its path), and the same
    below ``ROOT/<split>/`` where all folders of ROOT are named train, training, val, valid, validation or test. Below a class folder
    there may be further levels, for instance ``ROOT/<label>/<subject>/<file>``.

    Class folders named after one of the seven basic emotions in a common spelling (``anger``, ``Happiness``) get its customary name;
    other names stay as they are. Hidden files and those without the extension of a medium are passed over.

    Args:
        subject: regular expression, searched in the path below the class folder; its first group (or the whole match) is the subject.
            Rows in which it does not match have no subject. For clips named ``S1_happy_1.avi``: ``^(S\\d+)_``.

    Raises:
        DataError: ``subject`` is not a regular expression.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, subject: str | None = None) -> None:
        try:
            self._subject = re.compile(subject) if subject is not None else None
        except re.error as error:
            raise DataError(f"data set folder: subject={subject!r} is not a regular expression: {error}") from error

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if there is no class folder with media in ``root``."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder; expected a folder with one folder for each class")
        rows: list[tuple[str, str, str | None, str | None]] = []
        problems: list[str] = []
        tops = _folders(root)
        has_splits = bool(tops) and all(top.name.lower() in SPLITS for top in tops)
        for top in tops:
            split = SPLITS[top.name.lower()] if has_splits else None
            for folder in _folders(top) if has_splits else [top]:
                label = basic_emotion(folder.name) or folder.name
                paths = _samples(folder)
                if not paths:
                    problems.append(f"{folder}: no media in it; left out")
                rows += [(str(path), label, self._subject_of(path.relative_to(folder)), split) for path in paths]
        if not rows:
            raise DataError(
                f"{root}: no media in class folders; expected <class>/<clip or image> or <class>/<clip>/<images> in it"
            )
        table = pd.DataFrame(rows, columns=["path", "label", "subject", "split"], dtype=object)
        table[["start", "end"]] = np.nan
        return Manifest(
            table, in_order({*table["label"]}), problems=tuple(problems), modalities=modalities(table["path"])
        )

    def _subject_of(self, path: Path) -> str | None:
        found = self._subject.search(path.as_posix()) if self._subject else None
        return None if found is None else found.group(found.re.groups and 1)


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _samples(folder: Path) -> list[Path]:
    """Files, and folders that stand for the images in them."""
    try:
        files = find_media([folder])
    except MediaError:  # there is none
        return []
    in_clip = {path: path.parent != folder and kind(path) == "image" for path in files}
    return list(dict.fromkeys(path.parent if in_clip[path] else path for path in files))
