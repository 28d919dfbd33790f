"""From a batch of crops and sounds to what a network's modalities see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.config import FaceInput, ModelConfig, VoiceInput
from pyemo.data.batch import Batch
from pyemo.data.faces import to_input
from pyemo.data.voices import normalise_slices, slice_steps, to_slices


class Inputs(NamedTuple):
    """The arguments of :class:`pyemo.model.EmotionModel`."""

    values: dict[str, Tensor]
    """Modality -> (B, T, channels, height, width) float32."""
    masks: dict[str, Tensor]
    """Modality -> (B, T) boolean."""


def network_inputs(model: ModelConfig, batch: Batch) -> Inputs:
    """Evaluation's way: nothing is random. Voices are cut on the device of the batch."""
    sounds = waveforms(batch)
    voices = {}
    for modality, voice_input in model.voice_inputs.items():
        slices = normalise_slices(to_slices(sounds, voice_input), voice_input)
        voices[modality] = (slice_steps(slices, voice_input), slices.mask)
    return assembled(model, batch.faces, batch.face_mask, voices)


def assembled(
    model: ModelConfig, faces: Tensor | None, face_mask: Tensor | None, voices: Mapping[str, tuple[Tensor, Tensor]]
) -> Inputs:
    """Faces (B, T, C, S, S), uint8 or float from 0 to 255, normalised for each modality that sees them, beside finished voices and masks."""
    values, masks = {}, {}
    for modality, part in model.modalities.items():
        if isinstance(part.input, VoiceInput):
            values[modality], masks[modality] = voices[modality]
            continue
        if faces is None or face_mask is None:
            raise ValueError(f"modality {modality!r} needs faces; the batch has none")
        steps = to_input(fitted(faces.flatten(0, 1), part.input), part.input)
        values[modality] = steps.contiguous(memory_format=torch.channels_last).unflatten(0, tuple(faces.shape[:2]))
        masks[modality] = face_mask
    return Inputs(values, masks)


def fitted(images: Tensor, face_input: FaceInput) -> Tensor:
    """Crops (N, C, S, S), uint8 or float, of the size and the channels that an input is made from."""
    if images.shape[1] == 3 and face_input.crop_channels == 1:
        luma = images.new_tensor([0.299, 0.587, 0.114], dtype=torch.float32)
        images = (images.float() * luma[:, None, None]).sum(dim=1, keepdim=True)
    elif images.shape[1] == 1 and face_input.crop_channels == 3:
        images = images.expand(-1, 3, -1, -1)
    if images.shape[-1] != face_input.size:
        images = F.interpolate(images.float(), size=(face_input.size, face_input.size), mode="bilinear", antialias=True)
    return images


def waveforms(batch: Batch) -> Sequence[Tensor]:
    """The sounds of a batch without the zeros behind them."""
    if batch.voices is None or batch.voice_lengths is None:
        return []
    return [voice[:length] for voice, length in zip(batch.voices, batch.voice_lengths.tolist(), strict=True)]
