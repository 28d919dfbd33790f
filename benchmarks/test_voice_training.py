"""The spectrogram in the data path of training: a step of the packaged voice model, its slices from the native op, or from librosa as a data
set's reading function makes them, clip by clip."""

from __future__ import annotations

from collections.abc import Callable

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from pyemo.config import ClassifierRecipe, VoiceInput, load_recipe
from pyemo.data.voices import Slices, join_slices, normalise_slices, slice_steps, to_slices
from pyemo.model import build_model

CLIPS = 32
RATE = 16000


def from_librosa(waveforms: list[Tensor], voice: VoiceInput) -> Slices:
    parts, spans = [], []
    for waveform in waveforms:
        power = librosa.feature.melspectrogram(
            y=waveform.numpy().astype(np.float32) / 2**15,
            sr=voice.sample_rate,
            n_fft=voice.n_fft,
            hop_length=voice.hop_length,
            n_mels=voice.n_mels or 128,
            fmin=voice.f_min,
            fmax=voice.f_max,
            pad_mode="reflect",
        )
        decibels = librosa.power_to_db(power, top_db=None)
        frames = decibels.shape[-1]
        count = 1 + max(0, -(-(frames - voice.slice_frames) // voice.slice_hop))
        missing = (count - 1) * voice.slice_hop + voice.slice_frames - frames
        padded = np.pad(decibels, ((0, 0), (0, max(0, missing))), constant_values=-100)
        starts = range(0, count * voice.slice_hop, voice.slice_hop)
        parts.append(torch.from_numpy(np.stack([padded[:, s : s + voice.slice_frames] for s in starts])))
        spans.append((0, frames))
    return join_slices(parts, spans, voice)


@pytest.mark.parametrize("part", ["slices", "training step"])
def test_voice_training(compare: Callable[..., None], part: str) -> None:
    recipe = load_recipe("compact-voice")
    assert isinstance(recipe, ClassifierRecipe)
    voice = recipe.model.voice_inputs["voice"]
    torch.manual_seed(0)
    network = build_model(recipe).to(memory_format=torch.channels_last).train()
    waveforms = [torch.randint(-8000, 8000, (3 * RATE + 97 * i,), dtype=torch.int16) for i in range(CLIPS)]
    targets = torch.arange(CLIPS) % len(recipe.labels)

    def step(slices: Slices) -> Tensor:
        if part == "slices":
            return slices.values
        slices = normalise_slices(slices, voice)
        network.zero_grad()
        torch.manual_seed(0)  # of the dropout
        with torch.autocast("cpu", torch.bfloat16):
            logits = network({"voice": slice_steps(slices, voice)}, {"voice": slices.mask}).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        loss.backward()
        return loss.detach()

    compare(
        "voice training",
        f"{part}, {CLIPS} clips of 3 s",
        torch.float32,
        {
            "pyemo": lambda: step(to_slices(waveforms, voice)),
            "librosa": lambda: step(from_librosa(waveforms, voice)),
        },
        expected=step(from_librosa(waveforms, voice)),
        tolerance=0.05,
        rounds=7,
        items=("clips", CLIPS),
    )
