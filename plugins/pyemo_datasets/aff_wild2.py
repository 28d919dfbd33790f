"""Aff-Wild2 (Kollias & Zafeiriou 2019; the ABAW challenges): videos from the web with an expression label for each frame."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo_datasets.rows import some, table

LICENCE = "Aff-Wild2 end user licence: non-commercial research by the signatory's group"
LABELS = TAXONOMIES["aff-wild2"].labels

_SPLITS = {"train_set": "train", "validation_set": "validation"}
_SOUNDS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv", ".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg")
_PERSON = re.compile(r"(.+)_(left|right)")
_FRAME = re.compile(r"(\d+)\.(?:jpe?g|png)", re.IGNORECASE)


class AffWild2:
    """Reads ``EXPR_*/Train_Set/<video>.txt`` and ``EXPR_*/Validation_Set/<video>.txt`` with ``cropped_aligned/<video>/00001.jpg`` and, for the
    sound, the original videos (or sounds) in any other folder below the root (``batch1``, ``batch2`` ...).

    An annotation has a line with the names of the classes, then one number a frame of the video, -1 where it has no label. Frame n (from 1)
    is ``<n>.jpg``; frames in which no face was found have no image. A row is one such folder of images: ``frame_labels`` has an entry for each
    image that is there, and the column ``frame_numbers`` (int32, from 1) says which frame of the video each is, so that pictures and
    sound can be kept in step. The images are faces already: the column ``cropped`` is true, and `pyemo prepare` detects none. What the
    annotation and the images do not have in common is counted in ``problems``.

    ``<video>_left`` and ``<video>_right`` are two people in one video. They share its sound and its scene, so both have the video's name as
    their subject (column ``person``: left, right or None); who appears in several videos is not published.

    The layout is known from the descriptions of the challenges and from public code of their participants (third to sixth challenge, eight
    classes; the first two have seven and no ``other``), not from the files, which are given out under a signed agreement.
    """

    contract_version: ClassVar[int] = 1

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if there are no annotations or no images of annotated videos."""
        if not root.is_dir():
            raise DataError(f"{root} is not a folder")
        tree = _search(root)
        if not tree.annotations:
            raise DataError(f"{root}: no EXPR_*/Train_Set/*.txt or EXPR_*/Validation_Set/*.txt in it")
        rows: list[dict[str, Any]] = []
        problems = tree.problems
        for name, (path, split) in sorted(tree.annotations.items()):
            folder = tree.images.get(name)
            if folder is None:
                problems.append(f"{path}: no folder of images cropped_aligned/{name}; left out")
                continue
            try:
                labels, notes = _read_annotation(path)
                numbers = _frames(folder)
            except DataError as error:
                problems.append(f"{error}; left out")
                continue
            aligned, more = _align(name, labels, numbers)
            problems += notes + more
            person = _PERSON.fullmatch(name)
            video = person[1] if person else name
            sound = tree.sounds.get(video)
            rows.append(
                {
                    "path": str(folder),
                    "label": None,
                    "subject": video,
                    "split": split,
                    "voice": None if sound is None else str(sound),
                    "frame_labels": aligned,
                    "frame_numbers": numbers,
                    "cropped": True,
                    "person": person[2] if person else None,
                }
            )
        if not rows:
            raise DataError(f"{root}: no annotated video has images; {some(problems, 3)}")
        problems += _of_two_people(rows) + _without_sound(rows)
        return Manifest(
            table(rows),
            LABELS,
            problems=tuple(problems),
            licence=LICENCE,
            modalities=("face", "voice") if any(row["voice"] for row in rows) else ("face",),
        )


@dataclass
class _Tree:
    annotations: dict[str, tuple[Path, str]] = field(default_factory=dict)
    images: dict[str, Path] = field(default_factory=dict)
    sounds: dict[str, Path] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def _search(root: Path) -> _Tree:
    """Looks at the names of files once, and not into the folders of images, which hold millions."""
    tree = _Tree()
    for place, folders, files in os.walk(root):
        folder = Path(place)
        folders.sort()
        for name in [name for name in folders if name.lower().startswith("cropped")]:
            folders.remove(name)
            if name.lower().startswith("cropped_aligned"):
                for entry in sorted(os.scandir(folder / name), key=lambda entry: entry.name):
                    if entry.is_dir():
                        tree.images.setdefault(entry.name, Path(entry.path))
        split = _SPLITS.get(folder.name.lower()) if folder.parent.name.upper().startswith("EXPR") else None
        for name in sorted(files):
            path = folder / name
            if split is not None and path.suffix == ".txt":
                first, _ = tree.annotations.setdefault(path.stem, (path, split))
                if first != path:
                    tree.problems.append(f"{path}: {path.stem} is annotated in {first} already; left out")
            elif path.suffix.lower() in _SOUNDS:
                tree.sounds.setdefault(path.stem, path)
    return tree


def _read_annotation(path: Path) -> tuple[np.ndarray, list[str]]:
    """(frames,) int16 positions in :data:`LABELS`, -1 without a label; and problems."""
    header, *lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines() or [""]
    names = [TAXONOMIES["aff-wild2"].name(word) for word in header.split(",")]
    if None in names or len(names) < 2:
        raise DataError(
            f"{path}: expected a line with the names of the classes (Neutral,Anger,...), got {header[:60]!r}"
        )
    try:
        values = np.array(lines, dtype=object).astype(int)
    except ValueError:
        values = np.array([int(line) if re.fullmatch(r"\s*-?\d+\s*", line) else -2 for line in lines])
    bad = (values < -1) | (values >= len(names))
    problems = []
    if bad.any():
        problems.append(
            f"{path}: {bad.sum()} frames whose label is not -1 to {len(names) - 1} (the first in line "
            f"{int(bad.argmax()) + 2}: {lines[int(bad.argmax())][:20]!r}) count as not labelled"
        )
    positions = np.array([LABELS.index(name) for name in names if name is not None] + [-1], np.int16)
    return positions[np.where(bad, -1, values)], problems


def _frames(folder: Path) -> np.ndarray:
    """The numbers of the frames that have an image, ascending, (images,) int32."""
    numbers, others = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _FRAME.fullmatch(entry.name)
            if match is not None:
                numbers.append(int(match[1]))
            elif not entry.name.startswith("."):
                others.append(entry.name)
    if not numbers:
        raise DataError(f"{folder}: no images named by their frame, such as 00001.jpg")
    if others:  # they would shift the images against their labels
        raise DataError(f"{folder}: files that are not images named by their frame: {some(sorted(others))}")
    if min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise DataError(f"{folder}: frames are counted from 1 and have one image each")
    return np.array(sorted(numbers), np.int32)


def _align(name: str, labels: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The label of each image, (images,) int16; and problems."""
    inside = numbers <= len(labels)
    aligned = np.full(len(numbers), -1, np.int16)
    aligned[inside] = labels[numbers[inside] - 1]
    problems = []
    beyond = int((labels[numbers[-1] :] >= 0).sum())
    without = int((labels >= 0).sum() - (aligned >= 0).sum()) - beyond
    if beyond:
        problems.append(
            f"{name}: {len(labels)} frames are annotated, the last image is that of frame {numbers[-1]}: {beyond} labels beyond it are left out"
        )
    if without:
        problems.append(
            f"{name}: {without} labels are of frames without an image (no face found there) and are left out"
        )
    if not inside.all():
        problems.append(
            f"{name}: {len(labels)} frames are annotated, the last image is that of frame {numbers[-1]}: the {int((~inside).sum())} images "
            "beyond the annotation have no label"
        )
    return aligned, problems


def _of_two_people(rows: list[dict[str, Any]]) -> list[str]:
    people: dict[str, list[str]] = {}
    for row in rows:
        people.setdefault(row["subject"], []).append(Path(row["path"]).name)
    return [
        f"{video}: {' and '.join(names)} share one video and its sound; they count as one subject"
        for video, names in people.items()
        if names != [video]
    ]


def _without_sound(rows: list[dict[str, Any]]) -> list[str]:
    silent = sorted({row["subject"] for row in rows if row["voice"] is None})
    return [f"{len(silent)} videos without a file for their sound: {some(silent)}"] if silent else []
