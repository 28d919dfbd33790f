"""What the readers of data sets share: rows of a manifest from dictionaries, and words for what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pyemo.errors import DataError, MediaError
from pyemo.media import find_media, kind

COLUMNS = ("path", "label", "subject", "split", "start", "end")
MODALITIES = {"image": ("face",), "video": ("face", "voice"), "audio": ("voice",)}


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows with at least ``path`` -> a manifest's table; columns that no row has are added empty."""
    extra = dict.fromkeys(key for row in rows for key in row if key not in COLUMNS)
    made = pd.DataFrame(
        {column: pd.Series([row.get(column) for row in rows], dtype=object) for column in (*COLUMNS, *extra)}
    )
    return made.astype({"start": float, "end": float})


def modalities(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """What clips, images, sounds, or folders of images hold, judged by their names: a video is taken to have both."""
    found = {one for path in paths for one in MODALITIES["image" if Path(path).is_dir() else kind(path)]}
    return tuple(one for one in ("face", "voice") if one in found)


def media(root: Path) -> list[Path]:
    """The media files below ``root``, sorted; none if it has none."""
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    try:
        return find_media([root])
    except MediaError:
        return []


def some(names: Iterable[object], limit: int = 5) -> str:
    """``"a, b and 7 more"``: no message has more than ``limit`` names."""
    words = [str(name) for name in names]
    rest = len(words) - limit
    return ", ".join(words[:limit]) + (f" and {rest} more" if rest > 0 else "")


def one_of(option: str, value: object, allowed: Sequence[str]) -> None:
    """Raises :class:`~pyemo.errors.DataError` if an option has a value that is not allowed."""
    if value not in allowed:
        raise DataError(f"{option}={value!r}: expected {', '.join(allowed[:-1])} or {allowed[-1]}")
