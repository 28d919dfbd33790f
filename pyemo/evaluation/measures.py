"""Measures of a classifier, per class, over classes, and how sure they are.

Confidence intervals are percentile intervals of the bootstrap (Efron & Tibshirani 1993). What is drawn again is the subject, with all of
its samples: samples of one person are alike, and drawing them one by one would give intervals that are too narrow. Only where subjects are
unknown are samples drawn, and the result says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyemo.errors import DataError
from pyemo.files import written_whole

BY_CLASS = ("precision", "recall", "f1", "specificity", "auc")
"""Measures of one class against the rest. Recall is also called sensitivity."""
OVERALL = ("accuracy", "balanced_accuracy")
"""Balanced accuracy is the unweighted average recall (UAR)."""
MACRO, WEIGHTED = "macro", "weighted"
_DRAWS_AT_ONCE = 64  # bounds memory: draws x samples


@dataclass(frozen=True)
class Measures:
    labels: tuple[str, ...]
    overall: pd.DataFrame
    """Indexed by :data:`OVERALL`: ``value``, ``low``, ``high``."""
    classes: pd.DataFrame
    """Indexed by the labels and then ``macro`` (mean of the classes that occur) and ``weighted`` (by their samples): ``support``, and for
    each of :data:`BY_CLASS` a column, and its ``_low`` and ``_high``. NaN where a measure means nothing: the recall of a class without
    samples, the AUC of one that has all of them."""
    samples: int
    units: str
    """What the bootstrap has drawn: ``subjects`` or ``samples``."""
    drawn: int
    """How many of those there are."""
    level: float
    """Of the intervals, 0.95 for 95 %."""

    def note(self) -> str:
        """How the intervals came about, in a sentence."""
        how = f"{self.level:.0%} intervals: bootstrap over {self.drawn:,} {self.units}"
        return how if self.units == "subjects" else f"{how}, since subjects are not known; they may be too narrow"

    def save(self, folder: Path, name: str = "measures") -> None:
        """Write ``<name>.json`` (:meth:`as_dict`) and ``<name>.csv`` (:attr:`classes`)."""
        with written_whole(folder / f"{name}.json") as path:
            path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        with written_whole(folder / f"{name}.csv") as path:
            self.classes.to_csv(path, index_label="class")

    def as_dict(self) -> dict[str, Any]:
        """For JSON; NaN becomes None."""

        def plain(table: pd.DataFrame) -> dict[str, Any]:
            return {
                str(name): {key: None if np.isnan(value) else round(float(value), 6) for key, value in row.items()}
                for name, row in table.iterrows()
            }

        return {
            **plain(self.overall),
            "classes": plain(self.classes),
            "intervals": {"level": self.level, "bootstrap_over": self.units, "number": self.drawn},
        }


def measure(
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    subjects: Sequence[object] | np.ndarray | None = None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Measures:
    """Measure what a classifier said.

    Args:
        truth: (N,) class indices.
        probabilities: (N, classes); the largest of a row is the decision, the first of equals.
        labels: names of the classes.
        subjects: (N,) who each sample is of. If one is unknown (None or NaN), or all are of one person, samples are drawn instead.
        draws: of the bootstrap; 0 gives intervals of NaN.
        level: share of the draws within an interval.
        seed: equal seeds give equal intervals.

    Raises:
        DataError: no samples, arrays that do not fit each other, or probabilities that are not finite.
    """
    truth, probabilities = np.asarray(truth), np.asarray(probabilities, np.float64)
    if not len(truth):
        raise DataError("nothing to measure: the evaluation set is empty")
    if probabilities.shape != (len(truth), len(labels)):
        raise DataError(
            f"expected probabilities of the shape {(len(truth), len(labels))} (samples, classes), got {probabilities.shape}"
        )
    if truth.min() < 0 or truth.max() >= len(labels):
        raise DataError(f"expected class indices from 0 to {len(labels) - 1}, got {truth.min()} to {truth.max()}")
    if not np.isfinite(probabilities).all():
        raise DataError("probabilities are not all finite")
    units, number = _units(subjects, len(truth))
    ranked = [_Ranking(probabilities[:, c], truth == c) for c in range(len(labels))]
    decided = probabilities.argmax(axis=1)
    value = _all(np.ones((1, len(truth))), truth, decided, ranked)[0]
    low = high = np.full_like(value, np.nan)
    if draws:
        drawn = _bootstrap(number, draws, np.random.default_rng(seed), truth, decided, ranked)
        tail = (1 - level) / 2
        low, high = _quantiles(drawn, tail), _quantiles(drawn, 1 - tail)
    names = [*labels, MACRO, WEIGHTED]
    shape = (len(BY_CLASS), len(names))
    table = {"support": [*np.bincount(truth, minlength=len(labels)), len(truth), len(truth)]}
    for suffix, flat in (("", value), ("_low", low), ("_high", high)):
        for key, line in zip(BY_CLASS, flat[len(OVERALL) :].reshape(shape), strict=True):
            table[key + suffix] = line
    ordered = ["support", *(key + suffix for key in BY_CLASS for suffix in ("", "_low", "_high"))]
    overall = pd.DataFrame({"value": value[:2], "low": low[:2], "high": high[:2]}, index=list(OVERALL))
    classes = pd.DataFrame(table, index=names)[ordered]
    return Measures(tuple(labels), overall, classes, len(truth), units, int(number.max()) + 1, level)


def _units(subjects: Sequence[object] | np.ndarray | None, samples: int) -> tuple[str, np.ndarray]:
    """What is drawn, and the number of the unit that each sample belongs to."""
    if subjects is not None:
        if len(subjects) != samples:
            raise DataError(f"expected a subject for each of {samples} samples, got {len(subjects)}")
        numbers, names = pd.factorize(np.asarray(subjects, dtype=object))  # unknown: -1
        if (numbers >= 0).all() and len(names) > 1:
            return "subjects", numbers
    return "samples", np.arange(samples)


def _bootstrap(
    unit: np.ndarray,
    draws: int,
    random: np.random.Generator,
    truth: np.ndarray,
    decided: np.ndarray,
    ranked: list[_Ranking],
) -> np.ndarray:
    """(draws, measures). A unit that is drawn twice counts twice: its samples' weights are 2."""
    count = int(unit.max()) + 1
    parts = []
    for first in range(0, draws, _DRAWS_AT_ONCE):
        size = min(_DRAWS_AT_ONCE, draws - first)
        often = random.multinomial(count, np.full(count, 1 / count), size=size)
        parts.append(_all(often[:, unit].astype(np.float64), truth, decided, ranked))
    return np.concatenate(parts)


def _quantiles(drawn: np.ndarray, share: float) -> np.ndarray:
    """NaN, without a warning, where no draw has a value: a class that does not occur."""
    found = np.full(drawn.shape[1], np.nan)
    known = ~np.isnan(drawn).all(axis=0)
    found[known] = np.nanquantile(drawn[:, known], share, axis=0)
    return found


def _all(weights: np.ndarray, truth: np.ndarray, decided: np.ndarray, ranked: list[_Ranking]) -> np.ndarray:
    """All measures for samples that count ``weights`` (draws, N) times: (draws, measures), overall ones first, then class by class."""
    classes = len(ranked)
    cell = truth * classes + decided
    confusion = np.stack([np.bincount(cell, row, classes * classes) for row in weights]).reshape(-1, classes, classes)
    hits = confusion.diagonal(axis1=1, axis2=2)
    actual, given, total = confusion.sum(axis=2), confusion.sum(axis=1), weights.sum(axis=1)[:, None]
    occurs = actual > 0
    recall = _share(hits, actual)
    precision = np.where(occurs | (given > 0), np.nan_to_num(_share(hits, given)), np.nan)  # never decided for: 0
    f1 = _share(2 * hits, actual + given)
    specificity = _share(total - actual - given + hits, total - actual)
    auc = np.stack([ranking.auc(weights) for ranking in ranked], axis=1)
    measures = []
    for own in (precision, recall, f1, specificity, auc):
        known = occurs & ~np.isnan(own)
        values = np.where(known, own, 0.0)
        macro = _share(values.sum(axis=1), known.sum(axis=1))
        weighted = _share((values * actual).sum(axis=1), (known * actual).sum(axis=1))
        measures.append(np.column_stack([own, macro, weighted]))
    accuracy = hits.sum(axis=1) / total[:, 0]
    balanced = _share(np.where(occurs, recall, 0.0).sum(axis=1), occurs.sum(axis=1))
    return np.column_stack([accuracy, balanced, *measures])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


class _Ranking:
    """One class's scores in order, so that the area under the ROC curve of many weightings needs one sorting."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._begins = np.flatnonzero(np.concatenate([[True], ordered[1:] > ordered[:-1]]))  # of equal scores
        self._positive = positive[self._order]

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """(draws, N) -> (draws,): the share of pairs of a positive and a negative in which the positive scores higher; equal scores count
        half. NaN without pairs."""
        ordered = weights[:, self._order]
        positive = np.add.reduceat(ordered * self._positive, self._begins, axis=1)
        negative = np.add.reduceat(ordered * ~self._positive, self._begins, axis=1)
        below = np.cumsum(negative, axis=1) - negative
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return _share((positive * (below + negative / 2)).sum(axis=1), pairs)
