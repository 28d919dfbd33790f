from __future__ import annotations

import numpy as np
import pytest

from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.errors import ConfigError
from pyemo.recognition.threshold import Candidates, Votes, search_threshold

GROUPS = {"negative": ["sad", "angry", "fear", "disgust"], "positive": ["happy", "surprise"], "neutral": ["neutral"]}


def votes(mass: dict[str, float] | None = None, **counts: int) -> Votes:
    return Votes(
        BASIC_EMOTIONS,
        np.array([counts.get(label, 0) for label in BASIC_EMOTIONS]),
        np.array([(mass or counts).get(label, 0.0) for label in BASIC_EMOTIONS], np.float64),
    )


@pytest.mark.parametrize(
    ("threshold", "label"),
    [(None, "neutral"), (0.0, "happy"), (0.2, "happy"), (0.25, "happy"), (0.26, "neutral"), (1.0, "neutral")],
)
def test_equation_1_by_hand(threshold: float | None, label: str) -> None:
    assert votes(neutral=12, happy=5, sad=3).verdict(threshold) == label


def test_below_the_threshold_the_most_frequent_label_wins_whichever_it_is() -> None:
    assert votes(happy=4, sad=3, neutral=3).verdict(0.9) == "happy"


def test_every_exact_share_reaches_its_threshold() -> None:
    for total in range(1, 200):
        for count in range(1, total):
            clip = votes(happy=count, neutral=total - count)
            assert clip.verdict(count / total) == "happy"
            if count < total / 2:
                assert clip.verdict(count / total + 1e-6) == "neutral"
    # 0.55 * 20 > 11 in binary floating point
    assert votes(happy=11, neutral=9).candidates().verdict(0.55) == "happy"
    assert votes(happy=9, neutral=11).candidates() == Candidates("neutral", "happy", 0.45)


def test_an_emotion_without_votes_never_wins() -> None:
    assert votes(neutral=10).verdict(0.0) == "neutral"


def test_without_votes_there_is_no_label() -> None:
    empty = Votes.of(np.empty((0, 7), np.float32), BASIC_EMOTIONS)
    assert empty.total == 0
    assert empty.verdict(0.2) is None
    assert empty.verdict(None) is None


def test_ties_go_to_the_larger_mass_then_to_the_earlier_label() -> None:
    assert votes({"sad": 3.1, "happy": 3.0}, sad=5, happy=5).verdict(0.1) == "sad"
    assert votes({"sad": 3.0, "happy": 3.1}, sad=5, happy=5).verdict(0.1) == "happy"
    assert votes({"sad": 3.0, "happy": 3.0}, sad=5, happy=5).verdict(0.1) == "happy"
    assert votes({"neutral": 9.0, "sad": 3.0}, neutral=5, sad=5).verdict(None) == "neutral"
    assert votes({"neutral": 9.0, "sad": 3.0}, neutral=5, sad=5).verdict(0.5) == "sad"


def test_votes_are_counted_from_probabilities() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.1, 0.5, 0.4], [0.4, 0.4, 0.2]], np.float32)
    counted = Votes.of(probabilities, ("a", "b", "c"))
    assert counted.counts.tolist() == [2, 1, 0]  # the tied row goes to the earlier label
    np.testing.assert_allclose(counted.mass, [1.1, 1.2, 0.7], rtol=1e-6)


def test_broad_labels_add_up_their_members() -> None:
    broad = votes(sad=3, angry=2, disgust=1, happy=4, neutral=5).grouped(GROUPS)
    assert broad.labels == ("negative", "positive", "neutral")
    assert broad.counts.tolist() == [6, 4, 5]
    assert broad.mass.tolist() == [6.0, 4.0, 5.0]
    assert broad.verdict(None) == "negative"  # of the seven labels neutral is the most frequent


@pytest.mark.parametrize("groups", [{"all": ["happy"]}, {**GROUPS, "more": ["happy"]}, {**GROUPS, "other": ["calm"]}])
def test_groups_must_hold_each_label_once(groups: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match="exactly one group"):
        votes(happy=1).grouped(groups)


def test_a_model_without_neutral_gives_top_1() -> None:
    clip = Votes(("a", "b"), np.array([3, 7]), np.array([3.0, 7.0]))
    assert [clip.verdict(threshold) for threshold in (None, 0.1, 1.0)] == ["b", "b", "b"]


def test_search_agrees_with_the_definition_on_random_clips() -> None:
    rng = np.random.default_rng(0)
    thresholds = [round(0.05 * step, 2) for step in range(20, 0, -1)]  # in any order
    clips = [Votes(BASIC_EMOTIONS, counts, counts * 1.0) for counts in rng.integers(0, 6, (60, 7)) ** 2]
    truth = [BASIC_EMOTIONS[label] for label in rng.integers(0, 7, 60)]

    def plain(clip: Votes, threshold: float) -> str:
        counts = dict(zip(clip.labels, clip.counts.tolist(), strict=True))
        emotion = max((label for label in counts if label != "neutral"), key=counts.__getitem__)
        reached = counts[emotion] * 100 >= round(threshold * 100) * sum(counts.values())
        return emotion if reached else max(counts, key=counts.__getitem__)

    expected = [np.mean([plain(clip, t) == true for clip, true in zip(clips, truth, strict=True)]) for t in thresholds]
    best, accuracy = search_threshold([clip.candidates() for clip in clips], truth, thresholds)
    np.testing.assert_allclose(accuracy, expected)
    assert best == min(t for t, value in zip(thresholds, expected, strict=True) if value == max(expected))


def test_search_counts_clips_without_votes_as_wrong() -> None:
    clips = [votes(happy=1).candidates(), votes().candidates()]
    assert search_threshold(clips, ["happy", "happy"], [0.5])[1].tolist() == [0.5]
