"""The backbone of the packaged voice model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from pyemo import plugins
from pyemo.contracts import Backbone
from pyemo.errors import PluginError


def backbone(**options: Any) -> Any:
    torch.manual_seed(0)
    return plugins.create("backbones", "compact-voice", **options).eval()


def test_contract() -> None:
    model = backbone()
    assert isinstance(model, Backbone)
    assert model.modality == "voice"
    features = model(torch.randn(2, 3, 1, 80, 96))
    assert features.shape == (2, 3, model.feature_dim) == (2, 3, 384)


def test_size_on_disk() -> None:
    assert sum(parameter.numel() for parameter in backbone().parameters()) * 2 < 1_000_000  # bytes as float16


@pytest.mark.parametrize("frames", [1, 2, 37, 161])
@pytest.mark.parametrize("bins", [40, 77])
def test_any_number_of_frames_and_bins(bins: int, frames: int) -> None:
    assert torch.isfinite(
        backbone(bins=bins, widths=[4, 8], blocks=[1, 2], steps=[(2, 2), (2, 1)])(torch.randn(1, 2, 1, bins, frames))
    ).all()


def test_slices_do_not_see_one_another() -> None:
    model, slices = backbone(), torch.randn(2, 3, 1, 80, 64)
    torch.testing.assert_close(model(slices)[:, 1], model(slices[:, 1:2])[:, 0], atol=1e-4, rtol=1e-4)


def test_the_same_pattern_elsewhere_in_time_is_like_and_in_frequency_is_not() -> None:
    model = backbone()
    slices = torch.zeros(3, 1, 1, 80, 128)
    pattern = torch.randn(16, 16)
    slices[0, ..., 24:40, 40:56] = pattern
    slices[1, ..., 24:40, 56:72] = pattern  # 16 frames later
    slices[2, ..., 40:56, 40:56] = pattern  # 16 bins higher
    original, later, higher = model(slices)[:, 0]
    assert (original - later).norm() < 1e-3 * original.norm()
    assert (original - higher).norm() > 0.1 * original.norm()


def test_statistics_are_weighted_mean_and_deviation() -> None:
    model = backbone(dim=8)
    model.pool.norm = nn.Identity()
    constant = torch.linspace(0.5, 2, 8)[None, :, None].expand(1, 8, 10)
    pooled = model.pool(constant)
    torch.testing.assert_close(pooled[0, :8], constant[0, :, 0])
    assert pooled[0, 8:].max() <= 0.0101  # the floor of the variance
    nn.init.zeros_(model.pool.score[-1].weight)  # equal weights
    nn.init.zeros_(model.pool.score[-1].bias)
    values = torch.randn(2, 8, 10)
    expected = torch.cat([values.mean(dim=2), values.std(dim=2, correction=0)], dim=1)
    torch.testing.assert_close(model.pool(values), expected, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns() -> None:
    model = backbone(widths=[4, 8], blocks=[2, 1], steps=[(2, 2), (2, 2)], dim=8).train()
    model(torch.randn(4, 2, 1, 80, 32)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("shape", [(2, 3, 80, 96), (2, 3, 1, 64, 96), (2, 3, 3, 80, 96)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 1, 80, frames\), got"):
        backbone()(torch.zeros(shape))


def test_wrong_options() -> None:
    with pytest.raises(PluginError, match=r"one entry a stage, got \[16\]"):
        backbone(widths=[16])
    with pytest.raises(PluginError, match="bins must be positive, got 0"):
        backbone(bins=0)
