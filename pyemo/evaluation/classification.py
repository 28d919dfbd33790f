"""Figures of decisions: one label a sample, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

NO_LABEL = "none"
"""What a sample without a decision is called in tables."""


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest."""

    precision: float
    recall: float
    f1: float
    accuracy: float
    """Share of samples rightly told to be, or not to be, of this class."""
    support: int
    """Samples of this class."""


@dataclass(frozen=True)
class Scores:
    labels: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    """Mean recall of the classes that occur (unweighted average recall)."""
    macro_f1: float
    """Mean F1 of the classes that occur."""
    classes: dict[str, ClassScores]
    confusion: np.ndarray
    """(labels, labels + 1) int64 counts: rows the truth, columns the decisions, the last one "no decision"."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "classes": {label: vars(scores) for label, scores in self.classes.items()},
            "confusion": {
                "columns": [*self.labels, NO_LABEL],
                "rows": list(self.labels),
                "counts": self.confusion.tolist(),
            },
        }


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the classes that occur, from counts (classes, classes): rows the truth, columns the decisions."""
    right, truth, decided = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = truth > 0
    return float((2 * right[occurs] / (truth + decided)[occurs]).mean())


def score(truth: Sequence[str], decisions: Sequence[str | None], labels: Sequence[str]) -> Scores:
    """Compare decisions with the truth. None, no decision, is wrong and counts for no class.

    Raises:
        ValueError: no samples, lengths differ, or a name that is not among ``labels``.
    """
    if len(truth) != len(decisions) or not len(truth):
        raise ValueError(
            f"expected as many decisions as true labels, and at least one, got {len(decisions)} and {len(truth)}"
        )
    index = {label: position for position, label in enumerate(labels)}
    foreign = ({*truth} | {*decisions} - {None}) - {*labels}
    if foreign:
        raise ValueError(f"expected labels among {', '.join(labels)}, got {', '.join(sorted(map(str, foreign)))}")
    true = np.array([index[label] for label in truth])
    decided = np.array([len(labels) if label is None else index[label] for label in decisions])
    precision, recall, f1, support = precision_recall_fscore_support(
        true, decided, labels=range(len(labels)), average=None, zero_division=0
    )
    confusion = np.zeros((len(labels), len(labels) + 1), np.int64)
    np.add.at(confusion, (true, decided), 1)
    classes = {
        label: ClassScores(
            float(precision[c]),
            float(recall[c]),
            float(f1[c]),
            float(np.mean((true == c) == (decided == c))),
            int(support[c]),
        )
        for c, label in enumerate(labels)
    }
    occurs = support > 0
    return Scores(
        labels=tuple(labels),
        accuracy=float(np.mean(true == decided)),
        balanced_accuracy=float(recall[occurs].mean()),
        macro_f1=float(f1[occurs].mean()),
        classes=classes,
        confusion=confusion,
    )
