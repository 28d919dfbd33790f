from __future__ import annotations

import cv2
import numpy as np
import pytest

from pyemo.media.cuts import CutDetector


def scene(seed, height=180, width=320):
    """A smooth random picture, as blurred as the coarse structure of a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), np.uint8)
    return cv2.resize(coarse, (width + 80, height + 80), interpolation=cv2.INTER_CUBIC)


def view(seed, shift=0.0, gain=1.0, noise=None):
    image = scene(seed)[20 : 20 + 180, 20 + round(shift) : 20 + round(shift) + 320].astype(np.float32) * gain
    if noise is not None:
        image = image + noise.normal(0, 12, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def cuts(images):
    detector = CutDetector()
    return [index for index, image in enumerate(images) if detector.is_cut(image)]


def test_cuts_are_found_where_they_are():
    images = [view(seed, shift) for seed in range(4) for shift in range(10)]
    assert cuts(images) == [10, 20, 30]


def test_a_cut_right_after_another():
    assert cuts([view(0)] * 5 + [view(1)] + [view(2)] * 5) == [5, 6]


@pytest.mark.parametrize(
    "images",
    [
        [view(0)] * 30,
        [view(0, shift) for shift in np.linspace(0, 40, 30)],
        [view(0, gain=gain) for gain in np.linspace(1, 0.2, 15)],
        [view(0)] * 5 + [view(0, gain=0.6)] * 5,
        [view(0, noise=np.random.default_rng(seed)) for seed in range(30)],
        [np.random.default_rng(seed).integers(0, 256, (90, 160, 3), np.uint8) for seed in range(30)],
        [np.random.default_rng(seed).integers(0, 6, (90, 160, 3), np.uint8) for seed in range(30)],
        [np.zeros((90, 160, 3), np.uint8)] * 5,
    ],
    ids=["still", "pan", "fade", "exposure", "noise", "static", "grainy black", "black"],
)
def test_no_cut_within_a_shot(images):
    # The first difference has nothing to be compared with: mere static is taken for a cut there.
    assert [cut for cut in cuts(images) if cut > 1] == []


def test_from_black_and_to_black():
    black = [np.zeros((180, 320, 3), np.uint8)] * 3
    assert cuts([view(0)] * 5 + black + [view(0)] * 5) == [5, 8]


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (2160, 3840, 3)])
def test_any_size(shape):
    detector = CutDetector()
    assert not detector.is_cut(np.zeros(shape, np.uint8))
    assert not detector.is_cut(np.zeros(shape, np.uint8))
