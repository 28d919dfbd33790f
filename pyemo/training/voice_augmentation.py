"""Random changes of sounds and of their spectrogram slices, a whole batch at a time and on the batch's device.

Letters in shapes: N clips, S samples, T slices of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from pyemo.config import VoiceAugmentationConfig, VoiceInput
from pyemo.data.voices import Slices
from pyemo.ops.mel import hertz_to_mel, mel_to_hertz


class VoiceAugmentation:
    """Speed, gain and noise of sounds; frequency warp and masks of their slices. Every clip gets one set of factors, for all its slices."""

    def __init__(self, config: VoiceAugmentationConfig) -> None:
        self.config = config

    def sounds(self, sounds: Tensor, lengths: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """Changed sounds and their lengths.

        Args:
            sounds: (N, S) int16, or floating point in about [-1, 1]; anything behind a sound's end.
            lengths: (N,) int64, samples that a sound has.
            generator: of the random factors.

        Returns:
            (N, S') float32, zeros behind each end, and (N,) int64.
        """
        config = self.config
        sounds = sounds.float() / 32768 if sounds.dtype == torch.int16 else sounds.float()
        if config.speed != [1.0, 1.0]:
            sounds, lengths = change_speed(sounds, lengths, _uniform(sounds, config.speed, generator))
        if config.noise_probability > 0:
            chosen = _uniform(sounds, (0, 1), generator) < config.noise_probability
            ratio = _uniform(sounds, config.noise_snr, generator).masked_fill(~chosen, math.inf)
            sounds = add_noise(sounds, lengths, ratio, generator)
        if config.gain > 0:
            sounds = sounds * 10 ** (_uniform(sounds, (-config.gain, config.gain), generator) / 20)[:, None]
        return _end_with_zeros(sounds, lengths), lengths

    def slices(self, slices: Slices, voice_input: VoiceInput, generator: Generator | None = None) -> Slices:
        """Slices with a warped frequency axis and masks; what they say exists is what existed.

        Args:
            slices: spectrograms, normalised or not yet; masks are filled with the mean of the clip.
            voice_input: how they were made.
            generator: of the random factors.
        """
        config, values = self.config, slices.values
        if config.frequency_warp != [1.0, 1.0]:
            factors = _uniform(values, config.frequency_warp, generator)
            values = warp_frequencies(values, factors, bin_frequencies(voice_input).to(values))
        if config.frequency_masks > 0 or config.time_masks > 0:
            hidden = random_bands(values, config.frequency_masks, config.frequency_mask_share, generator)
            hidden = hidden | random_stretches(
                slices.frames, voice_input.slice_hop, config.time_masks, config.time_mask_share, generator
            )
            values = torch.where(hidden, clip_means(values, slices.frames), values)
        return slices._replace(values=values)


def change_speed(sounds: Tensor, lengths: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Play sounds faster (factors above 1) or slower: tempo, pitch and formants change together.

    Interpolated by cubics through four samples (Keys 1981), without a filter: of a sound made faster by 10 %, what lies above 91 % of
    the highest frequency is mirrored below it.

    Args:
        sounds: (N, S) floating point.
        lengths: (N,) int64.
        factors: (N,) positive.

    Returns:
        (N, S'), zeros behind each end, and the new lengths: lengths / factors, rounded up.
    """
    changed = torch.ceil(lengths.double() / factors.double()).long()
    place = torch.arange(int(changed.max()), device=sounds.device) * factors[:, None].double()
    before = place.floor()
    part = (place - before).to(sounds.dtype)
    weights = (
        ((-0.5 * part + 1) * part - 0.5) * part,
        (1.5 * part - 2.5) * part * part + 1,
        ((-1.5 * part + 2) * part + 0.5) * part,
        (0.5 * part - 0.5) * part * part,
    )
    last = (lengths - 1)[:, None]
    result = torch.zeros_like(part)
    for offset, weight in enumerate(weights, start=-1):
        index = (before.long() + offset).clamp(min=0)
        result = result + weight * sounds.gather(1, torch.minimum(index, last))
    return _end_with_zeros(result, changed), changed


def add_noise(sounds: Tensor, lengths: Tensor, ratio: Tensor, generator: Generator | None = None) -> Tensor:
    """Add white noise, ``ratio`` decibels (N,) below the power of each sound (N, S) over its length; none where it is infinite."""
    power = _end_with_zeros(sounds, lengths).square().sum(dim=1) / lengths
    size = power.sqrt() * 10 ** (-ratio / 20)
    return sounds + size[:, None] * torch.randn(sounds.shape, device=sounds.device, generator=generator)


def bin_frequencies(voice_input: VoiceInput) -> Tensor:
    """(bins,) float64: the frequency in Hz in the middle of each row of a spectrogram."""
    top = voice_input.f_max or voice_input.sample_rate / 2
    if voice_input.n_mels is None:
        return (
            torch.arange(voice_input.n_fft // 2 + 1, dtype=torch.float64) * voice_input.sample_rate / voice_input.n_fft
        )
    mels = np.linspace(hertz_to_mel(voice_input.f_min), hertz_to_mel(top), voice_input.n_mels + 2)[1:-1]
    return torch.from_numpy(mel_to_hertz(mels))


def warp_frequencies(slices: Tensor, factors: Tensor, frequencies: Tensor) -> Tensor:
    """Move what lies at each frequency to ``factor`` times it, as a shorter or longer vocal tract does (Jaitly and Hinton 2013).

    Args:
        slices: (N, T, bins, frames).
        factors: (N,) positive; above 1 moves upwards.
        frequencies: (bins,) rising, in Hz: where the bins are.

    Returns:
        Of the same shape, linear between bins; what would come from beyond the lowest and the highest bin is that bin.
    """
    wanted = (frequencies / factors[:, None].to(frequencies)).contiguous()
    upper = torch.searchsorted(frequencies, wanted).clamp(1, len(frequencies) - 1)
    part = (wanted - frequencies[upper - 1]) / (frequencies[upper] - frequencies[upper - 1])
    part = part.clamp(0, 1).to(slices.dtype)[:, None, :, None]

    def rows(index: Tensor) -> Tensor:
        return slices.gather(2, index[:, None, :, None].expand(slices.shape))

    return torch.lerp(rows(upper - 1), rows(upper), part)


def random_bands(slices: Tensor, count: int, share: float, generator: Generator | None = None) -> Tensor:
    """Frequency masks of SpecAugment (Park et al. 2019): boolean (N, 1, bins, 1), true in ``count`` bands of bins of each clip.

    Args:
        slices: (N, T, bins, frames).
        count: bands.
        share: of the bins, at most; the width of each is drawn evenly from 0 to there, then its place.
        generator: of widths and places.
    """
    bins = torch.full((len(slices),), slices.shape[2], device=slices.device)
    position = torch.arange(slices.shape[2], device=slices.device).expand(len(slices), -1)
    return _spans(position, bins, count, share, generator)[:, None, :, None]


def random_stretches(
    frames: Tensor, slice_hop: int, count: int, share: float, generator: Generator | None = None
) -> Tensor:
    """Time masks of SpecAugment: boolean (N, T, 1, frames), true in ``count`` stretches of each clip, the same in slices that overlap.

    Args:
        frames: (N, T, frames) boolean, true where a frame exists.
        slice_hop: frames from the start of one slice to that of the next.
        count: stretches.
        share: of the clip's frames, at most; the length of each is drawn evenly from 0 to there, then its place.
        generator: of lengths and places.
    """
    clips, steps, size = frames.shape
    position = torch.arange(steps, device=frames.device)[:, None] * slice_hop + torch.arange(size, device=frames.device)
    total = (frames * (position + 1)).amax(dim=(1, 2))
    hidden = _spans(position.flatten().expand(clips, -1), total, count, share, generator)
    return hidden.view(clips, steps, 1, size)


def clip_means(slices: Tensor, frames: Tensor) -> Tensor:
    """(N, 1, 1, 1): mean of each clip (N, T, bins, frames) over the frames (N, T, frames) that exist; 0 where none does."""
    exists = frames[:, :, None, :]
    total = slices.masked_fill(~exists, 0).sum(dim=(1, 2, 3), keepdim=True)
    return total / (exists.sum(dim=(1, 2, 3), keepdim=True) * slices.shape[2]).clamp(min=1)


def _spans(position: Tensor, total: Tensor, count: int, share: float, generator: Generator | None) -> Tensor:
    """Boolean, of the shape (N, P) of ``position``: whether it is in one of ``count`` random spans of 0 to ``total`` (N,)."""
    inside = torch.zeros(position.shape, dtype=torch.bool, device=position.device)
    for _ in range(count):
        # Whole numbers from 0 to the largest width, that included.
        width = (_uniform(position, (0, 1), generator) * ((total * share).floor() + 1)).floor()
        start = (_uniform(position, (0, 1), generator) * (total - width + 1)).floor()
        inside |= (position >= start[:, None]) & (position < (start + width)[:, None])
    return inside


def _uniform(like: Tensor, bounds: Sequence[float], generator: Generator | None) -> Tensor:
    """(N,) numbers, one a clip of ``like``."""
    low, high = bounds
    return low + (high - low) * torch.rand(len(like), device=like.device, generator=generator)


def _end_with_zeros(sounds: Tensor, lengths: Tensor) -> Tensor:
    exists = torch.arange(sounds.shape[1], device=sounds.device) < lengths[:, None]
    return sounds.masked_fill(~exists, 0)
