"""What is wrong with data sets is said, and the rest is used."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from shrunken import SHRUNKEN, STILL
from small_worlds import EMOTIONS, aff_wild2, faces_by_class, picture, ravdess_speech, voice, write_clip, write_sound

from pyemo.data.prepared import open_prepared
from pyemo.weights import load_model

Pyemo = Callable[..., tuple[int, str, str]]

QUICK = ["training.epochs=1", "training.batch_size=4", "folds.kind=subject", "folds.count=2"]
SER = [*SHRUNKEN["ser"][1], *QUICK]


def speech(tmp_path: Path) -> Path:
    return ravdess_speech(tmp_path / "speech", actors=(1, 2))


def test_missing_actors_unreadable_clips_and_other_names(pyemo: Pyemo, tmp_path: Path) -> None:
    root = speech(tmp_path)
    (root / "Actor_01" / "03-01-06-01-01-01-01.wav").write_bytes(b"this is no sound")
    (root / "Actor_02" / "notes.wav").touch()
    write_sound(root / "Actor_02" / "03-01-03-01-01-01-01.wav", voice("happy", 0.3))
    status, out, err = pyemo("train", "ser", *SER, "--data", f"ravdess:{root}", "--device", "cpu", "--out", "run")
    assert status == 3
    assert "speech: no file of 22 of 24 actors: 03, 04, 05" in err
    assert "notes.wav: not a name of RAVDESS (seven numbers, for instance 03-01-05-01-02-01-01); left out" in err
    assert "03-01-03-01-01-01-01.wav: of actor 01 by its name, of actor 02 by its folder; left out" in err
    assert "1 rows could not be read; all in run/prepared/errors.csv" in err
    (message,) = pd.read_csv("run/prepared/errors.csv")["message"]
    assert "03-01-06-01-01-01-01.wav" in message
    assert "model: run/model" in out
    assert load_model("run/model").recipe.name == "ser"


def test_stereo_8_khz_and_very_short_sounds(pyemo: Pyemo, tmp_path: Path) -> None:
    root = speech(tmp_path)
    write_sound(
        root / "Actor_01/03-01-07-01-01-01-01.wav",
        np.stack([voice("sad", 0.5, 48000), voice("sad", 0.5, 48000)], axis=1),
        48000,
    )
    write_sound(root / "Actor_02/03-01-07-01-01-01-02.wav", voice("sad", 0.5, 8000), 8000)
    write_sound(root / "Actor_02/03-01-08-01-01-01-02.wav", voice("sad", 0.004))
    status, _, _ = pyemo("train", "ser", *SER, "--data", f"ravdess:{root}", "--device", "cpu", "--out", "run")
    assert status == 0
    data = open_prepared("run/prepared")
    length = {Path(path).name: data.voice_length(row) for row, path in enumerate(data.manifest.table["path"])}
    assert length["03-01-07-01-01-01-01.wav"] == length["03-01-07-01-01-01-02.wav"] == 8000
    assert length["03-01-08-01-01-01-02.wav"] == 64
    status, out, _ = pyemo(
        "evaluate", "run/model", "--data", "prepared:run/prepared", "--split", "all", "--out", "scores"
    )
    assert (status, "All rows, all 11 clips" in out) == (0, True)


def test_labels_outside_the_recipes(pyemo: Pyemo, tmp_path: Path) -> None:
    root = speech(tmp_path)
    command = ["train", "ser", *SER, "--data", f"ravdess:{root}", "--device", "cpu"]
    status, _, err = pyemo(*command, "labels=[happy, sad]", "--out", "one")
    assert status == 1
    assert "the data set has the label 'angry', the recipe's are happy, sad" in err
    status, _, err = pyemo(*command, "labels=[happy, sad]", "other_labels=leave-out", "--out", "two")
    assert status == 0
    assert "label 'angry': 2 rows left out (not one of the recipe's)" in err
    assert "label 'neutral': 2 rows left out (not one of the recipe's)" in err
    status, _, err = pyemo(*command, "labels=[proud, bored]", "other_labels=leave-out", "--out", "three")
    assert status == 1
    assert "no row has one of the recipe's labels (proud, bored); there are neutral, happy, sad, angry" in err


def test_a_recipe_of_faces_and_voices_on_sounds_alone(pyemo: Pyemo, tmp_path: Path) -> None:
    status, _, err = pyemo("train", "mrpn", "--data", f"ravdess:{speech(tmp_path)}", "--out", "run")
    assert status == 1
    assert "the recipe mrpn needs face and voice; ravdess has voice, no face" in err


def test_clips_without_sound_or_without_a_face_are_left_out_of_fusions(pyemo: Pyemo, tmp_path: Path) -> None:
    for subject in ("a", "b"):
        for emotion in EMOTIONS:
            write_clip(tmp_path / "clips" / emotion / f"{subject}_1.mp4", [picture(emotion)] * 12, voice(emotion, 0.48))
    write_clip(tmp_path / "clips/happy/a_silent.mp4", [picture("happy")] * 12)
    write_clip(tmp_path / "clips/sad/b_faceless.mp4", [np.zeros((96, 128, 3), np.uint8)] * 12, voice("sad", 0.48))
    command = [
        "train",
        "n1",
        *SHRUNKEN["n1"][1],
        *QUICK,
        STILL,
        "--data",
        "folder:clips",
        "--data-option",
        "subject=^(.)_",
    ]
    status, _, err = pyemo(*command, "--device", "cpu", "--out", "run")
    assert status == 0
    problems = "\n".join(open_prepared("run/prepared").manifest.problems)
    assert "a_silent.mp4: voice: " in problems
    assert "b_faceless.mp4: face: " in problems
    for name in ("a_silent.mp4", "b_faceless.mp4"):
        assert name in err
    card = Path("run/model/card.md").read_text()
    assert "(4 clips)" in card


def test_an_annotation_longer_than_its_frames(pyemo: Pyemo, tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "aff", {"a": ["happy"] * 4 + ["sad"] * 4, "validation-b": ["sad"] * 4 + ["happy"] * 4})
    for frame in (7, 8):
        (root / f"cropped_aligned/a/{frame:05d}.jpg").unlink()
    (root / "cropped_aligned/a/00002.jpg").unlink()
    overrides = [*SHRUNKEN["regnet-transformer"][1], "training.epochs=1", "training.batch_size=2", STILL]
    command = ["train", "regnet-transformer", *overrides, "--data", f"aff-wild2:{root}", "--device", "cpu"]
    status, _, err = pyemo(*command, "--out", "run")
    assert status == 0
    assert "a: 8 frames are annotated, the last image is that of frame 6: 2 labels beyond it are left out" in err
    assert "a: 1 labels are of frames without an image (no face found there) and are left out" in err
    data = open_prepared("run/prepared")
    assert data.frame_numbers(0).tolist() == [0, 2, 3, 4, 5]
    assert [data.manifest.labels[label] for label in data.frame_labels(0)] == ["happy"] * 3 + ["sad"] * 2
    card = Path("run/model/card.md").read_text()
    assert "(2 sequences)" in card
    assert "3 sequences held out for validation" in card
    assert "8 decisions" in card


def test_the_learning_rate_is_found_and_kept_for_a_resumed_run(pyemo: Pyemo, tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "aff", {"a": ["happy", "sad"] * 3, "validation-b": ["sad", "happy"] * 2})
    overrides = [
        *SHRUNKEN["regnet-transformer"][1],
        "training.optimizer.find_learning_rate=true",
        "training.epochs=1",
        STILL,
    ]
    assert (
        pyemo(
            "train", "regnet-transformer", *overrides, "--data", f"aff-wild2:{root}", "--device", "cpu", "--out", "run"
        )[0]
        == 0
    )
    rate = float(Path("run/learning_rate.txt").read_text())
    assert 1e-7 < rate < 1
    assert float(pd.read_csv("run/metrics.csv")["learning_rate"].iloc[0]) == pytest.approx(rate, rel=1e-4)


def test_targets_of_frames_need_a_fusion_that_decides_for_frames(pyemo: Pyemo, tmp_path: Path) -> None:
    root = aff_wild2(tmp_path / "aff", {"a": ["happy", "sad"] * 3, "validation-b": ["sad", "happy"] * 2})
    overrides = [*SHRUNKEN["regnet-transformer"][1], "model.fusion={name: linear}", "training.epochs=1", STILL]
    status, _, err = pyemo(
        "train", "regnet-transformer", *overrides, "--data", f"aff-wild2:{root}", "--device", "cpu", "--out", "run"
    )
    assert status == 1
    assert (
        "sampling.sequences gives each frame a target; the fusion gives no logits of steps (concat-residual does)"
        in err
    )


def test_a_part_to_start_from_must_fit(pyemo: Pyemo, tmp_path: Path) -> None:
    root = faces_by_class(tmp_path / "faces")
    tiny = [
        *SHRUNKEN["vgg-face"][1],
        "training.epochs=1",
        STILL,
        "folds.kind=stratified",
        "folds.count=2",
    ]
    common = ["--data", f"folder:{root}", "--device", "cpu"]
    assert pyemo("train", "vgg-face", *tiny, *common, "--out", "first")[0] == 0
    start = "model.modalities.face.start_from=first/model"
    # Another aggregator: the backbone alone is taken.
    lstm = "model.modalities.face.aggregator={name: lstm, options: {hidden_size: 8}}"
    rate = "training.optimizer.learning_rate=1e-12"
    assert pyemo("train", "vgg-face", *tiny, start, lstm, rate, *common, "--out", "second")[0] == 0
    first, second = (load_model(f"{name}/model").model.state_dict() for name in ("first", "second"))
    np.testing.assert_allclose(
        second["backbones.face.model.conv1.0.weight"], first["backbones.face.model.conv1.0.weight"], atol=1e-7
    )
    status, _, err = pyemo(
        "train", "vgg-face", *tiny, start, lstm, "model.modalities.face.frozen=true", *common, "--out", "third"
    )
    assert status == 1
    assert (
        "model.modalities.face.start_from: 'face' of first/model differs from the recipe (aggregator.name: 'mean' there, 'lstm' now"
        in err
    )
    larger = "model.modalities.face.input.size=40"
    status, _, err = pyemo("train", "vgg-face", *tiny, start, larger, *common, "--out", "fourth")
    assert status == 1
    assert "differs from the recipe (input.size: 32 there, 40 now)" in err
    status, _, err = pyemo(
        "train", "vgg-face", *tiny, "model.modalities.face.start_from=nowhere/model", *common, "--out", "fifth"
    )
    assert status == 1
    assert "nowhere/model" in err


def test_real_speech_in_its_layout(shared_data: Path, pyemo: Pyemo, tmp_path: Path) -> None:
    """Twelve of RAVDESS's own files."""
    takes = [f"03-01-{code}-01-01-01-{actor}.flac" for code in ("03", "04", "05") for actor in ("01", "02", "03", "04")]
    with zipfile.ZipFile(shared_data / "ravdess-speech-16k.zip") as archive:
        for name in archive.namelist():
            if name.endswith(tuple(takes)):
                archive.extract(name, tmp_path / "real")
    command = [
        "crossval",
        "ser",
        *SER,
        "folds.count=3",
        "sampling.max_seconds=0.5",
        "--data",
        f"ravdess:{tmp_path / 'real'}",
    ]
    status, out, err = pyemo(*command, "--device", "cpu", "--out", "run")
    assert status == 0
    assert "all 12 decisions together" in out
    assert "speech: fewer than 60 performances: actor 01 has 3, 02 has 3" in err
    assert all(soundfile.info(file).samplerate == 16000 for file in Path("run/prepared/voice").iterdir())
