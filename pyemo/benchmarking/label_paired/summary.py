"""What the runs say: means over seeds, and each method against the reference, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from pyemo.benchmarking.label_paired.methods import REFERENCE


@dataclass(frozen=True)
class Spread:
    """Over seeds."""

    mean: float
    deviation: float | None
    """Of the sample (divided by seeds - 1); None with one seed."""


@dataclass(frozen=True)
class Difference:
    """Of two accuracies on the same rows, over the seeds that both have; positive: better than the other one."""

    seeds: int
    mean: float
    deviation: float
    low: float
    """Of the 95 % confidence interval of the mean (Student's t)."""
    high: float
    p: float | None
    """Two-sided paired t-test; None where all differences are the same."""


@dataclass(frozen=True)
class Line:
    condition: str
    method: str
    seeds: int
    accuracy: Spread
    balanced_accuracy: Spread
    macro_f1: Spread
    seconds: float
    """Mean of a training."""
    against: Difference | None
    """The reference in the same condition."""
    p_holm: float | None
    """``against.p`` corrected for all methods compared in the condition (Holm 1979)."""
    against_clean: Difference | None
    """The same method trained with the right partners."""


def summarise(runs: pd.DataFrame, conditions: Sequence[str], methods: Sequence[str]) -> list[Line]:
    """A line for each condition and method that has runs, from :func:`pyemo.benchmarking.label_paired.runs.results`."""
    accuracies: dict[tuple[str, str], pd.Series] = {
        (str(condition), str(method)): group.set_index("seed")["accuracy"]
        for (condition, method), group in runs.groupby(["condition", "method"], sort=False)
    }
    lines = []
    for condition in conditions:
        present = [method for method in methods if (condition, method) in accuracies]
        against = {
            method: difference(accuracies[condition, method], accuracies[condition, REFERENCE])
            for method in present
            if method != REFERENCE and REFERENCE in present
        }
        corrected = holm({method: of.p for method, of in against.items() if of is not None and of.p is not None})
        for method in present:
            of_clean = None
            if condition != "clean" and ("clean", method) in accuracies:
                of_clean = difference(accuracies[condition, method], accuracies["clean", method])
            own = runs[(runs["condition"] == condition) & (runs["method"] == method)]
            lines.append(
                Line(
                    condition,
                    method,
                    len(own),
                    _spread(own["accuracy"]),
                    _spread(own["balanced_accuracy"]),
                    _spread(own["macro_f1"]),
                    seconds=float(own["seconds"].mean()),
                    against=against.get(method),
                    p_holm=corrected.get(method),
                    against_clean=of_clean,
                )
            )
    return lines


def difference(own: pd.Series, other: pd.Series) -> Difference | None:
    """``own`` - ``other``, both by seed; None with fewer than two common seeds."""
    both = own.index.intersection(other.index)
    values = (own[both] - other[both]).to_numpy(float)
    if len(values) < 2:
        return None
    deviation = float(values.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / np.sqrt(len(values))
    mean = float(values.mean())
    p = float(stats.ttest_1samp(values, 0.0).pvalue) if deviation > 0 else None
    return Difference(len(values), mean, deviation, mean - half, mean + half, p)


def holm(values: dict[str, float]) -> dict[str, float]:
    """p-values corrected for their number: the k-th smallest of n times n - k + 1, never below one before it, at most 1."""
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, name in enumerate(sorted(values, key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - place) * values[name]))
        corrected[name] = largest
    return corrected


def _spread(values: pd.Series) -> Spread:
    return Spread(float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)
