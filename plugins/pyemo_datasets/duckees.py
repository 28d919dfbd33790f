"""DuckEES (Giuliani et al., International Journal of Methods in Psychiatric Research 2017): acted expressions of people of 8 to 18 years."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, NamedTuple

import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, one_of, some, table

LICENCE = "DuckEES: research, on request from the authors"
LABELS = TAXONOMIES["duckees"].labels

_WORD = re.compile("|".join(sorted(TAXONOMIES["duckees"].names, key=len, reverse=True)), re.IGNORECASE)
_TABLE = re.compile(r"(?i).*(supptable|agreement|ratings).*\.(xlsx|csv)")


class Rating(NamedTuple):
    video: str
    label: str | None
    agreement: float


class DuckEes:
    """Reads the clips (``*.m4v``, or any video) below the root and the raters' table ``VideoStimSet_SuppTable1.xlsx`` there (columns
    ``video``, ``mode``: the answer given most often, and ``% correct``: its share, 0 to 1), or the same as CSV. A table is any file whose
    name has SuppTable, agreement or ratings in it.

    Args:
        agreement: clips with a smaller share of ``% correct`` are left out; 0.7 is the authors' criterion and that of the recipe
            ``threshold``. Without a table nothing is left out, and ``problems`` says so.
        label: ``perceived``: ``mode`` of the table, where there is one; ``intended``: the emotion in the clip's name.
        subject: regular expression, searched in the clip's name; its first group (or the whole match) is the actor. None: what stands
            before the emotion's name.

    The table has the further columns ``intended``, ``perceived`` and ``agreement`` (NaN without one).

    The folder ``DuckEEsStim``, the extension, the table's name and its columns are known from public code that reads them, with the clip's
    name at the end of ``video``. How clips are named is known only as far as that the actor and the emotion are in them; ``subject`` is
    there for names that differ from what this reader expects (``F12_happy``).

    Raises:
        DataError: an option is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, agreement: float = 0.7, label: str = "perceived", subject: str | None = None) -> None:
        one_of("label", label, ("perceived", "intended"))
        if not 0 <= agreement <= 1:
            raise DataError(f"agreement={agreement}: expected a share from 0 to 1")
        self._agreement, self._label = agreement, label
        try:
            self._subject = re.compile(subject) if subject is not None else None
        except re.error as error:
            raise DataError(f"data set duckees: subject={subject!r} is not a regular expression: {error}") from error

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if there is no clip with a label, or the table has other columns."""
        clips = [path for path in media(root) if kind(path) == "video"]
        ratings, problems = _ratings(root)
        rows, doubted = [], []
        for path in clips:
            word = _WORD.search(path.stem)
            intended = TAXONOMIES["duckees"].name(word[0]) if word else None
            rating = _rating_of(path.stem, ratings)
            label = rating.label if rating and self._label == "perceived" else intended
            if ratings and rating is None:
                problems.append(f"{path}: not in the raters' table; left out")
            elif rating and not rating.agreement >= self._agreement:
                doubted.append(path.name)
            elif label is None:
                where = "among the raters' answers" if rating and self._label == "perceived" else "in its name"
                problems.append(f"{path}: no emotion of DuckEES {where}; left out")
            else:
                perceived, agreement = (rating.label, rating.agreement) if rating else (None, float("nan"))
                rows.append(
                    {
                        "path": str(path),
                        "label": label,
                        "subject": self._actor(path.stem, word),
                        "intended": intended,
                        "perceived": perceived,
                        "agreement": agreement,
                    }
                )
        if doubted:
            problems.append(
                f"{len(doubted)} clips with less than {self._agreement:.0%} agreement, left out: {some(doubted)}"
            )
        if not rows:
            raise DataError(
                f"{root}: no clip of DuckEES with a label; expected videos and VideoStimSet_SuppTable1.xlsx"
            )
        return Manifest(table(rows), LABELS, problems=tuple(problems), licence=LICENCE)

    def _actor(self, stem: str, word: re.Match[str] | None) -> str | None:
        if self._subject is not None:
            found = self._subject.search(stem)
            return None if found is None else found.group(found.re.groups and 1)
        return (stem[: word.start()].strip("_- .") or None) if word else None


def _ratings(root: Path) -> tuple[list[Rating], list[str]]:
    path = next((path for path in sorted(root.rglob("*")) if _TABLE.fullmatch(path.name)), None)
    if path is None:
        return [], [
            f"{root}: no raters' table (VideoStimSet_SuppTable1.xlsx); agreement is not checked, labels are from the names"
        ]
    try:
        found = pd.read_csv(path) if path.suffix == ".csv" else pd.read_excel(path)
    except ImportError as error:
        raise DataError(
            f"{path}: reading it needs openpyxl (pip install 'pyemo[tables]'), or save it as CSV"
        ) from error
    missing = {"video", "mode", "% correct"} - set(found.columns)
    if missing:
        raise DataError(
            f"{path}: the columns {', '.join(sorted(missing))} are missing; expected video, mode, % correct"
        )
    names = TAXONOMIES["duckees"].name
    return [
        Rating(re.sub(r"\.\w+$", "", str(video)), names(str(mode)), float(share))
        for video, mode, share in zip(
            found["video"], found["mode"], pd.to_numeric(found["% correct"], errors="coerce"), strict=True
        )
    ], []


def _rating_of(stem: str, ratings: list[Rating]) -> Rating | None:
    """The row whose ``video`` is the clip's name, or ends with it after a prefix that is no part of a name."""
    return next(
        (rating for rating in ratings if rating.video == stem),
        next((rating for rating in ratings if rating.video.endswith(stem)), None),
    )
