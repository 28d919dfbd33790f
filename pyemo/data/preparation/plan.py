"""What there is to do: one item a row and modality, each with a key that changes when its result would."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pyemo.contracts import Manifest
from pyemo.data.prepared import PreparedSettings
from pyemo.errors import MediaError
from pyemo.media import kind

Modality = Literal["face", "voice"]
_VERSION = {"face": 1, "voice": 1}
"""Raised when the same file and settings would give another result than before."""
_IMAGES_TOGETHER = 256
_FACE_SETTINGS = ("size", "channels", "detector", "detector_options", "every", "frame_rate")
_VOICE_SETTINGS = ("sample_rate",)


@dataclass(frozen=True)
class Item:
    """The crops or the sound of a row."""

    modality: Modality
    path: Path
    key: str
    start: float = -math.inf
    end: float = math.inf
    """Seconds of the file."""
    cropped: bool = False
    """Whether the whole image is the face."""
    numbered: bool = False
    """Whether the names of a folder's images tell the numbers of the frames, if ``numbers`` does not."""
    numbers: np.ndarray | None = field(default=None, compare=False)
    """(images,), from 0: the numbers of the frames that a folder's images show."""
    sound: Path | None = None
    """The file with the sound of a folder of images."""
    image: np.ndarray | None = field(default=None, compare=False)
    """The decoded image, where the data set has it: (H, W) or (H, W, 3) uint8."""

    @property
    def whole(self) -> bool:
        """Whether it is the whole file."""
        return math.isinf(self.start) and math.isinf(self.end)

    @property
    def name(self) -> str:
        """Of its file, without the extension."""
        return self.key[:20]


@dataclass(frozen=True)
class Job:
    """Items that one worker does together: the parts of one file, or a number of images."""

    items: tuple[Item, ...]
    images: bool = False

    @property
    def path(self) -> Path:
        return self.items[0].path


class Plan:
    """The items of a manifest and the jobs they make."""

    def __init__(self, manifest: Manifest, settings: PreparedSettings) -> None:
        self._manifest = manifest
        self._settings = settings
        self._identities: dict[Path, dict[str, Any]] = {}

    @cached_property
    def items(self) -> list[dict[str, Item]]:
        """For each row its items by modality. Rows with the same content share a key."""
        table = self._manifest.table
        columns = {
            name: table[name].tolist() if name in table else [None] * len(table)
            for name in ("path", "start", "end", "voice", "frame_labels", "frame_numbers", "cropped")
        }
        rows = []
        for row, values in enumerate(zip(*columns.values(), strict=True)):
            of_row = dict(zip(columns, values, strict=True))
            makers = {"face": self._face, "voice": self._voice}
            rows.append({modality: makers[modality](row, of_row) for modality in self._settings.modalities})
        return rows

    def _face(self, row: int, of_row: dict[str, Any]) -> Item:
        path = Path(of_row["path"])
        images = self._manifest.images
        image = images[row] if images is not None else None
        # Data sets hand over decoded images only where these are faces already.
        cropped = self._settings.already_cropped or of_row["cropped"] in (True,) or image is not None
        numbers = None
        if path.is_dir() and isinstance(of_row["frame_numbers"], np.ndarray):
            numbers = of_row["frame_numbers"].astype(np.int64) - 1
        # Labels of frames belong to the images in their order, whatever these are called.
        numbered = path.is_dir() and cropped and not isinstance(of_row["frame_labels"], np.ndarray)
        sound = Path(of_row["voice"]) if path.is_dir() and _given(of_row["voice"]) else None
        part = _part(of_row)
        content = {
            "settings": {name: asdict(self._settings)[name] for name in _FACE_SETTINGS},
            "part": part,
            "cropped": cropped,
            "numbered": numbered,
            "numbers": None if numbers is None else _checksum(numbers),
            "input": _pixels(image) if image is not None else self._identity(path),
            "sound": self._identity(sound) if sound else None,
        }
        return Item("face", path, _key("face", content), *part, cropped, numbered, numbers, sound, image)

    def _voice(self, row: int, of_row: dict[str, Any]) -> Item:
        path = Path(of_row["voice"] if _given(of_row["voice"]) else of_row["path"])
        part = _part(of_row)
        content = {
            "settings": {name: asdict(self._settings)[name] for name in _VOICE_SETTINGS},
            "part": part,
            "input": self._identity(path),
        }
        return Item("voice", path, _key("voice", content), *part)

    def _identity(self, path: Path) -> dict[str, Any]:
        """Changes when a file, or a folder of images, changes."""
        if path not in self._identities:
            files = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []
            states = [file.stat() for file in files]
            self._identities[path] = {
                "path": str(path.resolve()),
                "files": len(files),
                "bytes": sum(state.st_size for state in states),
                "modified_ns": max((state.st_mtime_ns for state in states), default=0),
            }
        return self._identities[path]

    def jobs(self, done: Iterable[str]) -> list[Job]:
        """The jobs for all items but those with the keys ``done``, in the order of the rows."""
        seen = set(done)
        by_file: dict[tuple[Modality, Path], list[Item]] = {}
        images: list[Item] = []
        ordered: list[Job | tuple[Modality, Path]] = []
        for of_row in self.items:
            for item in of_row.values():
                if item.key in seen:
                    continue
                seen.add(item.key)
                if item.modality == "face" and _is_image(item):
                    images.append(item)
                    if len(images) == _IMAGES_TOGETHER:
                        ordered.append(Job(tuple(images), images=True))
                        images = []
                    continue
                file = item.modality, item.path
                if file not in by_file:
                    by_file[file] = []
                    ordered.append(file)
                by_file[file].append(item)
        if images:
            ordered.append(Job(tuple(images), images=True))
        return [entry if isinstance(entry, Job) else Job(tuple(by_file[entry])) for entry in ordered]


def passes(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Groups of items in order of time, none of which overlap: the parts of one file that one pass through it gives."""
    groups: list[list[Item]] = []
    for item in sorted(items, key=lambda item: (item.start, item.end)):
        for group in groups:
            if group[-1].end <= item.start:
                group.append(item)
                break
        else:
            groups.append([item])
    return iter(groups)


def _part(of_row: dict[str, Any]) -> tuple[float, float]:
    start, end = of_row["start"], of_row["end"]
    return (
        -math.inf if start is None or math.isnan(start) else float(start),
        math.inf if end is None or math.isnan(end) else float(end),
    )


def _given(value: object) -> bool:
    return isinstance(value, (str, Path)) and bool(str(value))


def _is_image(item: Item) -> bool:
    if item.image is not None or item.path.is_dir():
        return item.image is not None
    try:
        return kind(item.path) == "image"
    except MediaError:
        return False


def _pixels(image: np.ndarray) -> dict[str, Any]:
    return {"shape": image.shape, "sha256": _checksum(image)}


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _key(modality: Modality, content: dict[str, Any]) -> str:
    text = json.dumps({"version": _VERSION[modality], **content}, sort_keys=True, default=str)
    return hashlib.sha256(f"{modality} {text}".encode()).hexdigest()
