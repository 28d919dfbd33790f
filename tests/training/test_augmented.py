"""Training batches after their random changes."""

from __future__ import annotations

from typing import Any

import torch

from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.data.batch import Batch
from pyemo.training.augmentation import FaceAugmentation
from pyemo.training.augmented import augmented
from pyemo.training.voice_augmentation import VoiceAugmentation

RATE = 16000


def batch_of(seconds: tuple[float, ...]) -> Batch:
    lengths = torch.tensor([round(RATE * length) for length in seconds])
    noise = torch.Generator().manual_seed(0)
    voices = torch.randint(-3000, 3000, (len(seconds), int(lengths.max())), dtype=torch.int16, generator=noise)
    return Batch(torch.zeros(len(seconds), dtype=torch.int64), voices=voices, voice_lengths=lengths)


def voice_recipe(**augmentation: Any) -> ClassifierRecipe:
    found = load_recipe("compact-voice", ["voice_augmentation={}", "sampling={slice_seconds: 0.5}"])
    assert isinstance(found, ClassifierRecipe)
    changed = found.voice_augmentation.model_copy(update=augmentation)
    return found.model_copy(update={"voice_augmentation": changed})


def inputs(recipe: ClassifierRecipe, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    changes = FaceAugmentation(recipe.augmentation), VoiceAugmentation(recipe.voice_augmentation)
    ((_, values, mask),) = augmented(batch, recipe, *changes, torch.Generator().manual_seed(2)).voices
    return values, mask


def test_masks_come_after_normalisation() -> None:
    """So that what they hide does not enter the statistics: all else is as it was."""
    batch = batch_of((0.5, 0.3))
    plain, mask = inputs(voice_recipe(), batch)
    hidden, same_mask = inputs(voice_recipe(time_masks=2, time_mask_share=0.4, frequency_masks=1), batch)
    assert same_mask.equal(mask)
    changed = hidden != plain
    assert 0.05 < changed.float().mean() < 0.9
    for clip in range(2):
        filled = hidden[clip][changed[clip]]
        torch.testing.assert_close(filled, filled[:1].expand_as(filled))  # one value: the clip's mean


def test_speed_comes_before_the_cut_to_the_slice() -> None:
    """Sounds that were sliced for the fastest have the recipe's length after any speed; what is shorter stays so."""
    batch = batch_of((0.55, 0.2))
    for speed, seconds in ((1.1, 0.2 / 1.1), (1.0, 0.2)):
        recipe = voice_recipe(speed=[speed, speed])
        values, _ = inputs(recipe, batch)
        length = torch.tensor([0.5, seconds]) * RATE
        frames = 1 + (length.ceil() // 160).long()  # of 10 ms, the first centred on the first sample
        exists = (values[:, 0, 0] != 0).any(dim=1).sum(dim=1)
        assert exists.tolist() == frames.tolist()
