"""From labels of frames to the label of a clip: threshold voting.

Yang, Lee, Park, "Develop method to efficiently apply image-based facial emotion classification models to video data", section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyemo.errors import ConfigError


@dataclass(frozen=True)
class Votes:
    """How often each label was the most probable one.

    Every face in every analysed frame casts one vote. Frames without a face cast none and do not count as frames in equation 1, since
    the paper counts the frames that the model labelled.
    """

    labels: tuple[str, ...]
    counts: np.ndarray
    """(labels,) int64."""
    mass: np.ndarray
    """(labels,) float64: the labels' probabilities, summed over all votes. Breaks ties."""

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: Sequence[str]) -> Votes:
        """From probabilities (votes, labels); a vote that is tied goes to the earlier label."""
        winners = probabilities.argmax(axis=1) if len(probabilities) else np.empty(0, np.int64)
        counts = np.bincount(winners, minlength=len(labels))
        return cls(tuple(labels), counts, probabilities.sum(axis=0, dtype=np.float64))

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    def grouped(self, groups: Mapping[str, Sequence[str]]) -> Votes:
        """Votes for broad labels: those of a group are added up, so a frame is labelled first and mapped then.

        Raises:
            ConfigError: the groups do not hold each label exactly once.
        """
        members = [label for group in groups.values() for label in group]
        if sorted(members) != sorted(self.labels):
            raise ConfigError(
                f"groups: expected each of {', '.join(self.labels)} in exactly one group, got "
                + "; ".join(f"{name}: {', '.join(group)}" for name, group in groups.items())
            )
        membership = np.array([[label in group for label in self.labels] for group in groups.values()])
        return Votes(tuple(groups), membership @ self.counts, membership @ self.mass)

    def candidates(self, neutral: str = "neutral") -> Candidates:
        """What equation 1 chooses between. Equal counts are decided by the summed probabilities, then by the order of the labels."""
        if not self.total:
            return Candidates(None, None, 0.0)
        ranking = sorted(range(len(self.labels)), key=lambda index: (-self.counts[index], -self.mass[index], index))
        emotion = next((index for index in ranking if self.labels[index] != neutral and self.counts[index]), None)
        top = self.labels[ranking[0]]
        if emotion is None:
            return Candidates(top, None, 0.0)
        return Candidates(top, self.labels[emotion], float(self.counts[emotion]) / self.total)

    def verdict(self, threshold: float | None, neutral: str = "neutral") -> str | None:
        """The label of the clip by equation 1, or by Top-1 where ``threshold`` is None; None without votes."""
        return self.candidates(neutral).verdict(threshold)


@dataclass(frozen=True)
class Candidates:
    """The two labels that a clip can get, whatever the threshold."""

    top: str | None
    """The most frequent label, neutral included (Top-1); None if there are no votes."""
    emotion: str | None
    """m, the most frequent label but neutral; None if no vote is for an emotion."""
    share: float
    """count(m) / number of votes."""

    def verdict(self, threshold: float | None) -> str | None:
        """Equation 1: m if count(m) >= threshold * number of frames, else the most frequent label."""
        # A quotient, for 0.55 * 20 is 11.000000000000002 in binary, but 11 / 20 is the same number as 0.55.
        if threshold is not None and self.emotion is not None and self.share >= threshold:
            return self.emotion
        return self.top


def search_threshold(
    clips: Sequence[Candidates], truth: Sequence[str], thresholds: Sequence[float]
) -> tuple[float, np.ndarray]:
    """The threshold with the best accuracy on labelled clips, and the accuracy (thresholds,) of each.

    Of equally good thresholds the lowest wins: it is the most sensitive to emotion, which is what the method is for. A clip without
    votes is wrong under every threshold.
    """
    order = sorted(range(len(thresholds)), key=lambda index: thresholds[index])
    accuracy = np.array(
        [
            np.mean([clip.verdict(threshold) == true for clip, true in zip(clips, truth, strict=True)])
            for threshold in thresholds
        ]
    )
    best = max(order, key=lambda index: accuracy[index])  # the first of equals
    return thresholds[best], accuracy
