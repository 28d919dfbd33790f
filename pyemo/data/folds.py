"""Splitting samples into folds for cross-validation, and keeping the people of training and test apart."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from pyemo.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from pyemo.contracts import Manifest


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


def assign_folds(
    manifest: Manifest, *, kind: str = "subject", name: str | None = None, count: int = 5, seed: int = 0
) -> np.ndarray:
    """The fold that each row of a data set is held out in.

    Args:
        manifest: rows whose frames are labelled instead of themselves count as of their most frequent label.
        kind: ``subject``: ``count`` folds with all rows of a subject in one of them and, as far as that allows, the same share of each
            class; a row without a subject stands for itself. ``given``: a published list in ``manifest.folds``. ``stratified``:
            ``count`` folds with the same share of each class, whoever is in them.
        name: of the published list; None if there is only one.
        count: 2 or more; published lists have their own.
        seed: of the shuffling; published lists are not shuffled.

    Returns:
        (rows,) int64 from 0. Published folds keep their numbers where others are empty because the files of all their subjects are
        missing; the other kinds leave no fold empty.

    Raises:
        DataError: no row has a subject, a subject stands in no published fold or in two, there is no such list, or the rows cannot be
            split (:func:`stratified_folds`).
    """
    if kind == "given":
        return _given_folds(manifest, name)
    if kind not in ("subject", "stratified"):
        raise DataError(f"kind of folds {kind!r}: expected subject, given or stratified")
    subjects = _subjects(manifest) if kind == "subject" else None
    if subjects is not None and len(subjects) and not any(subjects):
        raise DataError(
            "folds by subject: this data set does not say who its subjects are; kind 'stratified' ignores subjects, with the same "
            "people in training and held-out rows as a likely result"
        )
    return stratified_folds(_classes(manifest), count, seed, subjects)


def check_disjoint(
    manifest: Manifest, train: np.ndarray | Sequence[int], held_out: np.ndarray | Sequence[int], *, allow: bool = False
) -> tuple[str, ...]:
    """Refuse to train and to test on the same people.

    Rows without a subject are compared by ``path``: parts of one file must not be on both sides either.

    Args:
        manifest: its ``table`` names the subjects.
        train: which rows are trained on: a boolean mask or positions.
        held_out: which rows the model is chosen or tested with, likewise.
        allow: return what is on both sides instead of raising.

    Returns:
        The subjects (or files) on both sides, in order; empty if there is none.

    Raises:
        DataError: there is one, and ``allow`` is false.
    """
    groups = np.array(
        [path if subject is None else subject for path, subject in zip(manifest.table["path"], _subjects(manifest), strict=True)],
        dtype=object,
    )  # fmt: skip
    both = sorted({*groups[train]} & {*groups[held_out]})
    if both and not allow:
        many = "subjects are" if len(both) > 1 else "subject is"
        named = ", ".join(both[:8]) + (f" and {len(both) - 8} more" if len(both) > 8 else "")
        raise DataError(
            f"{len(both)} {many} in the training rows and in the held-out rows ({named}): scores would say how well the model knows "
            "these people. Split by subject, or allow it on purpose with folds.allow_subject_overlap=true"
        )
    return tuple(both)


def _given_folds(manifest: Manifest, name: str | None) -> np.ndarray:
    known = ", ".join(manifest.folds) or "none"
    if name is None:
        if len(manifest.folds) != 1:
            raise DataError(f"folds of kind 'given' need the name of a list; this data set has: {known}")
        name = next(iter(manifest.folds))
    if name not in manifest.folds:
        raise DataError(
            f"no list of folds is called {name!r}{did_you_mean(name, manifest.folds)}; this data set has: {known}"
        )
    number: dict[str, int] = {}
    for fold, members in enumerate(manifest.folds[name]):
        for subject in members:
            if number.setdefault(subject, fold) != fold:
                raise DataError(
                    f"folds {name!r}: subject {subject} is in fold {number[subject] + 1} and in fold {fold + 1}"
                )
    subjects = _subjects(manifest)
    strangers = sorted({str(subject) for subject in subjects if subject not in number})
    if strangers:
        named = ", ".join(strangers[:8]) + (f" and {len(strangers) - 8} more" if len(strangers) > 8 else "")
        raise DataError(f"folds {name!r}: these subjects are in none of its {len(manifest.folds[name])} folds: {named}")
    return np.array([number[str(subject)] for subject in subjects], np.int64)


def _subjects(manifest: Manifest) -> list[str | None]:
    return [subject if isinstance(subject, str) else None for subject in manifest.table["subject"]]


def _classes(manifest: Manifest) -> list[str]:
    table = manifest.table
    frames = table["frame_labels"] if "frame_labels" in table else [None] * len(table)
    return [
        label if isinstance(label, str) else _most_frequent(of, manifest.labels)
        for label, of in zip(table["label"], frames, strict=True)
    ]


def _most_frequent(frame_labels: np.ndarray | None, labels: Sequence[str]) -> str:
    counts = np.bincount(np.asarray([] if frame_labels is None else frame_labels, int) + 1, minlength=2)[1:]
    return labels[int(counts.argmax())] if counts.any() else "no label"
