"""Random changes of face images, a whole batch at a time and on the batch's device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pyemo.config import AugmentationConfig


class FaceAugmentation:
    """The augmentation of the thesis (chapter 4), and random erasing (Zhong et al. 2017).

    ``__call__(images, generator)``: (N, C, H, W) uint8 or float intensities from 0 to 255 -> float32 of the same shape and range. Every
    image gets factors of its own; of clips, (B, T, C, H, W), every clip, whose frames share them (but for the noise). All geometric
    changes are composed into one matrix and resampled once, bilinearly, borders repeated.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        if images.ndim == 5:
            clips, steps = images.shape[:2]
            draw = _Draw(clips, steps, images.device, generator)
            return self._augmented(images.flatten(0, 1), draw, generator).unflatten(0, (clips, steps))
        return self._augmented(images, _Draw(len(images), 1, images.device, generator), generator)

    def _augmented(self, images: Tensor, draw: _Draw, generator: Generator | None) -> Tensor:
        images = _warp(images.float(), self.config, draw)
        if self.config.blur_probability > 0 and self.config.blur_sigma > 0:
            images = _blur(images, self.config, draw)
        contrast = draw.uniform(*self.config.contrast)
        brightness = draw.uniform(-self.config.brightness, self.config.brightness)
        images = (images - 128) * _per_image(contrast) + 128 + _per_image(brightness)
        if self.config.noise > 0:
            images = images + self.config.noise * torch.randn(images.shape, device=images.device, generator=generator)
        images = images.clamp(0, 255)
        if self.config.erase_probability > 0:
            images = _erase(images, self.config, draw)
        return images


class _Draw:
    """One random number a clip, repeated for each of its frames."""

    def __init__(self, clips: int, steps: int, device: torch.device, generator: Generator | None) -> None:
        self.clips, self.steps, self.device, self.generator = clips, steps, device, generator

    def uniform(self, low: float, high: float) -> Tensor:
        return low + (high - low) * self._numbers()

    def chance(self, probability: float) -> Tensor:
        return self._numbers() < probability

    def _numbers(self) -> Tensor:
        return torch.rand(self.clips, device=self.device, generator=self.generator).repeat_interleave(self.steps)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _warp(images: Tensor, config: AugmentationConfig, draw: _Draw) -> Tensor:
    # The matrix maps output to input coordinates, both in [-1, 1], so a factor s of the face's size is 1 / s here.
    angle = draw.uniform(-config.rotation, config.rotation) * (math.pi / 180)
    shear = torch.tan(draw.uniform(-config.shear, config.shear) * (math.pi / 180))
    size = 1 / draw.uniform(*config.scale)
    mirror = 1 - 2 * draw.chance(config.mirror).float()
    cut_x, cut_y = draw.uniform(0, config.crop), draw.uniform(0, config.crop)
    shift_x = draw.uniform(-2 * config.shift, 2 * config.shift) + cut_x * draw.uniform(-1, 1)
    shift_y = draw.uniform(-2 * config.shift, 2 * config.shift) + cut_y * draw.uniform(-1, 1)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    # In pixels, so that a rotation of a non-square image keeps right angles.
    aspect = images.shape[3] / images.shape[2]
    row_x = torch.stack([cosine * mirror, (shear * cosine - sine) / aspect, torch.zeros_like(angle)], dim=1)
    row_y = torch.stack([sine * mirror * aspect, shear * sine + cosine, torch.zeros_like(angle)], dim=1)
    matrix = torch.stack([row_x * (size * (1 - cut_x))[:, None], row_y * (size * (1 - cut_y))[:, None]], dim=1)
    matrix[:, 0, 2] = shift_x
    matrix[:, 1, 2] = shift_y
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _blur(images: Tensor, config: AugmentationConfig, draw: _Draw) -> Tensor:
    sigma = draw.uniform(0, config.blur_sigma) * draw.chance(config.blur_probability)
    radius = max(1, math.ceil(3 * config.blur_sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    for axis in (2, 3):
        length = images.shape[axis]
        padded = F.pad(images, (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius), mode="replicate")
        images = sum(
            (_per_image(kernel[:, k]) * padded.narrow(axis, k, length) for k in range(2 * radius + 1)),
            torch.zeros_like(images),
        )
    return images


def _erase(images: Tensor, config: AugmentationConfig, draw: _Draw) -> Tensor:
    height, width = images.shape[2:]
    chosen = draw.chance(config.erase_probability)

    def span(length: int) -> Tensor:
        side = draw.uniform(0.1, config.erase_size) * length
        centre = draw.uniform(0, length)
        return (torch.arange(length, device=images.device) + 0.5 - centre[:, None]).abs() < side[:, None] / 2

    rows, columns = span(height), span(width)
    mask = (rows[:, :, None] & columns[:, None, :] & chosen[:, None, None])[:, None]
    return torch.where(mask, _per_image(draw.uniform(0, 255)), images)
