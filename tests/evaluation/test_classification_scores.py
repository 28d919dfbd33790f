from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from pyemo.evaluation.classification import score

LABELS = ("a", "b", "c")


def test_by_hand() -> None:
    scores = score(["a", "a", "a", "b"], ["a", "b", None, "b"], LABELS)
    assert scores.accuracy == 0.5
    a, b, c = (scores.classes[label] for label in LABELS)
    assert (a.precision, a.recall, a.f1, a.accuracy, a.support) == (1.0, pytest.approx(1 / 3), 0.5, 0.5, 3)
    assert (b.precision, b.recall, b.f1, b.accuracy, b.support) == (0.5, 1.0, pytest.approx(2 / 3), 0.75, 1)
    assert (c.f1, c.accuracy, c.support) == (0.0, 1.0, 0)
    assert scores.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2)  # of the classes that occur
    assert scores.confusion.tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]]
    assert scores.as_dict()["confusion"]["columns"] == ["a", "b", "c", "none"]


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, decided = rng.choice(LABELS, (2, 200)).tolist()
    scores = score(truth, decided, LABELS)
    assert scores.accuracy == pytest.approx(accuracy_score(truth, decided))
    expected = f1_score(truth, decided, labels=LABELS, average=None)
    np.testing.assert_allclose([own.f1 for own in scores.classes.values()], expected)


@pytest.mark.parametrize(
    ("truth", "decided", "message"),
    [([], [], "at least one"), (["a"], ["a", "b"], "got 2 and 1"), (["x"], ["a"], "got x"), (["a"], ["y"], "got y")],
)
def test_what_does_not_fit_is_named(truth: list[str], decided: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(truth, decided, LABELS)
