from __future__ import annotations

import numpy as np
import pytest
import torch
from small_worlds import voice

from pyemo.config import VoiceInput
from pyemo.data.voices import Slices, normalise_slices, slice_steps, to_slices

SOUNDS = [
    torch.from_numpy(voice(emotion, seconds)) for emotion, seconds in (("happy", 0.9), ("sad", 0.31), ("angry", 0.02))
]
INPUTS = {
    "linear": VoiceInput(kind="voice", n_fft=256, hop_length=64, slice_frames=40, slice_hop=15),
    "mel": VoiceInput(
        kind="voice", n_fft=512, hop_length=128, n_mels=24, slice_frames=16, slice_hop=16, size=[32, 20], channels=3
    ),
}


def steps(slices: Slices, voice_input: VoiceInput) -> torch.Tensor:
    """What the network sees."""
    return slice_steps(normalise_slices(slices, voice_input), voice_input)


@pytest.mark.parametrize("normalization", ["fixed", "per-clip", "per-bin"])
@pytest.mark.parametrize("kind", INPUTS)
def test_a_sound_in_a_batch_is_what_it_is_alone(kind: str, normalization: str) -> None:
    voice_input = INPUTS[kind].model_copy(update={"normalization": normalization})
    together = to_slices(SOUNDS, voice_input)
    batch = steps(together, voice_input)
    assert batch.shape[2:] == voice_input.step
    for number, sound in enumerate(SOUNDS):
        alone = to_slices([sound], voice_input)
        count = alone.values.shape[1]
        assert together.mask[number].tolist() == [step < count for step in range(together.mask.shape[1])]
        assert torch.equal(together.values[number, :count], alone.values[0])
        assert torch.equal(batch[number, :count], steps(alone, voice_input)[0])


def test_sounds_of_one_length_are_what_they_are_alone() -> None:
    voice_input = INPUTS["linear"]
    sounds = [torch.from_numpy(voice(emotion, 0.5)) for emotion in ("happy", "sad")]
    together = to_slices(sounds, voice_input)
    for number, sound in enumerate(sounds):
        assert torch.equal(together.values[number], to_slices([sound], voice_input).values[0])


@pytest.mark.parametrize("normalization", ["per-clip", "per-bin"])
def test_statistics_count_each_frame_once(normalization: str) -> None:
    voice_input = INPUTS["linear"].model_copy(update={"normalization": normalization})
    slices = to_slices(SOUNDS, voice_input)
    given = steps(slices, voice_input)
    overlap = voice_input.slice_frames - voice_input.slice_hop
    for number in range(len(SOUNDS)):
        count = int(slices.mask[number].sum())
        exists = slices.frames[number, :count].numpy()
        values = slices.values[number, :count].double().numpy()
        # The spectrogram itself: the first slice, then what each next one adds.
        whole = np.concatenate([values[0], *(values[n][:, overlap:] for n in range(1, count))], axis=1)
        there = np.concatenate([exists[0], *(exists[n][overlap:] for n in range(1, count))])
        whole = whole[:, there]
        assert whole.shape[1] == 1 + len(SOUNDS[number]) // voice_input.hop_length
        axes = None if normalization == "per-clip" else 1
        mean, deviation = whole.mean(axis=axes, keepdims=True), whole.std(axis=axes, keepdims=True)
        expected = (values - mean) / (deviation + 1e-3) * exists[:, None, :]
        np.testing.assert_allclose(given[number, :count, 0].numpy(), expected, atol=2e-4)


def test_silence_is_zero_and_finite() -> None:
    voice_input = INPUTS["linear"].model_copy(update={"normalization": "per-bin"})
    given = steps(to_slices([torch.zeros(8000)], voice_input), voice_input)
    assert given.isfinite().all()
    assert given.abs().max() < 1e-3


def test_a_sound_too_short_for_one_frame_of_the_transform_is_one_slice() -> None:
    voice_input = INPUTS["linear"]
    slices = to_slices([torch.from_numpy(voice("happy", 0.002))], voice_input)
    assert slices.values.shape == (1, 1, 129, 40)
    assert int(slices.frames.sum()) == 1
    assert steps(slices, voice_input).isfinite().all()


def test_integers_and_floats_give_the_same() -> None:
    voice_input = INPUTS["linear"]
    integers = (SOUNDS[0] * 2**15).round().to(torch.int16)
    floats = integers.float() / 2**15
    torch.testing.assert_close(
        to_slices([integers], voice_input).values, to_slices([floats], voice_input).values, atol=1e-3, rtol=0
    )
