"""Rows as the page's script reads them: few enough moments, as base64 of little-endian numbers."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from pyemo.report.contents import Row
from pyemo.report.uncertainty import CERTAIN, uncertain_stretches

MOST_MOMENTS = 100_000
"""Of all rows together; about 20 bytes each in the file, and 3 for each curve."""
NOT_MEASURED = -(2**15)
"""Stands for NaN in a curve."""
_STEPS = 1000  # of a curve's unit
_FARTHEST = 2.0  # of a curve's values: what lies beyond is a failed fit, and would flatten the rest of the chart
_QUALITY = 85  # of the thumbnails' JPEG


def thinned(rows: Sequence[Row], most: int = MOST_MOMENTS) -> list[Row]:
    """Rows with at most about ``most`` moments in all: where there are more, so many neighbours are averaged, never across an absence."""
    total = sum(len(row.start) for row in rows)
    if total <= most:
        return list(rows)
    # A group more for each absence, which the rows' own number of moments may hide: absences are few.
    return [_grouped(row, math.ceil(total / most)) for row in rows]


def _grouped(row: Row, size: int) -> Row:
    away = np.concatenate([[False], row.start[1:] > row.end[:-1] + 1e-6])
    presence = np.cumsum(away)
    first = np.searchsorted(presence, presence)  # where the presence of each moment begins
    position = np.arange(len(presence)) - first
    begins = np.flatnonzero(position % size == 0)
    lengths = np.diff(np.append(begins, len(presence)))
    means = np.add.reduceat(row.probabilities.astype(np.float64), begins) / lengths[:, None]
    ends = row.end[begins + lengths - 1]
    curves = tuple(replace(curve, values=_means(curve.values, begins)) for curve in row.curves)
    return replace(row, start=row.start[begins], end=ends, probabilities=means.astype(np.float32), curves=curves)


def _means(values: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Of the groups that begin there: the mean of what was measured; NaN where nothing was."""
    known = ~np.isnan(values)
    counts = np.add.reduceat(known.astype(np.int64), begins)
    sums = np.add.reduceat(np.where(known, values, 0).astype(np.float64), begins)
    return np.divide(sums, counts, out=np.full(len(begins), np.nan), where=counts > 0).astype(np.float32)


def encoded(original: Row, row: Row, timed: bool) -> dict[str, Any]:
    """A row for JSON. ``row`` is ``original`` or a thinner one; what is counted is counted on the original.

    Without times, the moments are numbered from 0.
    """
    start, end = (row.start, row.end) if timed else (np.arange(len(row.start)), np.arange(1, len(row.start) + 1))
    unsure = uncertain_stretches(original.start, original.end, original.probabilities) if timed else []
    doubtful = original.probabilities.max(axis=1, initial=0.0) < CERTAIN
    return {
        "name": row.name,
        "kind": row.kind,
        "label": row.label,
        "start": _base64(start, "<f4"),
        "end": _base64(end, "<f4"),
        "probabilities": _base64(np.rint(row.probabilities * 255), "u1"),
        "unsure": [[round(begin, 3), round(finish, 3)] for begin, finish in unsure],
        "unsureShare": round(float(doubtful.mean()), 4) if len(doubtful) else 0.0,
        "pictures": [
            {
                "time": None if math.isnan(picture.time) else round(picture.time, 3),
                "label": picture.label,
                "score": round(picture.score, 3),
                "image": jpeg_uri(picture.image),
            }
            for picture in row.pictures
        ],
        "curves": [
            {"name": curve.name, "code": curve.code, "values": _base64(_stepped(curve.values), "<i2")}
            for curve in row.curves
        ],
    }


def _stepped(values: np.ndarray) -> np.ndarray:
    steps = np.rint(_STEPS * np.clip(values, -_FARTHEST, _FARTHEST))
    return np.where(np.isnan(values), NOT_MEASURED, steps)


def jpeg_uri(image: np.ndarray) -> str:
    """``data:`` address of an RGB uint8 picture (H, W, 3)."""
    _, content = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(content.tobytes()).decode("ascii")


def _base64(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=dtype).tobytes()).decode("ascii")
