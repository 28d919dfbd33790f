"""From the labels of single models to common ones, and from several probabilities to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pyemo.data.labels import BASIC_EMOTIONS, OUTSIDE, basic_emotion
from pyemo.errors import ModelError


class Relabelling:
    """A model's probabilities as those of other labels: those of labels that mean the same are added, what has no place is left out.

    Args:
        own: the model's labels.
        wanted: the labels of the result.
    """

    def __init__(self, own: Sequence[str], wanted: Sequence[str]) -> None:
        self._same = tuple(own) == tuple(wanted)
        self.matrix = np.zeros((len(own), len(wanted)), np.float32)
        for position, label in enumerate(own):
            target = label if label in wanted else common_label(label)
            if target is not None and target in wanted:
                self.matrix[position, list(wanted).index(target)] = 1

    def __call__(self, probabilities: np.ndarray) -> np.ndarray:
        """(..., own) -> (..., wanted) float32, sums 1."""
        if self._same:
            return probabilities
        moved = probabilities @ self.matrix
        # A label left out may have had all of it.
        total = moved.sum(axis=-1, keepdims=True)
        even = np.full_like(moved, 1 / moved.shape[-1])
        return np.divide(moved, total, out=even, where=total > 0).astype(np.float32)


def common_label(label: str) -> str | None:
    """The one of the common seven that a label counts as; None if it counts as none of them."""
    outside = OUTSIDE.get(label)
    return outside.common if outside is not None else basic_emotion(label)


def common_labels(models: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The basic emotions that all models tell apart, in their customary order.

    Args:
        models: name -> labels.

    Raises:
        ModelError: there are fewer than two.
    """
    known = [{common_label(label) for label in labels} for labels in models.values()]
    shared = tuple(emotion for emotion in BASIC_EMOTIONS if all(emotion in labels for labels in known))
    if len(shared) < 2:
        described = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in models.items())
        raise ModelError(f"the models to be joined share fewer than two emotions ({described})")
    return shared
