from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from pyemo.errors import MediaError
from pyemo.media import read_image


def write(path, image, extension=".png"):
    """``image`` in OpenCV's order of channels."""
    path.write_bytes(cv2.imencode(extension, image)[1].tobytes())
    return path


def test_colour_is_rgb(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    read = read_image(write(tmp_path / "a.png", image[..., ::-1]))
    np.testing.assert_array_equal(read, image)
    assert read.dtype == np.uint8


def test_grey_has_three_equal_channels(tmp_path):
    image = np.arange(35, dtype=np.uint8).reshape(7, 5)
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", image)), np.repeat(image[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    image = np.full((4, 4, 3), 200 * 257, np.uint16)
    np.testing.assert_array_equal(read_image(write(tmp_path / "a.png", image)), np.full((4, 4, 3), 200))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparency_is_laid_over_white(tmp_path, dtype):
    largest = np.iinfo(dtype).max
    image = np.zeros((1, 3, 4), dtype)
    image[0, :, 3] = 0, largest // 2, largest
    read = read_image(write(tmp_path / "a.png", image))
    assert read[0, :, 0].tolist() == pytest.approx([255, 128, 0], abs=1)


def exif_orientation(value):
    """An APP1 segment with one entry, the orientation (Exif 2.3, 4.6.2)."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, value, 0, 0)
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    ("value", "turn"), [(1, lambda i: i), (3, lambda i: i[::-1, ::-1]), (6, lambda i: np.rot90(i, -1))]
)
def test_exif_orientation_is_respected(tmp_path, value, turn):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24] = 255
    encoded = cv2.imencode(".jpg", image)[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded[:2] + exif_orientation(value) + encoded[2:])
    np.testing.assert_allclose(read_image(path), turn(image), atol=40)


@pytest.mark.parametrize("content", [b"", b"not an image\n", b"\x89PNG\r\n\x1a\n"])
def test_bad_files_are_named(tmp_path, content):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"bad\.png"):
        read_image(path)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(MediaError, match="no such file"):
        read_image(tmp_path / "a.png")
    with pytest.raises(MediaError, match="folder"):
        read_image(tmp_path)
