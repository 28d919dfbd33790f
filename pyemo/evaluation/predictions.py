"""Decisions as a table, one row each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pyemo.errors import DataError
from pyemo.evaluation.classifier import Evaluation
from pyemo.files import written_whole

_NEEDED = ("row", "frame", "path", "subject", "label", "prediction")


def predictions_table(evaluation: Evaluation, rows: pd.DataFrame) -> pd.DataFrame:
    """``row``, ``frame`` (-1: the row as a whole), ``path`` and ``subject`` of the data set's row, ``label``, ``prediction`` and the
    probability of each class.

    Args:
        evaluation: its ``decisions`` name rows of the table.
        rows: the data set's table.
    """
    names = np.array(evaluation.labels, dtype=object)
    of = rows.iloc[evaluation.decisions["row"]]
    table = evaluation.decisions.assign(
        path=of["path"].to_numpy(),
        subject=of["subject"].to_numpy(),
        label=names[evaluation.truth],
        prediction=names[evaluation.predictions],
    )
    return table.assign(**{label: evaluation.probabilities[:, n] for n, label in enumerate(evaluation.labels)})


def write_predictions(evaluation: Evaluation, rows: pd.DataFrame, file: Path) -> None:
    """The table of :func:`predictions_table` as CSV."""
    with written_whole(file) as path:
        predictions_table(evaluation, rows).to_csv(path, index=False)


def read_predictions(file: Path) -> pd.DataFrame:
    """A table that :func:`predictions_table` gave, from its CSV file.

    Raises:
        DataError: it is not one.
    """
    try:
        table = pd.read_csv(file, dtype={"subject": str, "path": str, "label": str, "prediction": str})
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as a table of predictions ({error})") from error
    if missing := [name for name in _NEEDED if name not in table]:
        raise DataError(f"{file}: not a table of predictions; the column {missing[0]} is missing")
    return table
