"""What became of an item, and the journal that remembers it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pyemo.errors import DataError, PyemoError
from pyemo.files import written_whole

JOURNAL = "journal.jsonl"


@dataclass(frozen=True)
class Outcome:
    """The cached crops or sound of an item, or why it has none."""

    key: str
    modality: str
    file: str | None = None
    """Relative to the prepared folder; None: it has neither."""
    first: int = 0
    """Position of its first crop in the file."""
    count: int = 0
    """Crops, or samples."""
    frames: int = 0
    """Of the source."""
    others: int = 0
    """Faces left out."""
    problem: str | None = None
    """What is wrong with it, though it could be read."""


@dataclass(frozen=True)
class Trouble:
    """An item that could not be read."""

    key: str
    error: str
    """Name of the exception."""
    message: str


class Journal:
    """A line of JSON for each outcome, written as soon as it is known; outcomes by key.

    A line that was cut off by the end of the process, or whose file is gone, does not count.
    """

    def __init__(self, folder: Path, file: IO[str]) -> None:
        self._folder = folder
        self._file = file
        self.outcomes: dict[str, Outcome] = {}
        file.seek(0)
        text = file.read()
        if text and not text.endswith("\n"):
            file.write("\n")
        for line in text.splitlines():
            outcome = _parse(line)
            if outcome and (outcome.file is None or (folder / outcome.file).is_file()):
                self.outcomes[outcome.key] = outcome

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.key] = outcome
        try:
            self._file.write(_line(outcome))
            self._file.flush()
        except OSError as error:
            raise PyemoError(f"cannot write {self._folder / JOURNAL}: {error.strerror or error}") from error

    def keep(self, outcomes: Mapping[str, Outcome]) -> None:
        """Forgets all others."""
        self.outcomes = dict(outcomes)
        with written_whole(self._folder / JOURNAL) as temporary:
            temporary.write_text("".join(map(_line, outcomes.values())), encoding="utf-8")


@contextmanager
def open_journal(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, which no other process can open meanwhile.

    Raises:
        DataError: another process has opened it.
    """
    with (folder / JOURNAL).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{folder}: another `pyemo prepare` is writing into this folder") from None
        yield Journal(folder, file)


def _line(outcome: Outcome) -> str:
    return json.dumps(asdict(outcome)) + "\n"


def _parse(line: str) -> Outcome | None:
    try:
        return Outcome(**json.loads(line))
    except (ValueError, TypeError):
        return None
