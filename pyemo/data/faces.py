"""From face images to the tensors that face backbones see."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from pyemo.config import FaceInput
from pyemo.ops import color_deconvolution


def resize_faces(images: np.ndarray, size: int) -> np.ndarray:
    """Resize square or non-square faces (N, H, W) or (N, H, W, 3) uint8 to (N, size, size[, 3]).

    Enlarging is bilinear (OpenCV's exact form: its fast one rounds down, which darkens faces); shrinking averages areas, so that nothing aliases.
    """
    if images.shape[1:3] == (size, size):
        return images
    shrinking = size < min(images.shape[1:3])
    interpolation = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR_EXACT
    resized = np.empty((len(images), size, size, *images.shape[3:]), np.uint8)
    for source, target in zip(images, resized, strict=True):
        cv2.resize(source, (size, size), dst=target, interpolation=interpolation)
    return resized


def to_crops(images: np.ndarray, face_input: FaceInput) -> Tensor:
    """Decoded faces (N, H, W) grey or (N, H, W, 3) RGB, uint8 -> crops (N, crop_channels, size, size) uint8.

    Grey becomes RGB by repetition and RGB becomes grey by ITU-R 601 luma, where the input asks for it.
    """
    return as_crops(images, face_input.size, face_input.crop_channels)


def as_crops(images: np.ndarray, size: int, channels: int) -> Tensor:
    """:func:`to_crops` for a size in pixels and 1 or 3 channels."""
    images = resize_faces(images, size)
    if images.ndim == 3:
        crops = torch.from_numpy(images)[:, None]
        return crops.expand(-1, channels, -1, -1).contiguous()
    if channels == 1:
        grey = (
            np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]) if len(images) else images[..., 0]
        )
        return torch.from_numpy(grey)[:, None].contiguous()
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def to_input(crops: Tensor, face_input: FaceInput) -> Tensor:
    """Normalise crops as the recipe's ``input`` says.

    ``crops`` (N, crop_channels, size, size), uint8 or float intensities from 0 to 255 -> (N, channels, size, size) float32.
    """
    expected = (face_input.crop_channels, face_input.size, face_input.size)
    if tuple(crops.shape[1:]) != expected:
        raise ValueError(
            f"expected face crops of shape (N, {expected[0]}, {expected[1]}, {expected[2]}), got {tuple(crops.shape)}"
        )
    if face_input.stain is not None:
        stain = color_deconvolution(
            crops if crops.dtype == torch.uint8 else crops.float() / 255, select=[face_input.stain]
        )
        values = stain.expand(-1, face_input.channels, -1, -1)
    else:
        values = crops.float() / 255
    if face_input.normalization == "fixed":
        return (values - _per_channel(face_input.mean, values)) / _per_channel(face_input.std, values)
    if face_input.normalization == "min-max":
        low, high = values.amin(dim=(1, 2, 3), keepdim=True), values.amax(dim=(1, 2, 3), keepdim=True)
        return (values - low) / (high - low).clamp_min(1e-6)
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True, correction=0)
    return (values - mean) / (deviation + 0.05)


def _per_channel(numbers: float | list[float], like: Tensor) -> Tensor | float:
    return like.new_tensor(numbers)[:, None, None] if isinstance(numbers, list) else numbers
