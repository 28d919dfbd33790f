"""Any data set, described by a table: a row a clip, image or sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import basic_emotion, in_order
from pyemo.errors import DataError
from pyemo_datasets.folder import SPLITS
from pyemo_datasets.rows import modalities, one_of, table

FILES = ("manifest.csv", "manifest.parquet")
KINDS = ("face", "voice", "face,voice")
_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda file: pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""]),
    ".parquet": pd.read_parquet,
}


class ManifestTable:
    """Reads a CSV or Parquet file, or ``manifest.csv`` or ``manifest.parquet`` in a folder, with the columns of
    :class:`~pyemo.contracts.Manifest`: ``path`` and, as far as known, ``label``, ``subject``, ``split`` (train, validation, test or a usual
    other word for it), ``start`` and ``end`` (seconds), ``voice`` and ``frame_labels``. Other columns are kept.

    Paths are relative to the file. ``frame_labels`` has the label of each frame: a list of words (Parquet) or words with semicolons
    between them (CSV), ``-`` where a frame has none. Labels that are one of the seven basic emotions in a common spelling get its customary
    name; others stay as they are. Rows whose file is not there, or that have no label, are left out and named in ``problems``.

    Args:
        modalities: what the rows hold, ``face``, ``voice`` or ``face,voice``. None: by the names of the files; a video is taken to have both.
        licence: what the data, and models trained on it, may be used for.

    Raises:
        DataError: ``modalities`` is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, modalities: str | None = None, licence: str = "unknown") -> None:
        if modalities is not None:
            one_of("modalities", modalities, KINDS)
        self._modalities = None if modalities is None else tuple(modalities.split(","))
        self._licence = licence

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if there is no such file, it has no column ``path``, or no row is usable."""
        file = root if root.is_file() else next((root / name for name in FILES if (root / name).is_file()), None)
        if file is None:
            raise DataError(f"{root}: expected a CSV or Parquet file, or a folder with {' or '.join(FILES)}")
        records = _records(file)
        rows, problems = [], []
        for number, record in enumerate(records):
            row = _row(record, file.parent)
            problem = _problem(row)
            if problem is None:
                rows.append(row)
            else:
                problems.append(f"{file}, row {number}: {problem}; left out")
        if not rows:
            raise DataError(f"{file}: no usable row" + "".join(f"; {problem}" for problem in problems[:3]))
        frames = [of for row in rows if (of := row.get("frame_labels")) is not None]
        labels = in_order(
            {row["label"] for row in rows if row["label"]} | {word for of in frames for word in of if word}
        )
        for row in rows:
            if row.get("frame_labels") is not None:
                row["frame_labels"] = np.array(
                    [labels.index(word) if word else -1 for word in row["frame_labels"]], np.int16
                )
        found = self._modalities or modalities(
            path for row in rows for path in (row["path"], row.get("voice")) if path is not None
        )
        return Manifest(table(rows), labels, problems=tuple(problems), licence=self._licence, modalities=found)


def _records(file: Path) -> list[dict[str, Any]]:
    """The rows, without their empty cells."""
    try:
        # CSV as text: a subject 01 is not the number 1, and a label "None" is not an empty one.
        found = _READERS.get(file.suffix.lower(), _READERS[".csv"])(file)
    except ImportError as error:
        raise DataError(f"{file}: reading it needs pyarrow (pip install 'pyemo[tables]'), or save it as CSV") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{file}: not a {file.suffix[1:] or 'CSV'} table ({error})") from error
    if "path" not in found:
        raise DataError(f"{file}: no column path; found {', '.join(map(str, found.columns))}")
    return [
        {str(column): value for column, value in record.items() if not _is_empty(value)}
        for record in found.to_dict("records")
    ]


def _is_empty(value: Any) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def _row(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    row = dict(record)
    for column in ("path", "voice"):
        if column in row:
            row[column] = str(folder / str(row[column]))
    if "subject" in row:
        row["subject"] = str(row["subject"])
    row["label"] = _label(str(row["label"])) if "label" in row else None
    if "split" in row:
        row["split"] = SPLITS.get(str(row["split"]).lower(), f"unknown split {row['split']!r}")
    if "frame_labels" in row:
        words: Iterable[Any] = row["frame_labels"]
        words = words.split(";") if isinstance(words, str) else words
        row["frame_labels"] = [_label(str(word)) if str(word).strip() not in ("", "-") else None for word in words]
    return row


def _label(word: str) -> str:
    return basic_emotion(word) or word.strip()


def _problem(row: dict[str, Any]) -> str | None:
    """Why a row cannot be used. Turns ``start`` and ``end`` into numbers."""
    if "path" not in row:
        return "no path"
    for column in ("path", "voice"):
        if column in row and not Path(row[column]).exists():
            return f"{row[column]} does not exist"
    if not row["label"] and not any(row.get("frame_labels") or ()):
        return f"{row['path']} has no label"
    if str(row.get("split")).startswith("unknown split"):
        return f"{row['split']}, expected train, validation or test"
    try:
        row.update({column: float(row[column]) for column in ("start", "end") if column in row})
    except ValueError:
        return f"start {row.get('start')!r} or end {row.get('end')!r} is not a number of seconds"
    if row.get("start", 0.0) < 0 or row.get("start", 0.0) >= row.get("end", np.inf):
        return f"start {row.get('start')} and end {row.get('end')} enclose nothing"
    return None
