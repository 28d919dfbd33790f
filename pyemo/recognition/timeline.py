"""Rows of a timeline."""

from __future__ import annotations

import numpy as np
import pandas as pd

VOICE = -1
"""The ``face`` of rows that were heard, not seen."""


def timeline_rows(
    labels: tuple[str, ...], columns: np.ndarray | None = None, scores: np.ndarray | None = None
) -> pd.DataFrame:
    """A timeline, as in :class:`pyemo.recognition.result.Result`: ``columns`` (rows, 3), start, end and face, and ``scores`` (rows, labels)."""
    columns = np.empty((0, 3)) if columns is None else columns
    scores = np.empty((0, len(labels)), np.float32) if scores is None else scores
    winners = np.array(labels, dtype=object)[scores.argmax(axis=1)]
    table = pd.DataFrame(
        {"start": columns[:, 0], "end": columns[:, 1], "face": columns[:, 2].astype(np.int64), "label": winners}
    )
    return table.assign(**{label: scores[:, position] for position, label in enumerate(labels)})
