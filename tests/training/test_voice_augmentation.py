from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicHermiteSpline

from pyemo.config import VoiceAugmentationConfig, VoiceInput
from pyemo.data.voices import Slices, to_slices
from pyemo.ops import mel
from pyemo.training.voice_augmentation import (
    VoiceAugmentation,
    add_noise,
    bin_frequencies,
    change_speed,
    clip_means,
    random_bands,
    random_stretches,
    warp_frequencies,
)

RATE = 16000


def tone(hertz: float, samples: int = 8000, rate: int = RATE) -> torch.Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(samples) / rate)


def peak_hertz(sound: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(sound * torch.hann_window(len(sound)), n=1 << 16).abs()
    return float(spectrum.argmax()) * RATE / (1 << 16)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def voice_input(**changes: Any) -> VoiceInput:
    options = {"kind": "voice", "hop_length": 160, "n_mels": 40, "slice_frames": 40, "slice_hop": 20}
    return VoiceInput(**{**options, **changes})


def spectrograms(seconds: tuple[float, ...] = (1.0, 0.37), **changes: Any) -> Slices:
    noise = torch.Generator().manual_seed(0)
    return to_slices([torch.randn(int(RATE * length), generator=noise) for length in seconds], voice_input(**changes))


def test_all_off_changes_nothing() -> None:
    augmentation = VoiceAugmentation(VoiceAugmentationConfig())
    sounds = torch.randint(-32768, 32767, (2, 500), dtype=torch.int16)
    lengths = torch.tensor([500, 321])
    changed, changed_lengths = augmentation.sounds(sounds, lengths)
    assert changed_lengths.equal(lengths)
    assert changed[0].equal(sounds[0] / 32768)
    assert changed[1, :321].equal(sounds[1, :321] / 32768)
    assert not changed[1, 321:].any()
    slices = spectrograms()
    assert augmentation.slices(slices, voice_input()).values.equal(slices.values)


def test_the_generator_decides_and_each_clip_has_factors_of_its_own() -> None:
    config = VoiceAugmentationConfig(
        speed=[0.8, 1.2], gain=6, noise_probability=0.5, frequency_warp=[0.8, 1.2], frequency_masks=1, time_masks=1
    )
    augmentation = VoiceAugmentation(config)
    sounds, lengths = tone(300).repeat(8, 1), torch.full((8,), 8000)
    first, first_lengths = augmentation.sounds(sounds, lengths, generator())
    second, _ = augmentation.sounds(sounds, lengths, generator())
    assert first.equal(second)
    assert len(first_lengths.unique()) == 8
    slices = spectrograms((1.0,))
    slices = Slices(*(part.repeat(8, *[1] * (part.ndim - 1)) for part in slices))
    changed = augmentation.slices(slices, voice_input(), generator()).values
    assert changed.equal(augmentation.slices(slices, voice_input(), generator()).values)
    assert len({values.numpy().tobytes() for values in changed}) == 8


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_scales_length_and_frequency(factor: float) -> None:
    sounds, lengths = change_speed(tone(1000)[None], torch.tensor([8000]), torch.tensor([factor]))
    assert lengths.item() == math.ceil(8000 / factor)
    assert sounds.shape[1] == lengths.item()
    assert peak_hertz(sounds[0]) == pytest.approx(1000 * factor, abs=1)


def test_speed_is_cubic_interpolation() -> None:
    sound = torch.randn(50, generator=generator(), dtype=torch.float64)
    changed, lengths = change_speed(sound[None], torch.tensor([50]), torch.tensor([0.73], dtype=torch.float64))
    slopes = np.gradient(sound.numpy())
    expected = CubicHermiteSpline(np.arange(50), sound.numpy(), slopes)
    place = np.arange(int(lengths)) * 0.73
    inner = (place >= 1) & (place <= 48)  # at the ends the last sample is repeated
    np.testing.assert_allclose(changed[0].numpy()[inner], expected(place[inner]), atol=1e-9)


def test_speed_of_a_padded_batch_is_that_of_each_sound() -> None:
    sounds = torch.stack([tone(440), tone(880)])
    sounds[1, 5000:] = math.nan
    lengths, factors = torch.tensor([8000, 5000]), torch.tensor([1.1, 0.9])
    changed, changed_lengths = change_speed(sounds, lengths, factors)
    for clip in range(2):
        length = int(lengths[clip])
        alone, _ = change_speed(sounds[clip : clip + 1, :length], lengths[clip : clip + 1], factors[clip : clip + 1])
        assert changed[clip, : changed_lengths[clip]].equal(alone[0])
        assert not changed[clip, changed_lengths[clip] :].any()


@pytest.mark.parametrize("decibels", [0.0, 20.0])
def test_noise_is_as_strong_as_asked(decibels: float) -> None:
    sounds = torch.cat([tone(500, 20000), torch.zeros(20000)])[None]
    lengths = torch.tensor([20000])
    noise = add_noise(sounds, lengths, torch.tensor([decibels]), generator()) - sounds
    ratio = 10 * torch.log10(sounds[0, :20000].square().mean() / noise.square().mean())
    assert float(ratio) == pytest.approx(decibels, abs=0.2)
    assert add_noise(sounds, lengths, torch.tensor([math.inf]), generator()).equal(sounds)


def test_noise_is_added_to_about_as_many_clips_as_asked() -> None:
    sounds, lengths = tone(500, 400).repeat(200, 1), torch.full((200,), 400)
    augmentation = VoiceAugmentation(VoiceAugmentationConfig(noise_probability=0.3, noise_snr=[10.0, 10.0]))
    changed, _ = augmentation.sounds(sounds, lengths, generator())
    assert 0.2 < (changed != sounds).any(dim=1).float().mean() < 0.4


def test_gain_is_within_its_range() -> None:
    sounds, lengths = tone(500, 400).repeat(200, 1), torch.full((200,), 400)
    changed, _ = VoiceAugmentation(VoiceAugmentationConfig(gain=6.0)).sounds(sounds, lengths, generator())
    decibels = 20 * torch.log10(changed.abs().amax(dim=1) / sounds.abs().amax(dim=1))
    assert decibels.abs().max() <= 6.001
    assert decibels.min() < -5
    assert decibels.max() > 5


def test_bin_frequencies() -> None:
    filters = mel.mel_filters(RATE, 4096, 40, 60.0, 7000.0)
    peaks = filters.argmax(axis=1) * RATE / 4096
    found = bin_frequencies(voice_input(f_min=60.0, f_max=7000.0)).numpy()
    np.testing.assert_allclose(found, peaks, atol=RATE / 4096)
    plain = bin_frequencies(voice_input(n_mels=None, n_fft=512)).numpy()
    np.testing.assert_allclose(plain, np.fft.rfftfreq(512, 1 / RATE))


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.2])
def test_warp_moves_a_tone_to_that_many_times_its_frequency(factor: float) -> None:
    wanted = voice_input(n_mels=64, n_fft=2048, slice_frames=20)
    frequencies = bin_frequencies(wanted)

    def slices(hertz: float) -> torch.Tensor:
        return to_slices([tone(hertz)], wanted).values

    moved = warp_frequencies(slices(2000), torch.tensor([factor]), frequencies)
    row = moved[0, 0, :, 10].argmax()
    expected = slices(2000 * factor)[0, 0, :, 10].argmax()
    assert abs(int(row) - int(expected)) <= 1
    if factor == 1.0:
        assert moved.equal(slices(2000))


def test_warp_of_a_function_of_frequency() -> None:
    frequencies = torch.linspace(0, 8000, 257, dtype=torch.float64)
    slices = frequencies[None, None, :, None].repeat(2, 3, 1, 4)
    moved = warp_frequencies(slices, torch.tensor([0.8, 1.25]), frequencies)
    for clip, factor in enumerate((0.8, 1.25)):
        expected = (frequencies / factor).clamp(max=8000)[None, :, None].expand(3, -1, 4)
        torch.testing.assert_close(moved[clip], expected, rtol=1e-6, atol=1e-3)


def widths_of(hidden: torch.Tensor) -> torch.Tensor:
    """Of one span a row."""
    assert ((hidden[:, 1:].int() - hidden[:, :-1].int()) == 1).sum(dim=1).le(1).all()
    return hidden.sum(dim=1)


def test_bands_are_as_wide_as_allowed_and_anywhere() -> None:
    slices = torch.zeros(2000, 1, 40, 3)
    hidden = random_bands(slices, 1, 0.125, generator())
    assert hidden.shape == (2000, 1, 40, 1)
    assert widths_of(hidden[:, 0, :, 0]).unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert hidden.any(dim=0).all()
    twice = random_bands(slices, 2, 0.125, generator())
    assert widths_of(hidden[:, 0, :, 0]).max() < twice.sum(dim=2).max() <= 10
    assert not random_bands(slices, 0, 0.5).any()


def test_stretches_are_the_same_in_slices_that_overlap_and_inside_the_clip() -> None:
    slices = spectrograms((1.0, 0.37))
    frames = slices.frames.repeat(500, 1, 1)
    hidden = random_stretches(frames, 20, 1, 0.2, generator())
    assert hidden.shape == (1000, frames.shape[1], 1, 40)
    assert hidden[:, :-1, 0, 20:].equal(hidden[:, 1:, 0, :20])
    behind_the_end = slices.mask[:, :, None].repeat(500, 1, 1) & ~frames
    assert behind_the_end.any()
    assert not (hidden[:, :, 0] & behind_the_end).any()
    # 101 and 38 frames.
    assert widths_of(torch.cat([hidden[::2, :, 0, :20].flatten(1), hidden[::2, -1, 0, 20:]], dim=1)).max() == 20
    assert widths_of(hidden[1::2, 0, 0]).max() == 7


def test_what_is_hidden_is_the_clips_mean_and_the_rest_untouched() -> None:
    slices = spectrograms()
    config = VoiceAugmentationConfig(frequency_masks=2, frequency_mask_share=0.3, time_masks=2, time_mask_share=0.3)
    changed = VoiceAugmentation(config).slices(slices, voice_input(), generator())
    means = clip_means(slices.values, slices.frames)
    for clip in range(2):
        existing = slices.frames[clip, :, None, :].expand_as(slices.values[clip])
        assert float(means[clip]) == pytest.approx(float(slices.values[clip][existing].mean()), abs=1e-4)
        same = changed.values[clip] == slices.values[clip]
        assert 0.1 < same[existing].float().mean() < 1
        assert torch.all((changed.values[clip] == means[clip]) | same)
    assert changed.frames.equal(slices.frames)
    assert changed.mask.equal(slices.mask)


def test_the_mean_of_a_clip_without_frames_is_zero() -> None:
    assert clip_means(torch.full((1, 2, 3, 4), math.nan), torch.zeros(1, 2, 4, dtype=torch.bool)).item() == 0
