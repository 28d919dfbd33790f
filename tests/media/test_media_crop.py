from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pyemo.contracts import CropFrame, Face
from pyemo.media import crop_faces

SQUARE = CropFrame()


def gradient(height=200, width=250):
    """Red grows to the right, green downwards: a pixel tells where it is."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)[None, :]
    image[..., 1] = np.arange(height)[:, None]
    return image


def one(image, face, size=16, **options):
    return crop_faces(image, [face], size=size, **{"channels": 3, "frame": SQUARE, **options})[0].astype(float)


def mean_position(crop):
    """x, y that the gradient's colours stand for."""
    return crop[0].mean(), crop[1].mean()


def test_shapes_and_types():
    faces = [Face((10, 10, 50, 50), 1.0), Face((100, 80, 30, 40), 0.5)]
    assert crop_faces(gradient(), faces, size=48, frame=SQUARE).shape == (2, 1, 48, 48)
    crops = crop_faces(gradient(), faces, size=20, channels=3, frame=SQUARE)
    assert crops.shape == (2, 3, 20, 20)
    assert crops.dtype == np.uint8
    assert crop_faces(gradient(), [], size=48, frame=SQUARE).shape == (0, 1, 48, 48)


@pytest.mark.parametrize("size", [7, 16, 24, 40, 64])
def test_crop_is_the_box_at_every_ratio_of_sizes(size):
    crop = one(gradient(), Face((80, 60, 40, 40), 1.0), size)
    assert mean_position(crop) == pytest.approx((99.5, 79.5), abs=0.5)
    edges = crop[0].mean(axis=0), crop[1].mean(axis=1)
    for edge, start in zip(edges, (80, 60), strict=True):
        pixel = 40 / size
        assert edge[0] == pytest.approx(start + pixel / 2 - 0.5, abs=1)
        assert edge[-1] == pytest.approx(start + 40 - pixel / 2 - 0.5, abs=1)


def test_unturned_crop_of_whole_multiples_is_the_area_mean():
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    crop = one(image, Face((20, 20, 64, 64), 1.0), 16)
    expected = image[20:84, 20:84].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    # The region is shrunk as a whole, by a factor that gives it whole pixels: close to the mean of 4 x 4, not equal to it.
    assert np.abs(crop - expected).mean() < 8
    assert np.abs(crop.mean() - expected.mean()) < 2


def test_fine_stripes_do_not_alias():
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, ::2] = 255
    assert one(image, Face((50, 50, 300, 300), 1.0), 48).std() < 6


def test_crop_frame_scale_offset_and_margin():
    face = Face((100, 60, 40, 60), 1.0)
    frame = CropFrame(scale=1.2, dx=0.1, dy=-0.25)
    crop = one(gradient(), face, 32, frame=frame)
    side = 1.2 * math.sqrt(40 * 60)
    assert mean_position(crop) == pytest.approx((120 + 4 - 0.5, 90 - 15 - 0.5), abs=0.6)
    assert crop[0, :, -1].mean() - crop[0, :, 0].mean() == pytest.approx(side * 31 / 32, abs=1.5)
    wide = one(gradient(), face, 32, frame=frame, margin=1.5)
    assert wide[1, -1].mean() - wide[1, 0].mean() == pytest.approx(1.5 * side * 31 / 32, abs=1.5)


@pytest.mark.parametrize("box", [(-20, -20, 60, 60), (220, 170, 60, 60), (-500, 50, 60, 60), (400, 400, 60, 60)])
def test_border_is_repeated(box):
    image = gradient()
    crop = one(image, Face(box, 1.0), 30)
    x = np.clip(np.round(box[0] + np.arange(30) * 2 + 0.5), 0, 249).astype(int)
    y = np.clip(np.round(box[1] + np.arange(30) * 2 + 0.5), 0, 199).astype(int)
    np.testing.assert_allclose(crop[0].mean(axis=0), image[0, x, 0], atol=1.5)
    np.testing.assert_allclose(crop[1].mean(axis=1), image[y, 0, 1], atol=1.5)


@pytest.mark.parametrize("degrees", [-60, -20, 0, 35])
@pytest.mark.parametrize("size", [30, 96])
def test_eyes_become_level(degrees, size):
    """A face of two bright eyes and a mouth, turned about its centre: after alignment it is where it is in the upright one."""
    upright = np.full((300, 300, 3), 30, np.uint8)
    eyes, mouth = np.array([(125, 130), (175, 130)]), (150, 185)
    for x, y in eyes:
        cv2.circle(upright, (int(x), int(y)), 8, (250, 250, 250), -1)
    cv2.ellipse(upright, mouth, (25, 8), 0, 0, 360, (160, 160, 160), -1)
    # OpenCV turns counter-clockwise for positive angles.
    matrix = cv2.getRotationMatrix2D((149.5, 149.5), -degrees, 1)
    turned = cv2.warpAffine(upright, matrix, (300, 300), borderValue=(30, 30, 30))
    points = np.concatenate([eyes, [(150, 155), (130, 185), (170, 185)]]).astype(np.float32)
    landmarks = (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    frame = CropFrame(scale=1.0, dx=0.0, dy=0.1)
    box = (90.0, 90.0, 120.0, 120.0)
    expected = one(upright, Face(box, 1.0), size, frame=frame)
    crop = one(turned, Face(box, 1.0, landmarks), size, frame=frame)
    assert np.abs(crop - expected).mean() < 4
    if degrees:
        assert np.abs(one(turned, Face(box, 1.0), size, frame=frame) - expected).mean() > 10


def test_grey_is_itu_r_601():
    image = np.zeros((60, 60, 3), np.uint8)
    for column, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255))):
        image[:, 20 * column : 20 * column + 20] = colour
    crop = crop_faces(image, [Face((0, 0, 60, 60), 1.0)], size=30, channels=1, frame=SQUARE)[0, 0]
    assert [int(crop[15, x]) for x in (5, 15, 25)] == pytest.approx([0.299 * 255, 0.587 * 255, 0.114 * 255], abs=1)


def test_input_is_left_alone():
    image = gradient()
    before = image.copy()
    crop_faces(image, [Face((10, 10, 50, 50), 1.0)], size=48, frame=SQUARE)[...] = 0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((10, 10), np.uint8), {}, r"uint8 \(H, W, 3\), got uint8 \(10, 10\)"),
        (np.zeros((10, 10, 3), np.float32), {}, "got float32"),
        (gradient(), {"channels": 2}, "channels must be 1 or 3, got 2"),
        (gradient(), {"size": 0}, "got 0"),
        (gradient(), {"margin": 0}, "got"),
    ],
)
def test_bad_arguments(image, options, message):
    with pytest.raises(ValueError, match=message):
        crop_faces(image, [Face((0, 0, 5, 5), 1.0)], **{"size": 48, "frame": SQUARE, **options})


@pytest.mark.parametrize("box", [(0, 0, 0, 10), (0, 0, 10, -1), (float("nan"), 0, 10, 10)])
def test_impossible_boxes(box):
    with pytest.raises(ValueError, match="box"):
        crop_faces(gradient(), [Face(box, 1.0)], size=48, frame=SQUARE)
