"""A training batch after its random changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from pyemo.config import ClassifierRecipe, ModelConfig, VoiceInput
from pyemo.data.batch import Batch
from pyemo.data.inputs import Inputs, assembled, waveforms
from pyemo.data.voices import normalise_slices, slice_steps, to_slices
from pyemo.errors import ModelError
from pyemo.training.augmentation import FaceAugmentation
from pyemo.training.voice_augmentation import VoiceAugmentation


class AugmentedBatch:
    """Faces before, and voices after normalisation, from which the inputs of a network, and of its teacher, are made."""

    def __init__(
        self, faces: Tensor | None, face_mask: Tensor | None, voices: Sequence[tuple[VoiceInput, Tensor, Tensor]]
    ) -> None:
        self.faces = faces
        self.face_mask = face_mask
        self.voices = list(voices)

    def mix(self, order: Tensor, factor: float) -> None:
        """Each sample becomes ``factor`` of itself and the rest of the one that ``order`` names; a step exists where either's does."""
        if self.faces is not None and self.face_mask is not None:
            self.faces = torch.lerp(self.faces[order], self.faces, factor)
            self.face_mask = self.face_mask | self.face_mask[order]
        self.voices = [
            (voice_input, torch.lerp(values[order], values, factor), mask | mask[order])
            for voice_input, values, mask in self.voices
        ]

    def inputs(self, model: ModelConfig) -> Inputs:
        """What a model sees.

        Raises:
            ModelError: it hears sound in another way than the recipe that the batch was made for.
        """
        voices = {}
        for modality, wanted in model.voice_inputs.items():
            found = [(values, mask) for voice_input, values, mask in self.voices if voice_input == wanted]
            if not found:
                raise ModelError(f"the teacher's input of '{modality}' is not one of the recipe's")
            voices[modality] = found[0]
        return assembled(model, self.faces, self.face_mask, voices)


def augmented(
    batch: Batch,
    recipe: ClassifierRecipe,
    face_augmentation: FaceAugmentation,
    voice_augmentation: VoiceAugmentation,
    generator: Generator | None,
) -> AugmentedBatch:
    """Apply the recipe's augmentation to faces and sounds; inputs of the same sound differ in their spectrogram's own changes only."""
    faces = None if batch.faces is None else face_augmentation(batch.faces, generator)
    if batch.voices is not None and batch.voice_lengths is not None:
        changed, lengths = voice_augmentation.sounds(batch.voices, batch.voice_lengths, generator)
        if recipe.sampling.slice_seconds is not None:
            longest = round(recipe.sampling.slice_seconds * recipe.model.sample_rate)
            changed, lengths = changed[:, :longest], lengths.clamp(max=longest)
        batch = replace(batch, voices=changed, voice_lengths=lengths)
    sounds = waveforms(batch)
    voices = []
    for voice_input in recipe.model.voice_inputs.values():
        # After normalisation: what a mask is filled with must neither enter the statistics nor stand out of its bin.
        slices = normalise_slices(to_slices(sounds, voice_input), voice_input)
        slices = voice_augmentation.slices(slices, voice_input, generator)
        voices.append((voice_input, slice_steps(slices, voice_input), slices.mask))
    return AugmentedBatch(faces, batch.face_mask, voices)
