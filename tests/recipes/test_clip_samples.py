"""Parts of clips whose pictures and sounds say when they are: frame n is n shades brighter, sample n of a sound is n."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from small_worlds import FRAMES, RATE, write_clip, write_sound

from pyemo.config import ClassifierRecipe, VoiceAugmentationConfig, parse_recipe
from pyemo.contracts import Manifest
from pyemo.data.batch import IGNORED
from pyemo.data.clip_samples import ClipSamples
from pyemo.data.preparation import prepare
from pyemo.data.prepared import PreparedData
from pyemo.errors import ConfigError, DataError
from pyemo.training.loading import shuffled_batches

LEVEL, STEP = 40, 6
LABELS = ("happy", "sad", "neutral")

RECIPE = """
name: parts
system: classifier
labels: [happy, sad, neutral]
model:
  modalities:
    face: {{input: {{size: 16}}, backbone: {{name: mini-xception}}}}
    voice: {{input: {{kind: voice, slice_frames: 20, slice_hop: 10}}, backbone: {{name: mini-xception}}}}
sampling: {sampling}
"""


def recipe(sampling: str = "{}", kinds: str = "face voice") -> ClassifierRecipe:
    parsed = parse_recipe(RECIPE.format(sampling=sampling), "test")
    assert isinstance(parsed, ClassifierRecipe)
    parts = {name: part for name, part in parsed.model.modalities.items() if name in kinds.split()}
    return parsed.model_copy(update={"model": parsed.model.model_copy(update={"modalities": parts})})


Make = Callable[..., PreparedData]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make((frames, seconds of sound, label or labels of frames), ...)`` -> prepared data."""

    def prepared(*clips: tuple[int, float, str | list[str]]) -> PreparedData:
        rows: list[dict[str, Any]] = []
        for number, (frames, seconds, label) in enumerate(clips):
            path = write_clip(
                tmp_path / f"{number}.avi",
                [np.full((16, 16, 3), LEVEL + STEP * frame, np.uint8) for frame in range(frames)],
            )
            row: dict[str, Any] = {
                "path": str(path),
                "label": label,
                "subject": f"s{number}",
                "voice": None,
                "frame_labels": None,
            }
            if seconds:
                samples = np.arange(round(seconds * RATE), dtype=np.int16)
                row["voice"] = str(write_sound(tmp_path / f"{number}.wav", samples))
            if isinstance(label, list):
                positions = [LABELS.index(word) if word != "-" else -1 for word in label]
                row |= {"label": None, "frame_labels": np.array(positions, np.int16)}
            rows.append(row)
        table = pd.DataFrame(rows, dtype=object).assign(split=None, start=np.nan, end=np.nan, intensity="strong")
        kinds = ("face", "voice") if any(seconds for _, seconds, _ in clips) else ("face",)
        manifest = Manifest(table, LABELS, modalities=kinds)
        return prepare(manifest, tmp_path / "out", already_cropped=True, size=16, workers=1).data

    return prepared


def samples(data: PreparedData, chosen: ClassifierRecipe, *, training: bool = True, epoch: int = 0) -> ClipSamples:
    made = ClipSamples(data, chosen, np.arange(len(data)), training=training)
    made.start_epoch(0, epoch)
    return made


def frames_of(batch: Any, number: int) -> list[int]:
    """Which frames of its clip a sample's crops are."""
    mean = batch.faces[number].float().mean(dim=(1, 2, 3))[batch.face_mask[number]]
    return ((mean - LEVEL) / STEP).round().int().tolist()


def sound_of(batch: Any, number: int) -> tuple[int, int]:
    """First and last sample of its clip's sound."""
    own = batch.voices[number, : batch.voice_lengths[number]]
    assert (own.diff() == 1).all()
    return int(own[0]), int(own[-1])


def test_whole_clips_of_different_lengths(make: Make) -> None:
    data = make((20, 0.8, "happy"), (10, 0.4, "sad"))
    chosen = recipe("{slice_share: [0.3, 0.5], max_seconds: null}")
    batch = samples(data, chosen, training=False)[[0, 1]]  # evaluation takes all
    assert batch.targets.tolist() == [0, 1]
    assert batch.faces.shape == (2, 20, 1, 16, 16)
    assert batch.face_mask.sum(dim=1).tolist() == [20, 10]
    assert [frames_of(batch, 0), frames_of(batch, 1)] == [list(range(20)), list(range(10))]
    assert batch.voice_lengths.tolist() == [round(0.8 * RATE), round(0.4 * RATE)]
    assert (batch.voices[1, batch.voice_lengths[1] :] == 0).all()


def test_slices_are_of_the_same_seconds_of_faces_and_sound(make: Make) -> None:
    data = make((30, 1.2, "happy"), (25, 1.0, "sad"))
    chosen = recipe("{slice_share: [0.4, 0.8]}")
    starts = set()
    for epoch in range(6):
        made = samples(data, chosen, epoch=epoch)
        batch = made[[0, 1]]
        for number, seconds in ((0, 1.2), (1, 1.0)):
            first, last = sound_of(batch, number)
            start, end = first / RATE, (last + 1) / RATE
            assert 0.4 * seconds - 1e-4 <= end - start <= 0.8 * seconds + 1e-4
            seen = np.array(frames_of(batch, number)) / FRAMES
            # All frames whose time is in the slice, and none else; half a sample is lost to rounding.
            inside = [frame for frame in range(round(seconds * FRAMES)) if start - 4e-5 <= frame / FRAMES < end - 4e-5]
            np.testing.assert_allclose(seen, np.array(inside) / FRAMES)
            starts.add(round(start, 3))
        again = samples(data, chosen, epoch=epoch)[[1]]
        assert sound_of(again, 0) == sound_of(batch, 1)  # the sample and the epoch alone decide
    assert len(starts) > 8


def test_slices_of_a_length_and_clips_shorter_than_it(make: Make) -> None:
    data = make((30, 1.2, "happy"), (5, 0.2, "sad"))
    made = samples(data, recipe("{slice_seconds: 0.4}"))
    batch = made[[0, 1]]
    assert batch.voice_lengths.tolist() == [round(0.4 * RATE), round(0.2 * RATE)]
    assert frames_of(batch, 1) == [0, 1, 2, 3, 4]
    assert len(frames_of(batch, 0)) == 10


def test_without_time_augmentation_a_slice_is_the_middle(make: Make) -> None:
    data = make((30, 1.2, "happy"))
    for epoch in range(3):
        batch = samples(data, recipe("{slice_seconds: 0.4, slice_place: middle}"), epoch=epoch)[[0]]
        assert sound_of(batch, 0) == (round(0.4 * RATE), round(0.8 * RATE) - 1)
        assert frames_of(batch, 0) == list(range(10, 20))


def test_a_slice_that_will_be_sped_up_is_longer(make: Make) -> None:
    data = make((1, 1.0, "happy"))
    for kinds, speed, seconds in (("voice", 1.25, 0.5), ("voice", 0.5, 0.4), ("face voice", 1.25, 0.4)):
        chosen = recipe("{slice_seconds: 0.4}", kinds)
        chosen = chosen.model_copy(
            update={"voice_augmentation": VoiceAugmentationConfig(speed=[min(speed, 1.0), speed])}
        )
        # With faces, which are not sped up, both keep the same seconds.
        assert samples(data, chosen)[[0]].voice_lengths.tolist() == [round(seconds * RATE)]


def test_silence_at_both_ends_is_left_out(tmp_path: Path) -> None:
    """A burst from 0.3 to 0.7 s, 60 dB above what is around it; 80 ms on either side stay."""
    noise = np.random.default_rng(0).uniform(-1, 1, RATE)
    sound = 20 * noise
    sound[round(0.3 * RATE) : round(0.7 * RATE)] *= 1000
    path = write_sound(tmp_path / "burst.wav", sound.astype(np.int16))
    row = {"path": str(path), "label": "happy", "subject": "s", "split": None, "start": np.nan, "end": np.nan}
    data = prepare(Manifest(pd.DataFrame([row]), LABELS, modalities=("voice",)), tmp_path / "out", workers=1).data
    for decibels, seconds in ((40, 0.56), (80, 1.0)):
        for training in (True, False):
            batch = samples(data, recipe(f"{{trim_db: {decibels}}}", "voice"), training=training)[[0]]
            assert batch.voice_lengths.tolist() == [round(seconds * RATE)]
    batch = samples(data, recipe("{trim_db: 40}", "voice"))[[0]]
    assert batch.voices[0].equal(torch.from_numpy(sound.astype(np.int16)[round(0.22 * RATE) : round(0.78 * RATE)]))


def test_long_clips_are_cut_to_their_middle(make: Make) -> None:
    data = make((30, 1.2, "happy"))
    for training in (True, False):
        batch = samples(data, recipe("{max_seconds: 0.4}"), training=training)[[0]]
        assert sound_of(batch, 0) == (round(0.4 * RATE), round(0.8 * RATE) - 1)
        assert frames_of(batch, 0) == list(range(10, 20))


def test_frames_are_evenly_spaced(make: Make) -> None:
    data = make((20, 0.8, "happy"), (3, 0.12, "sad"))
    batch = samples(data, recipe("{frames: 4}"), training=False)[[0, 1]]
    assert frames_of(batch, 0) == [2, 7, 12, 17]
    assert frames_of(batch, 1) == [0, 1, 2]  # none is repeated
    assert batch.face_mask[1].tolist() == [True, True, True, False]
    assert frames_of(samples(data, recipe("{frames: 1}"), training=False)[[0]], 0) == [10]


def test_pictures_longer_than_their_sound_and_sounds_too_short_for_a_frame(make: Make) -> None:
    data = make((30, 0.4, "happy"), (5, 0.001, "sad"))
    chosen = recipe("{slice_seconds: 0.2}")
    lengths = set()
    for epoch in range(8):
        batch = samples(data, chosen, epoch=epoch)[[0, 1]]
        lengths.add(int(batch.voice_lengths[0]))
        assert batch.voice_lengths[1] == 16
        assert batch.face_mask.any(dim=1).all()
    assert min(lengths) > 0
    whole = samples(data, recipe(), training=False)[[0]]
    assert whole.voice_lengths.tolist() == [round(0.4 * RATE)]


def test_each_frame_is_a_sample_with_the_label_of_its_clip(make: Make) -> None:
    data = make((4, 0, "happy"), (3, 0, "sad"))
    made = samples(data, recipe("{each_frame: true}", "face"), training=False)
    assert made.unit == "frames"
    assert made.targets.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert made.decisions(range(7)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)]
    assert [frames_of(made[[n]], 0) for n in range(7)] == [[0], [1], [2], [3], [0], [1], [2]]
    assert len(samples(data, recipe("{each_frame: true, every: 2}", "face"))) == 4
    assert len(samples(data, recipe("{each_frame: true, every: 2}", "face"), training=False)) == 7


def test_windows_with_a_majority(make: Make) -> None:
    labels = ["happy"] * 6 + ["sad"] * 3 + ["-"] + ["neutral"] * 2
    data = make((12, 0.48, labels))
    chosen = recipe("{windows: [{frames: 4, majority: 0.75}, {frames: 8, majority: 0.5}]}")
    made = samples(data, chosen)
    expected = []
    for centre, label in enumerate(labels):
        for size, majority in ((4, 0.75), (8, 0.5)):
            window = labels[max(0, centre - size // 2) : centre + size // 2]
            if label != "-" and window.count(label) / size >= majority:
                expected.append((centre, size, LABELS.index(label)))
    assert [
        (frame, target)
        for (_, frame), target in zip(made.decisions(range(len(made))), made.targets.tolist(), strict=True)
    ] == [(centre, target) for centre, _, target in expected]
    for position, (centre, size, _) in enumerate(expected):
        batch = made[[position]]
        seen = list(range(max(0, centre - size // 2), min(12, centre + size // 2)))
        assert frames_of(batch, 0) == seen
        first, last = sound_of(batch, 0)
        assert (first, last + 1) == (round(seen[0] / FRAMES * RATE), round((seen[-1] + 1) / FRAMES * RATE))
    # Evaluation judges each labelled frame, by all of its windows.
    all_of_them = samples(data, chosen, training=False)
    assert [frame for _, frame in all_of_them.decisions(range(len(all_of_them)))] == [
        n for n in range(12) if n != 9 for _ in range(2)
    ]
    assert made.unit == "windows"
    fewer = recipe("{windows: [{frames: 4}], every: 3}")
    assert [frame for _, frame in samples(data, fewer).decisions(range(4))] == [0, 3, 6, 10]


def test_sequences_have_a_target_a_frame_and_masks(make: Make) -> None:
    labels = ["happy", "sad", "-", "neutral", "happy", "-", "-", "-", "sad", "sad"]
    data = make((10, 0, labels), (3, 0, ["-", "-", "-"]))
    made = samples(data, recipe("{sequences: 4}", "face"))
    batch = made[list(range(len(made)))]
    assert made.unit == "sequences"
    assert [frames_of(batch, n) for n in range(3)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batch.targets.tolist() == [[0, 1, IGNORED, 2], [0, IGNORED, IGNORED, IGNORED], [1, 1, IGNORED, IGNORED]]
    assert batch.face_mask[2].tolist() == [True, True, False, False]
    assert made.class_counts().tolist() == [2, 3, 1]
    assert made.decisions([0, 1, 2]) == [(0, 0), (0, 1), (0, 3), (0, 4), (0, 8), (0, 9)]


def test_the_rest_of_a_sequence_without_labels_is_no_sample(make: Make) -> None:
    data = make((8, 0, ["-"] * 4 + ["happy"] * 4))
    assert len(samples(data, recipe("{sequences: 4}", "face"))) == 1
    with pytest.raises(DataError, match="no frame has a label"):
        samples(make((4, 0, ["-"] * 4)), recipe("{sequences: 4}", "face"))


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [("{balance: 1.0}", [2, 2, 1]), ("{balance: 2.0}", [4, 2, 1]), ("{oversample: true}", [6, 6, 6])],
)
def test_classes_in_balance(make: Make, sampling: str, expected: list[int]) -> None:
    data = make(*[(2, 0, label) for label in ["happy"] * 6 + ["sad"] * 2 + ["neutral"]])
    chosen = recipe(sampling, "face")
    made = samples(data, chosen)
    epochs = []
    for epoch in range(4):
        loader = shuffled_batches(made, 8, 0, lambda epoch=epoch: epoch, chosen.sampling)
        rows = [row for positions in loader.sampler for row in positions]
        assert np.bincount(made.targets[rows], minlength=3).tolist() == expected
        assert len(loader) == -(-sum(expected) // 8)
        epochs.append(rows)
    assert any({*rows} != {*epochs[0]} for rows in epochs) or sampling == "{oversample: true}"
    repeated = shuffled_batches(made, 8, 0, lambda: 0, chosen.sampling)
    assert [row for positions in repeated.sampler for row in positions] == epochs[0]


def test_wrong_partners_come_from_other_labels_in_training_only(make: Make) -> None:
    data = make(*[(2 + number, 0.1 * (number + 1), label) for number, label in enumerate(["happy", "sad"] * 5)])
    chosen = recipe("{wrong_partner: 0.3}")
    made = samples(data, chosen)
    batch = made[list(range(10))]
    lengths = [round(0.1 * (number + 1) * RATE) for number in range(10)]
    partners = [lengths.index(length) for length in batch.voice_lengths.tolist()]
    wrong = [number for number, partner in enumerate(partners) if partner != number]
    assert len(wrong) == 3
    assert all(made.targets[number] != made.targets[partners[number]] for number in wrong)
    assert [len(frames_of(batch, number)) for number in range(10)] == [2 + number for number in range(10)]
    assert samples(data, chosen, epoch=5)[list(range(10))].voice_lengths.tolist() == batch.voice_lengths.tolist()
    assert samples(data, chosen, training=False)[list(range(10))].voice_lengths.tolist() == lengths


def test_rows_that_lack_a_modality_are_left_out_and_counted(make: Make) -> None:
    data = make((4, 0.2, "happy"), (4, 0, "sad"))
    made = samples(data, recipe())
    assert (len(made), made.left_out, made.rows.tolist()) == (1, 1, [0])
    assert len(samples(data, recipe(kinds="face"))) == 2


def test_further_targets(make: Make) -> None:
    data = make((4, 0, "happy"), (4, 0, "sad"))
    wanted = recipe("{}", "face").model_copy(update={"targets": {"intensity": ["normal", "strong"]}})
    assert samples(data, wanted)[[0, 1]].others["intensity"].tolist() == [1, 1]
    absent = wanted.model_copy(update={"targets": {"age": ["young", "old"]}})
    with pytest.raises(DataError, match=r"no column 'age' for the target of that name; it has path, label"):
        samples(data, absent)
    unknown = wanted.model_copy(update={"targets": {"intensity": ["weak", "normal"]}})
    with pytest.raises(DataError, match="the data set has the intensity 'strong', the recipe's are weak, normal"):
        samples(data, unknown)


def test_what_does_not_fit_is_named(make: Make) -> None:
    data = make((4, 0.2, "happy"))
    other = recipe().model_copy(update={"labels": ["sad", "neutral"]})
    with pytest.raises(DataError, match="the data set has the label 'happy', the recipe's are sad, neutral"):
        samples(data, other)
    part = recipe(kinds="voice").model.modalities["voice"]
    faster = part.model_copy(update={"input": part.input.model_copy(update={"sample_rate": 44100})})
    chosen = recipe(kinds="voice")
    chosen = chosen.model_copy(update={"model": chosen.model.model_copy(update={"modalities": {"voice": faster}})})
    with pytest.raises(DataError, match="was prepared with sound of 16000 Hz; the recipe parts wants 44100 Hz"):
        samples(data, chosen)
    faces_only = make((4, 0, "happy"))
    with pytest.raises(DataError, match="was prepared for face; the recipe parts needs voice too"):
        samples(faces_only, recipe())


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ("{windows: [{frames: 4}], sequences: 4}", "windows and sequences exclude one another"),
        ("{sequences: 4, each_frame: true}", "sequences and each_frame exclude one another"),
        ("{slice_share: [0.5, 1.0], slice_seconds: 1.0}", "slice_share and slice_seconds exclude one another"),
        ("{slice_share: [0.5, 1.5]}", r"slice_share must be a range within \(0, 1\]"),
        ("{balance: 1.0, oversample: true}", "balance and oversample exclude one another"),
        ("{sequences: 4, wrong_partner: 0.3}", "need one label a sample; sequences have one a frame"),
    ],
)
def test_samplings_that_contradict_themselves(sampling: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(sampling)


def test_sequences_need_faces() -> None:
    voice_only = RECIPE.replace("    face: {{input: {{size: 16}}, backbone: {{name: mini-xception}}}}\n", "")
    with pytest.raises(
        ConfigError, match=r"sampling\.sequences are of face frames; no modality of the model sees faces"
    ):
        parse_recipe(voice_only.format(sampling="{sequences: 4}"), "test")


def test_a_batch_moves_as_a_whole(make: Make) -> None:
    from pyemo.data.batch import move

    batch = samples(make((4, 0.2, "happy")), recipe())[[0]]
    moved = move(batch, torch.device("meta"))
    assert {moved.targets.device.type, moved.faces.device.type, moved.voices.device.type} == {"meta"}
