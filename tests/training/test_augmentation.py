from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter

from pyemo.config import AugmentationConfig
from pyemo.training.augmentation import FaceAugmentation

OFF = {
    "mirror": 0.0, "crop": 0.0, "blur_probability": 0.0, "contrast": [1.0, 1.0], "noise": 0.0,
    "scale": [1.0, 1.0], "shift": 0.0, "rotation": 0.0, "shear": 0.0,
}  # fmt: skip


SEED = 3  # its first number is far from the middle, so that the first factor drawn is a large one


def augment(images: torch.Tensor, **changes: object) -> torch.Tensor:
    return FaceAugmentation(AugmentationConfig(**{**OFF, **changes}))(images, torch.Generator().manual_seed(SEED))


def smooth(count: int = 4, height: int = 32, width: int = 32) -> torch.Tensor:
    noise = np.random.default_rng(0).uniform(0, 255, (count, 1, height, width))
    blurred = gaussian_filter(noise, (0, 0, 3, 3))
    return torch.from_numpy((blurred - blurred.min()) / (blurred.max() - blurred.min()) * 255).float()


def test_all_off_changes_nothing() -> None:
    images = torch.randint(0, 256, (3, 1, 17, 23), dtype=torch.uint8)
    torch.testing.assert_close(augment(images), images.float(), atol=1e-2, rtol=0)


def test_the_same_generator_gives_the_same_images_and_each_image_its_own_factors() -> None:
    images = smooth(1).repeat(8, 1, 1, 1)
    config = AugmentationConfig(erase_probability=0.5)
    first = FaceAugmentation(config)(images, torch.Generator().manual_seed(3))
    second = FaceAugmentation(config)(images, torch.Generator().manual_seed(3))
    assert torch.equal(first, second)
    assert len({tuple(image.flatten().tolist()) for image in first}) == 8
    assert first.min() >= 0
    assert first.max() <= 255


def test_mirror() -> None:
    images = smooth()
    torch.testing.assert_close(augment(images, mirror=1.0), images.flip(3), atol=1e-2, rtol=0)


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_rotation_keeps_right_angles(shape: tuple[int, int]) -> None:
    """Against scipy, with the angle that the generator gave."""
    images = smooth(1, *shape)
    seed = torch.Generator().manual_seed(SEED)
    angle = float((2 * torch.rand(1, generator=seed) - 1) * 30 * math.pi / 180)
    assert abs(angle) > 0.2
    rotated = augment(images, rotation=30.0)[0, 0].numpy()
    matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    centre = (np.array(shape) - 1) / 2
    expected = affine_transform(images[0, 0].numpy(), matrix, centre - matrix @ centre, order=1, mode="nearest")
    mirrored = affine_transform(images[0, 0].numpy(), matrix.T, centre - matrix.T @ centre, order=1, mode="nearest")
    assert min(np.abs(rotated - expected).max(), np.abs(rotated - mirrored).max()) < 2.0
    assert np.abs(rotated - images[0, 0].numpy()).max() > 20


@pytest.mark.parametrize(("scale", "grows"), [([1.3, 1.3], True), ([0.7, 0.7], False)])
def test_scale_above_one_enlarges_the_face(scale: list[float], grows: bool) -> None:
    disc = torch.zeros(1, 1, 48, 48)
    rows, columns = torch.meshgrid(torch.arange(48) - 23.5, torch.arange(48) - 23.5, indexing="ij")
    disc[0, 0, (rows**2 + columns**2) < 100] = 200
    assert (augment(disc, scale=scale).sum() > disc.sum()) == grows


def test_blur_is_gaussian() -> None:
    images = smooth(1) + 20 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    images = images.clamp(0, 255)
    blurred = augment(images, blur_probability=1.0, blur_sigma=1.5)
    # The share of the drawn sigma is unknown here; some sigma up to 1.5 must explain the result.
    errors = [
        float(
            np.abs(gaussian_filter(images[0, 0].numpy(), sigma, mode="nearest", radius=5) - blurred[0, 0].numpy()).max()
        )
        for sigma in np.linspace(0.01, 1.5, 300)
    ]
    assert min(errors) < 0.5
    assert float((blurred - images).abs().max()) > 5


def test_contrast_is_about_128_and_clipped() -> None:
    images = torch.tensor([[[[128.0, 100.0, 250.0, 2.0]]]]).expand(1, 1, 4, 4)
    changed = augment(images, contrast=[1.5, 1.5])
    torch.testing.assert_close(changed[0, 0, 0], torch.tensor([128.0, 86.0, 255.0, 0.0]), atol=1e-2, rtol=0)


def test_noise_has_the_given_deviation() -> None:
    changed = augment(torch.full((16, 1, 48, 48), 128.0), noise=25.0)
    assert float(changed.std()) == pytest.approx(25, rel=0.05)


def test_erasing_covers_one_rectangle_with_one_grey() -> None:
    images = torch.full((200, 1, 40, 40), 77.0)
    changed = augment(images, erase_probability=0.5, erase_size=0.4)
    erased = (changed - 77).abs() > 0.01  # resampling rounds
    share = erased.float().mean(dim=(1, 2, 3))
    assert 70 < int((share > 0).sum()) < 130
    assert float(share.max()) <= 0.18
    for image, mask in zip(changed[share > 0][:20, 0], erased[share > 0][:20, 0], strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        patch = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert len(patch.unique()) == 1
