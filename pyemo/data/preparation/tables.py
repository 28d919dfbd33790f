"""The files that describe a prepared folder: its table, its settings and what failed."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import yaml

from pyemo.contracts import Manifest
from pyemo.data.preparation.outcome import Outcome, Trouble
from pyemo.data.preparation.plan import Item
from pyemo.data.prepared import COLUMNS, FORMAT, SETTINGS, TABLE, PreparedSettings
from pyemo.errors import DataError
from pyemo.files import written_whole

ERRORS = "errors.csv"


@dataclass(frozen=True)
class Failure:
    """A row whose face or voice could not be read: a line of ``errors.csv``."""

    row: int
    input: Path
    modality: str
    error: str
    """Name of the exception."""
    message: str


def write_folder(
    folder: Path,
    manifest: Manifest,
    settings: PreparedSettings,
    rows: Sequence[Mapping[str, Item]],
    outcomes: Mapping[str, Outcome],
    troubles: Mapping[str, Trouble],
) -> list[Failure]:
    """Writes ``table.parquet``, ``prepared.yaml`` and, if rows failed, ``errors.csv``; also of a preparation that was interrupted."""
    failures = [
        Failure(row, item.path, item.modality, troubles[item.key].error, troubles[item.key].message)
        for row, of_row in enumerate(rows)
        for item in of_row.values()
        if item.key in troubles
    ]
    table = manifest.table.drop(columns=[name for name in COLUMNS if name in manifest.table])
    table = table.reset_index(drop=True).assign(**_columns(manifest, rows, outcomes, troubles))
    with written_whole(folder / TABLE) as temporary:
        pyarrow.parquet.write_table(_arrow(table), temporary, compression="zstd")
    done = [outcomes[item.key] for of_row in rows for item in of_row.values() if item.key in outcomes]
    content = {
        "format": FORMAT,
        "settings": {**asdict(settings), "modalities": list(settings.modalities)},
        "counts": {
            "rows": len(rows),
            "rows with a face": sum(outcome.modality == "face" and outcome.file is not None for outcome in done),
            "rows with a voice": sum(outcome.modality == "voice" and outcome.file is not None for outcome in done),
            "crops": sum(outcome.count for outcome in done if outcome.modality == "face"),
            "seconds of sound": round(
                sum(outcome.count for outcome in done if outcome.modality == "voice") / settings.sample_rate, 1
            ),
            "failures": len(failures),
        },
        "labels": list(manifest.labels),
        "licence": manifest.licence,
        "folds": {name: [list(fold) for fold in folds] for name, folds in manifest.folds.items()},
        "problems": list(manifest.problems),
    }
    with written_whole(folder / SETTINGS) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
    _write_errors(failures, folder)
    return failures


def _columns(
    manifest: Manifest,
    rows: Sequence[Mapping[str, Item]],
    outcomes: Mapping[str, Outcome],
    troubles: Mapping[str, Trouble],
) -> dict[str, Any]:
    nothing = Outcome("", "")
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    labels = manifest.table["frame_labels"].tolist() if "frame_labels" in manifest.table else [None] * len(rows)
    for of_row, of_frames in zip(rows, labels, strict=True):
        found = {modality: outcomes.get(item.key, nothing) for modality, item in of_row.items()}
        face, voice = found.get("face", nothing), found.get("voice", nothing)
        problems = []
        for modality, item in of_row.items():
            if item.key in troubles:
                problems.append(f"{modality}: {troubles[item.key].message}")
            elif item.key not in outcomes:
                problems.append(f"{modality}: not prepared yet")
            elif (problem := found[modality].problem) is not None:
                problems.append(f"{modality}: {problem}")
        if "face" in of_row and (problem := _misfit(of_row["face"], face, of_frames)):
            problems.append(problem)
        values = (face.file, face.first, face.count, face.frames, face.others, voice.file, voice.count)
        for column, value in zip(columns.values(), (*values, "; ".join(problems) or None), strict=True):
            column.append(value)
    return {
        name: pd.Series(values, dtype=object if name in ("face_file", "voice_file", "problem") else np.int64)
        for name, values in columns.items()
    }


def _misfit(item: Item, face: Outcome, labels: np.ndarray | None) -> str | None:
    """Where the labels of the frames and the frames of a whole clip are not equally many."""
    if not isinstance(labels, np.ndarray) or not face.frames or not item.whole or face.frames == len(labels):
        return None
    return f"face: {len(labels)} labels for {face.frames} frames; what has no partner is not used"


def _arrow(table: pd.DataFrame) -> pa.Table:
    arrays = {}
    for name in table.columns:
        values = table[name]
        try:
            if name == "frame_labels":
                arrays[name] = pa.array(values.tolist(), pa.list_(pa.int16()))
            else:
                arrays[name] = pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"the data set's column {name!r} cannot be stored: {error}") from error
    return pa.table(arrays)


def _write_errors(failures: Sequence[Failure], folder: Path) -> None:
    """Without any, the file of an earlier run is removed."""
    if not failures:
        (folder / ERRORS).unlink(missing_ok=True)
        return
    with written_whole(folder / ERRORS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "input", "modality", "error", "message"])
        writer.writerows([entry.row, entry.input, entry.modality, entry.error, entry.message] for entry in failures)
