"""Many inputs into one folder: resumable, and one bad input does not stop the others."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pyemo.errors import PyemoError
from pyemo.files import check_writable, written_whole
from pyemo.recognition.recogniser import Recogniser, check_threshold
from pyemo.recognition.result import FORMATS, check_formats
from pyemo.report import VideoChoice
from pyemo.report.video import check_choice

SUMMARY, ERRORS = "summary.csv", "errors.csv"

Record = dict[str, Any]
"""The content of an input's JSON file: :meth:`Result.summary` with ``input``, ``settings`` and ``files``."""
Listener = Callable[[int, Path, float], None]
"""Called with the number of inputs done, the one at work, and the share of it that is done."""


@dataclass(frozen=True)
class Failure:
    input: Path
    error: str
    """Name of the exception."""
    message: str


@dataclass
class BatchReport:
    records: dict[Path, Record] = field(default_factory=dict)
    """Of the inputs that are done, in their order."""
    failures: list[Failure] = field(default_factory=list)
    reused: int = 0
    """How many of the records an earlier run had left."""


def recognise_all(
    recogniser: Recogniser,
    inputs: Sequence[Path],
    out: Path,
    *,
    threshold: float | None,
    formats: Sequence[str] = FORMATS,
    force: bool = False,
    listener: Listener | None = None,
    video: VideoChoice = "link",
) -> BatchReport:
    """Recognise each input and write, into ``out``, what :meth:`Result.save` writes, and at the end ``summary.csv`` and, if an input
    failed, ``errors.csv``.

    An input is taken as done if its JSON file is there, for the same file (path, size and time of change) and the same settings; so an
    interrupted run goes on where it was. The JSON file is written last and always, whatever the formats. Where inputs from several
    folders have one name, the later ones get some digits of a checksum of their path added. After an interruption ``summary.csv`` holds
    what is done.

    Raises:
        PyemoError: ``out`` cannot be written. Whatever goes wrong with an input becomes a :class:`Failure`.
        ConfigError: unknown format or ``video``, or threshold outside [0, 1].
    """
    check_threshold(threshold)
    check_choice(video)
    check_formats(formats)
    settings = {**recogniser.settings(), "threshold": threshold}
    endings = sorted({*formats, "json"})
    report = BatchReport()
    taken: set[str] = set()
    check_writable(out)  # better to learn it now than after the first clip
    try:
        for position, path in enumerate(inputs):
            if listener:
                listener(position, path, 0.0)
            name, there = _claim(path, out, taken)
            try:
                expected = {
                    "input": _identity(path),
                    "settings": settings,
                    "files": [f"{name}.{end}" for end in endings],
                }
                if there and not force and _is_done(there, expected, out):
                    report.records[path] = there
                    report.reused += 1
                    continue
                progress = partial(listener, position, path) if listener else None
                result = recogniser.predict(path, threshold=threshold, progress=progress)
            # Also what somebody else's detector raises: the other inputs are to be done all the same.
            except Exception as error:
                text = str(error) if isinstance(error, PyemoError) else f"{path}: {error!r}"
                report.failures.append(Failure(path, type(error).__name__, text))
                continue
            written = result.save(out, name, formats=endings, extra=expected, video=video)
            report.records[path] = json.loads(written[-1].read_text(encoding="utf-8"))
    finally:
        _write_tables(report, recogniser.labels, out)
    return report


def _claim(path: Path, out: Path, taken: set[str]) -> tuple[str, Record | None]:
    """The name of an input's files, and the record that is there under it."""
    resolved = str(path.resolve())
    name = path.name
    there = _read(out / f"{name}.json")
    if name in taken or (there is not None and there.get("input", {}).get("path") != resolved):
        name = f"{path.stem}-{hashlib.sha256(resolved.encode()).hexdigest()[:8]}{path.suffix}"
        there = _read(out / f"{name}.json")
    taken.add(name)
    return name, there


def _read(file: Path) -> Record | None:
    """None if there is no such file; {} if it is none of ours."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and isinstance(content.get("input"), dict) else {}


def _identity(path: Path) -> dict[str, Any]:
    """Changes when the input changes: a file, or a folder of images."""
    files = [entry for entry in path.iterdir() if entry.is_file()] if path.is_dir() else [path]
    states = [file.stat() for file in files]
    return {
        "path": str(path.resolve()),
        "bytes": sum(state.st_size for state in states),
        "modified_ns": max((state.st_mtime_ns for state in states), default=0),
    }


def _is_done(record: Record, expected: dict[str, Any], out: Path) -> bool:
    return all(record.get(key) == value for key, value in expected.items()) and all(
        (out / file).is_file() for file in record["files"]
    )


def _write_tables(report: BatchReport, labels: Sequence[str], out: Path) -> None:
    with written_whole(out / SUMMARY) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "kind", "label", "from", "faces", "frames", "duration", *labels, "json"])
        for path, record in report.records.items():
            scores = [record["scores"].get(label, "") for label in labels]
            own = [
                record["kind"],
                record["label"],
                "+".join(record["used"]),
                len(record["faces"]),
                record["frames"],
                record["duration"],
            ]
            writer.writerow([path, *own, *scores, record["files"][-1]])
    write_errors(report.failures, out)


def write_errors(failures: Sequence[Failure], out: Path) -> None:
    """``errors.csv`` with a line for each failure; without any, one of an earlier run is removed."""
    if not failures:
        (out / ERRORS).unlink(missing_ok=True)
        return
    with written_whole(out / ERRORS) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["input", "error", "message"])
        writer.writerows([failure.input, failure.error, failure.message] for failure in failures)
