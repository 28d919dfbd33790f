from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from pyemo.contracts import Manifest
from pyemo.data.folds import assign_folds, check_disjoint, stratified_folds
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


def people(*rows: tuple[str | None, str | None], **folds: tuple[tuple[str, ...], ...]) -> Manifest:
    """Rows of (label, subject)."""
    table = pd.DataFrame(rows, columns=["label", "subject"], dtype=object)
    table.insert(0, "path", [f"{n}.wav" for n in range(len(rows))])
    return Manifest(table, ("a", "b"), folds=folds)


def crowd() -> Manifest:
    return people(*((label, f"S{number}") for number in range(10) for label in "aabb"))


def test_folds_by_subject() -> None:
    manifest = crowd()
    folds = assign_folds(manifest)
    assert np.bincount(folds).tolist() == [8] * 5
    for fold in range(5):
        assert check_disjoint(manifest, folds != fold, folds == fold) == ()
    np.testing.assert_array_equal(folds, assign_folds(manifest, kind="subject", count=5, seed=0))
    assert (folds != assign_folds(manifest, seed=1)).any()
    assert len(set(assign_folds(manifest, count=3))) == 3


def test_stratified_folds_ignore_subjects_and_the_guard_refuses_them() -> None:
    manifest = crowd()
    folds = assign_folds(manifest, kind="stratified", count=4)
    assert {tuple(np.bincount([label == "a" for label in manifest.table["label"][folds == n]])) for n in range(4)} == {
        (5, 5)
    }
    train, held_out = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
    found = check_disjoint(manifest, train, held_out, allow=True)
    assert set(found) <= {f"S{number}" for number in range(10)}
    assert len(found) > 1
    with pytest.raises(
        DataError,
        match=rf"{len(found)} subjects are in the training rows and in the held-out rows \({found[0]}, .*allow_subject_overlap=true",
    ):
        check_disjoint(manifest, train, held_out)


def test_the_guard_names_a_few_of_many_subjects() -> None:
    manifest = people(*(("a", f"S{number:02d}") for number in range(20)))
    everyone = np.ones(20, bool)
    with pytest.raises(DataError, match=r"20 subjects .* \(S00, S01, S02, S03, S04, S05, S06, S07 and 12 more\)"):
        check_disjoint(manifest, everyone, everyone)


def test_the_guard_compares_files_where_subjects_are_unknown() -> None:
    manifest = people(("a", None), ("a", None), ("b", None))
    assert check_disjoint(manifest, [0], [1, 2]) == ()
    manifest.table["path"] = ["one.mp4", "one.mp4", "two.mp4"]
    with pytest.raises(DataError, match=r"1 subject is in the training rows and in the held-out rows \(one\.mp4\)"):
        check_disjoint(manifest, [0], [1, 2])


def test_given_folds() -> None:
    lists = (("S1", "S2"), ("S3",), ("S4",))
    manifest = people(("a", "S3"), ("a", "S1"), ("b", "S2"), ("b", "S3"), thesis=lists)
    assert assign_folds(manifest, kind="given", name="thesis").tolist() == [1, 0, 0, 1]
    assert assign_folds(manifest, kind="given").tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("manifest", "options", "message"),
    [
        (people(("a", None), ("b", None)), {}, "does not say who its subjects are; kind 'stratified'"),
        (crowd(), {"count": 11}, "10 subjects cannot be split into 11 folds"),
        (crowd(), {"kind": "given"}, "need the name of a list; this data set has: none"),
        (people(("a", "x"), thesis=(("x",),)), {"kind": "given", "name": "thesi"}, "'thesi'; did you mean 'thesis'"),
        (people(("a", "x"), one=(("x",),), two=(("x",),)), {"kind": "given"}, "this data set has: one, two"),
        (people(("a", "x"), ("a", "y"), thesis=(("x",),)), {"kind": "given"}, "in none of its 1 folds: y"),
        (people(("a", "x"), ("a", None), thesis=(("x",),)), {"kind": "given"}, "in none of its 1 folds: None"),
        (people(("a", "x"), thesis=(("x",), ("x",))), {"kind": "given"}, "x is in fold 1 and in fold 2"),
        (crowd(), {"kind": "random"}, "'random': expected subject, given or stratified"),
    ],
)
def test_folds_that_cannot_be_are_explained(manifest: Manifest, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_folds(manifest, **options)
