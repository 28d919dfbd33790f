"""From sound to the tensors that voice backbones see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.config import VoiceInput
from pyemo.ops import SpectrogramSlicer


class Slices(NamedTuple):
    """Spectrogram slices of B sounds, in units of the logarithm."""

    values: Tensor
    """(B, T, bins, frames) float32."""
    mask: Tensor
    """(B, T) boolean, true where a slice exists."""
    frames: Tensor
    """(B, T, frames) boolean, true where a frame is of the sound and not of the silence that fills up its last slice."""


def to_slices(waveforms: Sequence[Tensor], voice_input: VoiceInput) -> Slices:
    """Cut the spectrograms of sounds of any lengths into slices.

    Each sound is transformed alone, so that its values do not depend on the others of its batch.

    Args:
        waveforms: (samples,) each, int16 or floating point.
        voice_input: sample rate, transform and slices.
    """
    slicer = voice_slicer(voice_input)
    if len({len(waveform) for waveform in waveforms}) == 1:
        parts = list(slicer(torch.stack(list(waveforms))).float())
    else:
        parts = [slicer(waveform).float() for waveform in waveforms]
    settings = slicer.settings
    return join_slices(parts, [(0, settings.frame_count(len(waveform))) for waveform in waveforms], voice_input)


def join_slices(parts: Sequence[Tensor], spans: Sequence[tuple[int, int]], voice_input: VoiceInput) -> Slices:
    """Slices (T, bins, frames) of single sounds as one batch; of each, only the frames of its span (first, last; exclusive) exist."""
    values = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
    device = values.device
    lengths = torch.tensor([len(part) for part in parts], device=device)
    mask = torch.arange(values.shape[1], device=device) < lengths[:, None]
    starts = torch.arange(values.shape[1], device=device) * voice_input.slice_hop
    frames = starts[:, None] + torch.arange(voice_input.slice_frames, device=device)
    bounds = torch.tensor(list(spans), device=device)[:, :, None, None]
    exists = (frames >= bounds[:, 0]) & (frames < bounds[:, 1]) & mask[:, :, None]
    return Slices(values, exists.any(dim=2), exists)


def normalise_slices(slices: Slices, voice_input: VoiceInput) -> Slices:
    """Normalised as the recipe's ``input`` says.

    Frames behind the end of a sound are silence with ``fixed`` normalisation, and the mean (0) with the others.
    """
    if voice_input.normalization == "fixed":
        return slices._replace(values=(slices.values - voice_input.mean) / voice_input.std)
    return slices._replace(values=_standardised(slices, voice_input))


def slice_steps(slices: Slices, voice_input: VoiceInput) -> Tensor:
    """(B, T, channels, bins, frames) float32: resized and repeated as the recipe's ``input`` says."""
    batch, steps = slices.mask.shape
    values = slices.values.flatten(0, 1)[:, None]
    if voice_input.size is not None:
        values = F.interpolate(values, size=voice_input.size, mode="bilinear", align_corners=False, antialias=True)
    return values.expand(-1, voice_input.channels, -1, -1).unflatten(0, (batch, steps))


def voice_slicer(voice_input: VoiceInput) -> SpectrogramSlicer:
    """The spectrogram of a voice input, for whole sounds and for live ones."""
    return SpectrogramSlicer(
        sample_rate=voice_input.sample_rate,
        n_fft=voice_input.n_fft,
        win_length=voice_input.win_length,
        hop_length=voice_input.hop_length,
        n_mels=voice_input.n_mels,
        f_min=voice_input.f_min,
        f_max=voice_input.f_max,
        log=voice_input.log,
        top_db=voice_input.top_db,
        slice_frames=voice_input.slice_frames,
        slice_hop=voice_input.slice_hop,
    )


def _standardised(slices: Slices, voice_input: VoiceInput) -> Tensor:
    """Mean 0 and standard deviation 1 of a clip or of each bin of it, every frame counted once however slices overlap."""
    values, exists = slices.values, slices.frames
    new = exists.clone()
    overlap = voice_input.slice_frames - voice_input.slice_hop
    new[:, 1:, :overlap] = False
    weight = new[:, :, None, :].to(values.dtype)
    axes = (1, 2, 3) if voice_input.normalization == "per-clip" else (1, 3)
    # Expanded: per clip, each frame counts once for each bin.
    weight = weight.expand_as(values)
    count = weight.sum(dim=axes, keepdim=True).clamp(min=1)
    mean = (values * weight).sum(dim=axes, keepdim=True) / count
    variance = ((values - mean).square() * weight).sum(dim=axes, keepdim=True) / count
    # The floor keeps digital silence, which has no deviation, at zero.
    normalised = (values - mean) / (variance.sqrt() + 1e-3)
    return normalised.masked_fill(~exists[:, :, None, :], 0)
