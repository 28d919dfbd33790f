"""A small residual network for log-mel spectrograms of speech, the backbone of the packaged voice model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class CompactVoice(nn.Module):
    """Residual convolutions over time and frequency (He et al. 2016), then attentive statistics over time (Okabe et al. 2018).

    A 5x5 convolution halves both axes; each stage is ``blocks`` residual blocks of two 3x3 convolutions, the first of which takes the
    stage's step. What is left of the frequency axis is then *flattened*, not averaged: unlike an object in an image, a pattern means
    something else at another height. One linear map to ``dim`` features a time step follows, and of these the mean and the
    standard deviation over the slice, weighted by attention.

    Args:
        bins: mel bins of a slice.
        widths: channels of each stage.
        blocks: residual blocks of each stage.
        steps: by what each stage divides bins and frames; the first is that of the 5x5 convolution.
        dim: features of a time step; D is twice that.
        attention: hidden units of the attention.

    Shape: (B, T, 1, bins, frames) float -> (B, T, D); any number of frames, the statistics are those of the whole slice.
    """

    contract_version: ClassVar[int] = 1
    modality = "voice"

    def __init__(
        self,
        bins: int = 80,
        widths: Sequence[int] = (16, 32, 64, 128),
        blocks: Sequence[int] = (1, 1, 1, 1),
        steps: Sequence[tuple[int, int]] = ((2, 2), (2, 2), (2, 2), (2, 1)),
        dim: int = 192,
        attention: int = 64,
    ) -> None:
        super().__init__()
        if not len(widths) == len(blocks) == len(steps) > 0:
            raise ValueError(
                "widths, blocks and steps must have one entry a stage, "
                f"got {list(widths)}, {list(blocks)} and {[tuple(step) for step in steps]}"
            )
        if bins < 1:
            raise ValueError(f"bins must be positive, got {bins}")
        self.bins = bins
        parts: list[nn.Module] = [_convolution(1, widths[0], 5, _pair(steps[0]))]
        channels, height = widths[0], bins
        for stage, (width, count, step) in enumerate(zip(widths, blocks, steps, strict=True)):
            height = math.ceil(height / step[0])
            for block in range(count):
                first = stage > 0 and block == 0
                parts.append(_Residual(channels, width, _pair(step) if first else (1, 1)))
                channels = width
        self.stages = nn.Sequential(*parts)
        self.project = nn.Sequential(nn.Conv1d(channels * height, dim, 1, bias=False), nn.BatchNorm1d(dim), nn.ReLU())
        self.pool = _AttentiveStatistics(dim, attention)
        self.feature_dim = 2 * dim
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5 or x.shape[2] != 1 or x.shape[3] != self.bins:
            raise ValueError(f"x must have the shape (B, T, 1, {self.bins}, frames), got {tuple(x.shape)}")
        features = self.stages(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))
        return self.pool(self.project(features.flatten(1, 2))).unflatten(0, x.shape[:2])


def _pair(step: Sequence[int]) -> tuple[int, int]:
    down, along = step
    return down, along


def _convolution(in_channels: int, out_channels: int, size: int, step: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride=step, padding=size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, step: tuple[int, int]) -> None:
        super().__init__()
        last = nn.BatchNorm2d(out_channels)
        nn.init.constant_(last.weight, 0.5)  # the shortcut outweighs the branch at first
        self.branch = nn.Sequential(
            _convolution(in_channels, out_channels, 3, step),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            last,
        )
        self.shortcut = nn.Sequential()
        if step != (1, 1):
            self.shortcut.append(nn.AvgPool2d(step, ceil_mode=True))  # as many rows and columns as the strided branch
        if step != (1, 1) or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.shortcut(x) + self.branch(x))


class _AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time of each feature, with weights of its own: (N, D, T) -> (N, 2 D) float32."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Conv1d(dim, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, dim, 1))
        self.norm = nn.BatchNorm1d(2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.score(x).float().softmax(dim=2)
        x = x.float()  # the variance is a difference of like numbers
        mean = (weights * x).sum(dim=2)
        variance = (weights * x.square()).sum(dim=2) - mean.square()
        return self.norm(torch.cat([mean, variance.clamp_min(1e-4).sqrt()], dim=1))
