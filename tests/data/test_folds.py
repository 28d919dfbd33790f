from __future__ import annotations

import warnings

import numpy as np
import pytest

from pyemo.data.folds import stratified_folds
from pyemo.errors import DataError


def test_each_fold_has_its_share_of_each_class() -> None:
    labels = ["a"] * 20 + ["b"] * 10
    folds = stratified_folds(labels, 5, seed=0)
    for fold in range(5):
        inside = [label for label, of in zip(labels, folds, strict=True) if of == fold]
        assert (inside.count("a"), inside.count("b")) == (4, 2)


def test_the_seed_decides() -> None:
    labels = ["a", "b"] * 20
    assert (stratified_folds(labels, 4, 0) == stratified_folds(labels, 4, 0)).all()
    assert (stratified_folds(labels, 4, 0) != stratified_folds(labels, 4, 1)).any()


def test_subjects_stay_together_and_samples_without_one_are_free() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(["a", "b", "c"], 90).tolist()
    subjects = [None if n % 3 == 0 else f"S{rng.integers(8)}" for n in range(90)]
    folds = stratified_folds(labels, 5, 0, subjects)
    assert sorted(set(folds.tolist())) == [0, 1, 2, 3, 4]
    for subject in set(subjects) - {None}:
        assert len({int(fold) for fold, own in zip(folds, subjects, strict=True) if own == subject}) == 1
    assert len({int(fold) for fold, own in zip(folds, subjects, strict=True) if own is None}) > 1


def test_a_small_class_is_allowed_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = stratified_folds(["a"] * 10 + ["b"] * 2, 5, 0)
    assert np.bincount(folds).min() >= 2


@pytest.mark.parametrize(
    ("labels", "subjects", "message"),
    [
        (["a"] * 10, None, "at least two classes, got a"),
        ([], None, "at least two classes, got none"),
        (["a", "b"] * 3, None, "5 folds need a class with at least as many samples, got 3 of a, 3 of b"),
        (["a", "b"] * 10, ["x", "y"] * 10, "2 subjects cannot be split into 5 folds"),
    ],
)
def test_what_cannot_be_split_is_explained(labels: list[str], subjects: list[str | None] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        stratified_folds(labels, 5, 0, subjects)
