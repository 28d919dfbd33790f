from __future__ import annotations

import pytest

from pyemo.data.labels import BASIC_EMOTIONS, basic_emotion, in_order


@pytest.mark.parametrize(
    ("name", "emotion"),
    [("Anger", "angry"), ("HAPPINESS", "happy"), ("fearful", "fear"), (" surprised ", "surprise"), ("NEU", "neutral")],
)
def test_other_names(name: str, emotion: str) -> None:
    assert basic_emotion(name) == emotion


def test_basic_names_are_their_own() -> None:
    assert tuple(map(basic_emotion, BASIC_EMOTIONS)) == BASIC_EMOTIONS


def test_others_are_none() -> None:
    assert [basic_emotion(name) for name in ("calm", "contempt", "other", "")] == [None] * 4


def test_order() -> None:
    assert in_order({"zeal", "neutral", "calm", "angry"}) == ("angry", "neutral", "calm", "zeal")
