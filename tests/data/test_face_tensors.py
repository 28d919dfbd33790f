from __future__ import annotations

import numpy as np
import pytest
import torch

from pyemo.config import FaceInput
from pyemo.data.faces import to_crops, to_input


def test_grey_and_colour_reach_the_channels_the_input_asks_for() -> None:
    colour = np.zeros((2, 20, 20, 3), np.uint8)
    colour[..., 0] = 200
    grey = to_crops(colour, FaceInput(size=20, channels=1))
    assert grey.shape == (2, 1, 20, 20)
    assert int(grey[0, 0, 0, 0]) == 60  # 0.299 * 200, ITU-R 601
    assert to_crops(colour, FaceInput(size=20, channels=3))[0, :, 3, 3].tolist() == [200, 0, 0]
    assert to_crops(colour[..., 0], FaceInput(size=20, channels=3)).shape == (2, 3, 20, 20)


@pytest.mark.parametrize("size", [24, 64, 97])
def test_resizing_keeps_the_mean(size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    crops = to_crops(images, FaceInput(size=size))
    assert crops.shape == (4, 1, size, size)
    assert abs(float(crops.float().mean()) - images.mean()) < 1.5


def test_fixed_normalization() -> None:
    crops = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    values = to_input(crops, FaceInput(size=8, mean=0.5, std=0.5))
    torch.testing.assert_close(values[:, 0, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_per_image_normalization_undoes_brightness_and_nearly_undoes_contrast() -> None:
    crops = torch.randint(60, 120, (3, 1, 16, 16), dtype=torch.uint8)
    face_input = FaceInput(size=16, normalization="per-image")
    values = to_input(crops, face_input)
    torch.testing.assert_close(values.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(to_input(crops + 100, face_input), values, atol=1e-4, rtol=0)
    assert torch.isfinite(to_input(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), face_input)).all()


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(N, 1, 48, 48\), got \(2, 3, 48, 48\)"):
        to_input(torch.zeros(2, 3, 48, 48), FaceInput(size=48))
