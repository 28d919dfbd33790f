"""Face crops on disk: JPEG images one after another in a safetensors file, any of which can be read without the others.

Why safetensors: it is read by mapping the few pages that are asked for, without code of ours and without pickle; an ``.npz`` would be
unpacked whole for each access, and a file an image would waste a disk block and an inode each.

A file holds ``images`` (all JPEG files joined, uint8, zeros at the end so that the length is a multiple of 8), ``offsets`` (n + 1, int64,
where each begins), ``frame_numbers`` (n, int32) and ``times`` (n, float64, seconds). The images of one row of a manifest stand together,
in order of time; small rows share a file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open

from pyemo.errors import DataError
from pyemo.files import written_whole

QUALITY = 95
"""Of JPEG: about 46 dB and 14 kB for a colour crop of 224x224 from a video."""

_BUFFER = 1 << 20  # bytes copied at a time


def encode_face(crop: np.ndarray) -> bytes:
    """uint8 RGB (S, S, 3) or grey (S, S) -> a JPEG file."""
    if crop.ndim == 3:
        crop = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return bytes(encoded)


def decode_face(encoded: np.ndarray, channels: int) -> np.ndarray:
    """A JPEG file (uint8) -> RGB (S, S, 3) or, for ``channels`` 1, grey (S, S, 1); ValueError if it is none."""
    image = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("this is no JPEG image")
    return image[..., None] if channels == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class FaceIndex:
    """Where the images of a file are, and which frames they show."""

    offsets: np.ndarray
    """(n + 1,) int64."""
    frame_numbers: np.ndarray
    """(n,) int32."""
    times: np.ndarray
    """(n,) float64, seconds."""


def write_faces(path: Path, index: FaceIndex, parts: Sequence[tuple[IO[bytes], int, int]]) -> None:
    """Writes the images, which are taken from ``parts``: (open file, position, bytes); at most a buffer of them is in memory.

    Raises:
        PyemoError: the file cannot be written.
    """
    size = int(index.offsets[-1])
    padding = -size % 8  # keeps the numbers behind it aligned
    arrays = {
        "offsets": index.offsets.astype("<i8"),
        "times": index.times.astype("<f8"),
        "frame_numbers": index.frame_numbers.astype("<i4"),
    }
    kinds = {"offsets": "I64", "times": "F64", "frame_numbers": "I32"}
    header = {"images": {"dtype": "U8", "shape": [size + padding], "data_offsets": [0, size + padding]}}
    end = size + padding
    for name, array in arrays.items():
        header[name] = {
            "dtype": kinds[name],
            "shape": list(array.shape),
            "data_offsets": [end, end + array.nbytes],
        }
        end += array.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for source, position, length in parts:
            source.seek(position)
            _copy(source, file, length)
        file.write(bytes(padding))
        for array in arrays.values():
            file.write(array.tobytes())


def _copy(source: IO[bytes], target: IO[bytes], length: int) -> None:
    while length:
        block = source.read(min(length, _BUFFER))
        target.write(block)
        length -= len(block)


def read_index(path: Path) -> FaceIndex:
    """Raises :class:`~pyemo.errors.DataError` if there is no such file or it is damaged."""
    try:
        with safe_open(path, "numpy") as file:
            return FaceIndex(*(file.get_tensor(name) for name in ("offsets", "frame_numbers", "times")))
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def read_faces(path: Path, index: FaceIndex, positions: np.ndarray, channels: int, size: int) -> np.ndarray:
    """Decodes the images at ``positions`` (T,), in ascending order -> (T, size, size, channels) uint8.

    Raises:
        DataError: the file is not there any more, or damaged.
    """
    crops = np.empty((len(positions), size, size, channels), np.uint8)
    if not len(positions):
        return crops
    start = index.offsets[positions[0]]
    try:
        with safe_open(path, "numpy") as file:
            images = file.get_slice("images")[int(start) : int(index.offsets[positions[-1] + 1])]
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error
    for crop, position in zip(crops, positions, strict=True):
        first, last = index.offsets[position : position + 2] - start
        try:
            crop[...] = decode_face(images[first:last], channels)
        except (cv2.error, ValueError) as error:
            raise damaged(path, error) from error
    return crops


def damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: this cached file cannot be read ({error}); delete it and run `pyemo prepare` again")
