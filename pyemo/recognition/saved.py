"""Results that :meth:`Result.save` has written, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyemo.errors import DataError, MediaError
from pyemo.recognition.result import Result
from pyemo.recognition.sheet import read_sheet

_COLUMNS = ["start", "end", "face", "label"]


def saved_results(run: Path) -> list[Path]:
    """The JSON files of a folder that ``pyemo predict`` has written, or the one that ``run`` is.

    Raises:
        DataError: there is none.
    """
    if run.is_file():
        return [run]
    found = [path for path in sorted(run.glob("*.json")) if _is_record(path)]
    if not found:
        raise DataError(f"{run}: no result of `pyemo predict` (a FILE.json with its FILE.csv) is there")
    return found


def read_result(path: Path) -> tuple[Result, dict[str, Any]]:
    """A result from its JSON file and the CSV file beside it, and the settings of the recogniser.

    Thumbnails are there if the result was written with the format ``html``.

    Raises:
        DataError: the files are not there, or not what :meth:`Result.save` writes.
    """
    record = _read_json(path)
    table = path.with_suffix(".csv")
    try:
        labels = tuple(record["votes"]["counts"])
        timeline = pd.read_csv(table, keep_default_na=True)
        expected = [*_COLUMNS, *labels]
        measured = tuple(timeline.columns[len(expected) :])
        if list(timeline.columns[: len(expected)]) != expected or not _are_features(measured):
            raise DataError(f"{table}: expected the columns {', '.join(expected)}, got {', '.join(map(str, timeline))}")
        timeline = timeline.astype(
            {
                "start": np.float64,
                "end": np.float64,
                "face": np.int64,
                "label": object,
                **dict.fromkeys([*labels, *measured], np.float32),
            }
        )
        source = record.get("input", {}).get("path") or record["source"]
        result = Result(
            kind=record["kind"],
            source=source,
            labels=labels,
            timeline=timeline,
            frames=record["frames"],
            duration=record["duration"],
            threshold=record["threshold"],
            warnings=tuple(record["warnings"]),
            timing=record["timing"],
            thumbnails=_thumbnails(path, record),
            card=record.get("card", ""),
            missing=record.get("missing", {}),
            weights=record.get("weights", {}),
        )
    except FileNotFoundError as error:
        raise DataError(
            f"{table} is not there; a report needs the timeline: run `pyemo predict` with the format csv"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not a result of this pyemo ({type(error).__name__}: {error})") from error
    return result, record.get("settings", {})


def _thumbnails(path: Path, record: dict[str, Any]) -> tuple[Any, ...]:
    described = record.get("thumbnails", [])
    if not described:
        return ()
    try:
        return read_sheet(path.with_suffix(".faces.jpg"), described)
    except MediaError:
        return ()  # somebody took the faces away, perhaps on purpose; the rest is as good


def _are_features(columns: tuple[str, ...]) -> bool:
    """Whether the columns after the labels are those of action units, or there are none."""
    if not columns:
        return True
    from pyemo.candide.timeline import COLUMNS  # SciPy is slow to import

    return columns == COLUMNS


def _is_record(path: Path) -> bool:
    try:
        return "votes" in _read_json(path)
    except DataError:
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content
