from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import SquareDetector, brightness_model, write_clip, write_image

from pyemo.config import ThresholdRecipe, load_recipe
from pyemo.contracts import Manifest
from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.errors import ConfigError, DataError
from pyemo.evaluation.threshold_crossval import LabelledClip, cross_validate, label_clips
from pyemo.recognition import Recogniser
from pyemo.recognition.threshold import Votes

LABELS = ("happy", "sad", "neutral")


def recipe(*overrides: str) -> ThresholdRecipe:
    loaded = load_recipe("threshold", overrides)
    assert isinstance(loaded, ThresholdRecipe)
    return loaded


def clip(label: str, *counts: int, subject: str | None = None, name: str = "") -> LabelledClip:
    return LabelledClip(name, label, subject, Votes(LABELS, np.array(counts), np.array(counts, np.float64)))


def random_clips(number: int, seed: int = 0) -> list[LabelledClip]:
    """Emotions are shown in about 30 % of the frames of their clips, now and then in 10 % of a neutral one."""
    rng = np.random.default_rng(seed)
    clips = []
    for n in range(number):
        label = LABELS[n % 3]
        share = rng.uniform(0.15, 0.5) if label != "neutral" else rng.uniform(0.0, 0.2)
        emotion = round(100 * share)
        counts = [0, 0, 100 - emotion]
        counts[LABELS.index(label) if label != "neutral" else rng.integers(2)] = emotion
        clips.append(clip(label, *counts, name=f"{n}.mp4", subject=f"S{n % 7}"))
    return clips


def test_thresholds_are_chosen_without_the_held_out_fold() -> None:
    clips = random_clips(60)
    thresholds = recipe().thresholds
    result = cross_validate(clips, recipe())
    table = result.predictions
    for row in result.folds.itertuples():
        outside = [own for own, fold in zip(clips, table["fold"], strict=True) if fold != row.fold]
        accuracy = [np.mean([own.votes.verdict(t) == own.label for own in outside]) for t in thresholds]
        assert row.threshold == thresholds[int(np.argmax(accuracy))]
        assert row.training_accuracy == pytest.approx(max(accuracy))
        inside = table[table["fold"] == row.fold]
        assert set(inside["threshold"]) == {row.threshold}
        assert row.clips == len(inside)
        assert row.accuracy == pytest.approx((inside["prediction"] == inside["label"]).mean())
        assert row.top1_accuracy == pytest.approx((inside["top1"] == inside["label"]).mean())
    for own, prediction, threshold in zip(clips, table["prediction"], table["threshold"], strict=True):
        assert prediction == own.votes.verdict(threshold)


def test_threshold_voting_finds_what_top_1_buries() -> None:
    result = cross_validate(random_clips(90), recipe())
    assert result.summary()["top1_accuracy"]["mean"] < 0.45
    assert result.summary()["accuracy"]["mean"] > 0.85
    assert 0.1 <= result.best_threshold <= 0.25
    assert result.scores.classes["happy"].f1 > result.top1_scores.classes["happy"].f1


def test_a_held_out_clip_can_be_wrong_under_a_good_threshold() -> None:
    """One neutral clip with an outburst: right only under a threshold that its own fold must not choose."""
    clips = (
        [clip("happy", 30, 0, 70) for _ in range(10)]
        + [clip("neutral", 0, 0, 100) for _ in range(9)]
        + [clip("neutral", 50, 0, 50)]
    )
    result = cross_validate(clips, recipe())
    assert result.predictions["prediction"].iloc[-1] == "happy"
    assert result.scores.accuracy == 0.95


def test_deviation_is_the_sample_s() -> None:
    result = cross_validate(random_clips(31), recipe())
    assert result.summary()["accuracy"]["deviation"] == pytest.approx(np.std(result.folds["accuracy"], ddof=1))


def test_subjects_stay_in_one_fold_unless_switched_off() -> None:
    table = cross_validate(random_clips(63), recipe()).predictions
    assert (table.groupby("subject")["fold"].nunique() == 1).all()
    table = cross_validate(random_clips(63), recipe("group_by_subject=false")).predictions
    assert (table.groupby("subject")["fold"].nunique() > 1).any()


def test_clips_without_a_face_are_wrong() -> None:
    clips = [clip("happy", 9, 0, 1)] * 9 + [clip("happy", 0, 0, 0)] + [clip("sad", 0, 9, 1)] * 10
    result = cross_validate(clips, recipe())
    assert result.summary()["clips_without_face"] == 1
    assert result.scores.accuracy == result.top1_scores.accuracy == 0.95
    assert result.predictions["prediction"].iloc[9] == "none"
    assert result.scores.confusion[0].tolist() == [9, 0, 0, 1]


def test_too_little_data_is_explained() -> None:
    with pytest.raises(DataError, match="two classes"):
        cross_validate([clip("happy", 1, 0, 0)] * 10, recipe())
    with pytest.raises(DataError, match="two classes, got none"):
        cross_validate([], recipe())
    with pytest.raises(DataError, match="3 folds need a class"):
        cross_validate([clip("happy", 1, 0, 0), clip("sad", 0, 1, 0)], recipe("folds=3"))


def test_files(tmp_path: Path) -> None:
    result = cross_validate(random_clips(30), recipe())
    result.save(tmp_path, {"data": "folder"})
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["data"] == "folder"
    assert content["clips_by_label"] == {"happy": 10, "sad": 10, "neutral": 10}
    assert len(content["thresholds_by_fold"]) == 5
    assert len(content["accuracy_by_threshold_on_all_clips"]["accuracy"]) == 20
    assert pd.read_csv(tmp_path / "folds.csv")["accuracy"].mean() == pytest.approx(content["accuracy"]["mean"])
    assert {"path", "label", "fold", "prediction", "top1", "votes_happy"} <= set(
        pd.read_csv(tmp_path / "predictions.csv").columns
    )


@pytest.fixture
def recogniser(tmp_path: Path) -> Recogniser:
    return Recogniser(brightness_model(tmp_path / "model"), SquareDetector(), device="cpu")


def manifest(rows: list[tuple[Path, str]], **columns: object) -> Manifest:
    table = pd.DataFrame({"path": [str(path) for path, _ in rows], "label": [label for _, label in rows]}).assign(
        **{"subject": None, "split": None, "start": np.nan, "end": np.nan, **columns}  # type: ignore[arg-type]
    )
    return Manifest(table, tuple(sorted({label for _, label in rows})), problems=("something was left out",))


def test_clips_become_votes_once(recogniser: Recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for label in ("happy", "sad"):
        for number in range(5):
            frames = [{40: label}] * (10 + number) + [{40: "neutral"}] * 10
            rows.append((write_clip(tmp_path / label / f"{number}.avi", frames), label))
    for number in range(3):
        write_image(tmp_path / "fear" / "sequence" / f"{number}.png", {40: "fear"})
    rows += [(tmp_path / "fear" / "sequence", "fear"), (tmp_path / "bad.mp4", "sad"), (tmp_path / "x.avi", "boredom")]
    (tmp_path / "bad.mp4").write_text("x")
    clips, failures = label_clips(recipe(), manifest(rows), recogniser, tmp_path / "frames")
    assert [failure.input.name for failure in failures] == ["", "x.avi", "bad.mp4"]
    assert "label 'boredom' is not one of" in failures[1].message
    assert len(clips) == 11
    assert clips[0].votes.labels == BASIC_EMOTIONS
    assert {label: int(count) for label, count in zip(BASIC_EMOTIONS, clips[3].votes.counts, strict=True) if count} == {
        "happy": 13,
        "neutral": 10,
    }
    assert clips[-1].votes.counts.sum() == 3

    monkeypatch.setattr(recogniser, "predict", lambda *_, **__: pytest.fail("classified again"))
    (tmp_path / "bad.mp4").unlink()  # what failed would be tried again
    broad, _ = label_clips(recipe("labels=3"), manifest(rows[:-2]), recogniser, tmp_path / "frames")
    assert [own.label for own in broad] == ["positive"] * 5 + ["negative"] * 6
    assert broad[3].votes.labels == ("negative", "positive", "neutral")
    assert broad[3].votes.counts.tolist() == [0, 13, 10]


def test_broad_labels_are_taken_as_they_are(recogniser: Recogniser, tmp_path: Path) -> None:
    names = ["positive", "negative", "sad", "negative", "neutral", "positive", "surprise", "anger"]
    rows = [(write_image(tmp_path / f"{number}.png", {40: "happy"}), name) for number, name in enumerate(names)]
    clips, failures = label_clips(recipe("labels=3", "folds=2"), manifest(rows), recogniser, tmp_path / "frames")
    assert [own.label for own in clips] == [
        "positive",
        "negative",
        "negative",
        "negative",
        "neutral",
        "positive",
        "positive",
    ]
    assert "'anger'" in failures[1].message


def test_what_cannot_work_is_told_before_clips_are_read(recogniser: Recogniser, tmp_path: Path) -> None:
    rows = [(tmp_path / "absent.mp4", "happy")] * 10
    with pytest.raises(DataError, match="two classes"):
        label_clips(recipe(), manifest(rows), recogniser, tmp_path)
    with pytest.raises(DataError, match="parts of files"):
        label_clips(recipe(), manifest(rows, start=1.0), recogniser, tmp_path)
    with pytest.raises(ConfigError, match="exactly one group"):
        label_clips(recipe("labels=3", "groups.neutral=[]"), manifest(rows), recogniser, tmp_path)
    with pytest.raises(ConfigError, match="neutral: 'calm' is not one of"):
        label_clips(recipe("neutral=calm"), manifest(rows), recogniser, tmp_path)
