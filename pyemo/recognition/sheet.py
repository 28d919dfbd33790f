"""The thumbnails of a result as one picture, which people can look at and :mod:`pyemo.recognition.saved` can read back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pyemo.errors import MediaError
from pyemo.files import written_whole
from pyemo.media import read_image
from pyemo.recognition.thumbnails import SIDE, Thumbnail

_COLUMNS = 12
_QUALITY = 92


def write_sheet(path: Path, thumbnails: Sequence[Thumbnail]) -> None:
    """Write the thumbnails (at least one) as tiles of a JPEG, twelve a line.

    Raises:
        PyemoError: the file cannot be written.
    """
    lines = math.ceil(len(thumbnails) / _COLUMNS)
    sheet = np.full((lines * SIDE, min(len(thumbnails), _COLUMNS) * SIDE, 3), 255, np.uint8)
    for position, thumbnail in enumerate(thumbnails):
        _tile(sheet, position)[...] = thumbnail.image
    with written_whole(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def describe(thumbnails: Sequence[Thumbnail]) -> list[dict[str, Any]]:
    """What a tile shows, in the order of the tiles, for JSON."""
    return [
        {
            "face": one.face,
            "time": None if math.isnan(one.time) else one.time,
            "label": one.label,
            "score": round(one.score, 6),
        }
        for one in thumbnails
    ]


def read_sheet(path: Path, described: Sequence[Mapping[str, Any]]) -> tuple[Thumbnail, ...]:
    """The thumbnails of :func:`write_sheet`.

    Raises:
        MediaError: the picture is not there, unreadable, or has fewer tiles than are described.
    """
    sheet = read_image(path)
    thumbnails = []
    for position, one in enumerate(described):
        tile = _tile(sheet, position)
        if tile.shape != (SIDE, SIDE, 3):
            raise MediaError(
                f"{path}: expected {len(described)} tiles of {SIDE}x{SIDE}, the picture is {sheet.shape[:2]}"
            )
        time = math.nan if one["time"] is None else float(one["time"])
        thumbnails.append(Thumbnail(int(one["face"]), time, str(one["label"]), float(one["score"]), tile))
    return tuple(thumbnails)


def _tile(sheet: np.ndarray, position: int) -> np.ndarray:
    line, column = divmod(position, _COLUMNS)
    return sheet[line * SIDE : (line + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
