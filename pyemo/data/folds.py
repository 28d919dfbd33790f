"""Splitting samples into folds for cross-validation."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from pyemo.errors import DataError


def stratified_folds(
    labels: Sequence[str], folds: int, seed: int, subjects: Sequence[str | None] | None = None
) -> np.ndarray:
    """Assign each sample to one of ``folds`` folds; each fold has about the same share of every class.

    Args:
        labels: class of each sample.
        folds: 2 or more.
        seed: of the shuffling; the same input gives the same folds.
        subjects: samples of one subject share a fold; a sample whose subject is None stands for itself. None: no grouping.

    Returns:
        (samples,) int64, 0 to ``folds`` - 1; no fold is empty. A class with fewer samples than folds is
        absent from some of them.

    Raises:
        DataError: fewer than two classes, every class smaller than the number of folds, or too few subjects.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        raise DataError(f"cross-validation needs samples of at least two classes, got {', '.join(counts) or 'none'}")
    if max(counts.values()) < folds:
        found = ", ".join(f"{count} of {label}" for label, count in sorted(counts.items()))
        raise DataError(f"{folds} folds need a class with at least as many samples, got {found}")
    groups = None
    if subjects is not None:
        groups = [f"sample {n}" if subject is None else f"subject {subject}" for n, subject in enumerate(subjects)]
        if len(set(groups)) < folds:
            raise DataError(
                f"{len(set(groups))} subjects cannot be split into {folds} folds; use fewer folds or do not group by subject"
            )
    splitter = (StratifiedKFold if groups is None else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    assigned = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # allowed here, see above
        for fold, (_, held_out) in enumerate(splitter.split(np.zeros(len(labels)), list(labels), groups)):
            if not len(held_out):
                raise DataError(
                    f"fold {fold + 1} of {folds} would be empty: the subjects are too unequal; use fewer folds"
                )
            assigned[held_out] = fold
    return assigned
