from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    precision_recall_fscore_support,
    recall_score,
    roc_auc_score,
)

from pyemo.errors import DataError
from pyemo.evaluation.measures import BY_CLASS, measure

LABELS = ("a", "b", "c")


def made_up(samples: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    truth = random.choice(3, samples, p=[0.6, 0.3, 0.1])
    logits = random.normal(size=(samples, 3)) + 1.2 * np.eye(3)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, np.round(probabilities, 2)  # with ties


def test_agrees_with_scikit_learn() -> None:
    truth, probabilities = made_up()
    decided = probabilities.argmax(axis=1)
    found = measure(truth, probabilities, LABELS, draws=0)
    assert found.overall.loc["accuracy", "value"] == pytest.approx(accuracy_score(truth, decided))
    assert found.overall.loc["balanced_accuracy", "value"] == pytest.approx(balanced_accuracy_score(truth, decided))
    classes = found.classes.loc[list(LABELS)]
    expected = precision_recall_fscore_support(truth, decided, zero_division=0)
    for column, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(classes[column], values)
    for c, label in enumerate(LABELS):
        assert classes.loc[label, "specificity"] == pytest.approx(recall_score(truth != c, decided != c))
        assert classes.loc[label, "auc"] == pytest.approx(roc_auc_score(truth == c, probabilities[:, c]))
    for average in ("macro", "weighted"):
        precision, recall, f1, _ = precision_recall_fscore_support(truth, decided, average=average)
        row = found.classes.loc[average, ["precision", "recall", "f1"]].astype(float)
        np.testing.assert_allclose(row, [precision, recall, f1])
        areas = [roc_auc_score(truth == c, probabilities[:, c]) for c in range(3)]
        weights = classes["support"] if average == "weighted" else None
        assert found.classes.loc[average, "auc"] == pytest.approx(np.average(areas, weights=weights))


def test_intervals_over_samples_are_those_of_the_binomial() -> None:
    truth, probabilities = made_up(2000)
    found = measure(truth, probabilities, LABELS, draws=2000)
    value, low, high = found.overall.loc["accuracy"]
    spread = 1.96 * np.sqrt(value * (1 - value) / 2000)
    assert (low, high) == (pytest.approx(value - spread, abs=0.003), pytest.approx(value + spread, abs=0.003))
    for column in BY_CLASS:
        assert (found.classes[f"{column}_low"] < found.classes[column]).all()
        assert (found.classes[column] < found.classes[f"{column}_high"]).all()
    assert (found.units, found.drawn) == ("samples", 2000)
    assert "subjects are not known" in found.note()


def test_intervals_over_subjects_are_wider_where_samples_of_one_person_are_alike() -> None:
    random = np.random.default_rng(1)
    subjects = np.repeat([f"S{n}" for n in range(20)], 50)
    truth = random.choice(2, 1000)
    right = np.repeat(random.random(20) < 0.7, 50)  # all or none of a person's
    probabilities = np.eye(2)[np.where(right, truth, 1 - truth)]
    by_subject = measure(truth, probabilities, ("a", "b"), subjects)
    by_sample = measure(truth, probabilities, ("a", "b"))
    assert (by_subject.units, by_subject.drawn) == ("subjects", 20)
    assert by_subject.note() == "95% intervals: bootstrap over 20 subjects"

    def width(found: object) -> float:
        row = found.overall.loc["accuracy"]  # type: ignore[attr-defined]
        return float(row["high"] - row["low"])

    share = right.mean()
    assert width(by_subject) == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 20), rel=0.15)
    assert width(by_subject) > 5 * width(by_sample)
    assert by_subject.overall.equals(measure(truth, probabilities, ("a", "b"), subjects).overall)  # the same seed


def test_unknown_subjects_or_one_alone_fall_back_to_samples() -> None:
    truth, probabilities = made_up(50)
    subjects: list[object] = ["x"] * 49
    for last in (None, float("nan"), "x"):
        assert measure(truth, probabilities, LABELS, [*subjects, last], draws=10).units == "samples"
    assert measure(truth, probabilities, LABELS, [*subjects, "y"], draws=10).units == "subjects"


def test_one_class_only() -> None:
    found = measure(np.zeros(10, int), np.tile([0.8, 0.2, 0.0], (10, 1)), LABELS, draws=20)
    assert found.overall["value"].tolist() == [1, 1]
    assert found.classes.loc["a", ["recall", "precision", "f1"]].tolist() == [1, 1, 1]
    assert np.isnan(found.classes.loc["a", "auc"])
    assert found.classes.loc["b", ["recall", "precision", "auc"]].isna().all()
    assert found.classes.loc["macro", "recall"] == 1
    content = found.as_dict()
    assert content["classes"]["b"]["recall"] is None
    assert content["intervals"] == {"level": 0.95, "bootstrap_over": "samples", "number": 10}


@pytest.mark.parametrize(
    ("truth", "probabilities", "message"),
    [
        ([], np.empty((0, 3)), "evaluation set is empty"),
        ([0, 1], np.ones((2, 2)), r"shape \(2, 3\) \(samples, classes\), got \(2, 2\)"),
        ([0, 3], np.ones((2, 3)), "from 0 to 2, got 0 to 3"),
        ([0, 1], np.full((2, 3), np.nan), "not all finite"),
    ],
)
def test_what_does_not_fit_is_named(truth: list[int], probabilities: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure(np.array(truth, int), probabilities, LABELS)
    with pytest.raises(DataError, match="a subject for each of 2 samples, got 1"):
        measure(np.array([0, 1]), np.ones((2, 3)), LABELS, ["x"])
