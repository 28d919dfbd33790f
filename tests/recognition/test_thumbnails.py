from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import LEVELS, RATE, write_clip, write_image

from pyemo.recognition import Recogniser
from pyemo.recognition.thumbnails import SIDE, Thumbnail, ThumbnailKeeper


def candidate(face: int, score: float, label: str = "happy") -> Thumbnail:
    return Thumbnail(face, 0.0, label, score, np.full((1, 1, 3), int(100 * score), np.uint8))


def test_the_surest_of_each_label_and_three_a_face() -> None:
    keeper = ThumbnailKeeper()
    for label, score in (("happy", 0.5), ("happy", 0.9), ("happy", 0.7), ("sad", 0.6), ("fear", 0.8), ("angry", 0.4)):
        keeper.offer(candidate(0, score, label))
    assert [(kept.label, kept.score) for kept in keeper.thumbnails()] == [("happy", 0.9), ("fear", 0.8), ("sad", 0.6)]


def test_memory_is_bounded_and_faces_seen_long_stay() -> None:
    keeper = ThumbnailKeeper()
    for _ in range(5):
        keeper.offer(candidate(1000, 0.9))
    for face in range(500):
        keeper.offer(candidate(face, 0.9))
    for _ in range(5):
        keeper.offer(candidate(499, 0.9))
    faces = {kept.face for kept in keeper.thumbnails()}
    assert len(faces) == 48
    assert {499, 1000} <= faces


def test_thumbnails_of_a_clip(recogniser: Recogniser, tmp_path: Path) -> None:
    # Both emotions within one track: a change of brightness on the other side is no cut.
    frames = [{20: "happy", 120: "neutral" if number < 70 else "surprise"} for number in range(100)]
    result = recogniser.predict(write_clip(tmp_path / "clip.avi", frames))
    assert {(shown.face, shown.label) for shown in result.thumbnails} >= {(0, "happy"), (1, "neutral")}
    for shown in result.thumbnails:
        assert shown.image.shape == (SIDE, SIDE, 3)
        assert shown.image.dtype == np.uint8
        assert np.median(shown.image) == pytest.approx(LEVELS[shown.label], abs=6)
        row = result.timeline[(result.timeline["face"] == shown.face) & (result.timeline["start"] == shown.time)]
        assert row["label"].tolist() == [shown.label]
        assert row[shown.label].tolist() == [pytest.approx(shown.score)]
        assert shown.time * RATE == pytest.approx(round(shown.time * RATE))


def test_thumbnails_of_an_image_and_of_nothing(recogniser: Recogniser, tmp_path: Path) -> None:
    result = recogniser.predict(write_image(tmp_path / "picture.png", {20: "sad", 120: "fear"}))
    assert sorted(shown.label for shown in result.thumbnails) == ["fear", "sad"]
    assert all(np.isnan(shown.time) for shown in result.thumbnails)
    assert recogniser.predict(np.zeros((50, 50, 3), np.uint8)).thumbnails == ()


def test_the_card_comes_with_the_result(recogniser: Recogniser, tmp_path: Path) -> None:
    (tmp_path / "model" / "card.md").write_text("# a card\n", encoding="utf-8")
    assert recogniser.predict(np.zeros((50, 50, 3), np.uint8)).card == "# a card\n"
