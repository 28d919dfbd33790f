"""Random changes of training samples."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pyemo.config.section import NonNegative, Probability, Range, Section


class AugmentationConfig(Section):
    """Random changes of a training image. The defaults are those of the thesis (chapter 4); zeros and 1-to-1 ranges switch off.

    Intensities are counted from 0 to 255. Each geometric change is drawn per image and all are applied in one resampling.
    """

    mirror: Probability = 0.5
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Up to this share of the width and of the height is cut away, at a random place."""
    blur_probability: Probability = 0.5
    blur_sigma: NonNegative = 0.5
    """Gaussian blur with sigma from U(0, blur_sigma) pixels."""
    contrast: Range = [0.75, 1.5]
    """Factor of the distance to 128."""
    brightness: NonNegative = 0.0
    """Added intensity, from U(-brightness, brightness)."""
    noise: NonNegative = 25.0
    """Standard deviation of the added Gaussian noise."""
    scale: Range = [0.9, 1.1]
    shift: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the width and of the height."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 25.0
    """Degrees, either way."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 8.0
    """Degrees, either way."""
    erase_probability: Probability = 0.0
    """Random erasing: a rectangle with sides of 0.1 to ``erase_size`` of the image gets one random grey."""
    erase_size: Annotated[float, Field(gt=0, le=1)] = 0.4


class VoiceAugmentationConfig(Section):
    """Random changes of a training clip's sound, one set of factors a clip. The defaults switch all off."""

    speed: Range = [1.0, 1.0]
    """Factor of speed and pitch together (resampling)."""
    gain: NonNegative = 0.0
    """Decibels, from U(-gain, gain)."""
    noise_probability: Probability = 0.0
    noise_snr: Range = [10.0, 40.0]
    """Decibels of the clip above the white noise added to it."""
    frequency_warp: Range = [1.0, 1.0]
    """Factor that the frequency axis is stretched by (vocal tract length perturbation, Jaitly and Hinton 2013)."""
    frequency_masks: Annotated[int, Field(ge=0)] = 0
    frequency_mask_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    """SpecAugment (Park et al. 2019): each mask covers up to this share of the bins; filled with the clip's mean."""
    time_masks: Annotated[int, Field(ge=0)] = 0
    time_mask_share: Annotated[float, Field(ge=0, le=1)] = 0.15
