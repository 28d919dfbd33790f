"""CK+ (Lucey et al., CVPR Workshops 2010): 593 sequences of 123 people, each from a neutral face to the peak of an expression."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.pixels import read_pixels
from pyemo_datasets.rows import media, one_of, some, table

LICENCE = "CK+: non-commercial research under the distributor's agreement"
LABELS = TAXONOMIES["ck-plus"].labels
"""In the order of the numbers in ``*_emotion.txt``."""
CSV = "ckextended.csv"
_CSV_LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt")

_IMAGE = re.compile(r"(S\d{3})_(\d{3})_(\d{8})")
_EMOTION = re.compile(r"(S\d{3})_(\d{3})_(\d{8})_emotion\.txt")

_Sequence = tuple[str, str]  # subject, number


class CkPlus:
    """Reads three forms of the data set, wherever below the root they are:

    - the published one: ``cohn-kanade-images/S005/001/S005_001_00000011.png`` and ``Emotion/S005/001/S005_001_00000011_emotion.txt`` (a number:
      0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happy, 6 sadness, 7 surprise; only 327 of the 593 sequences have one);
    - faces of 48x48 pixels in a folder a class, ``happy/S010_006_00000015.png``: the last three images of each labelled sequence;
    - ``ckextended.csv`` (``emotion,pixels,Usage``; 0 anger, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral, 7 contempt), which does
      not say who is in an image: no subjects.

    The first is known from the README of the distribution (both quoted in public), the others from the descriptions of their copies;
    no file of theirs was at hand.

    Args:
        frames: ``peak``: the last ``peaks`` images of a labelled sequence, a row each; ``sequence``: all its images as one clip (published form).
        peaks: 3 gives the 981 images that the 48x48 form has.
        neutral: also the first image of each labelled sequence, as neutral (published form; with ``frames="peak"``).

    The published form has the further column ``neutral``, the path of the sequence's first image, and ``sequence``, its number.

    Raises:
        DataError: an option is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, frames: str = "peak", peaks: int = 3, neutral: bool = False) -> None:
        one_of("frames", frames, ("peak", "sequence"))
        if peaks < 1:
            raise DataError(f"peaks={peaks}: expected 1 or more")
        self._frames, self._peaks, self._neutral = frames, peaks, neutral

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if ``root`` has none of the forms, or not what ``frames`` asks for."""
        csv = root if root.suffix == ".csv" else root / CSV
        if csv.is_file():
            return self._read_csv(csv)
        sequences, strangers = _sequences(root)
        emotions = {
            (match[1], match[2]): (path, int(match[3]))
            for path in sorted(root.rglob("*_emotion.txt"))
            if (match := _EMOTION.fullmatch(path.name))
        }
        problems = [
            f"{path}: not a name of CK+ (S005_001_00000011: person, sequence, image); left out" for path in strangers
        ]
        read = self._read_published if emotions else self._read_folders
        rows = read(sequences, emotions, problems)
        if not rows:
            raise DataError(
                f"{root}: no labelled image of CK+; expected cohn-kanade-images/ with Emotion/, a folder a class with images such as "
                f"S010_006_00000015.png, or {CSV}"
            )
        return Manifest(table(rows), LABELS, problems=tuple(problems), licence=LICENCE)

    def _read_published(
        self, sequences: dict[_Sequence, list[Path]], emotions: dict[_Sequence, tuple[Path, int]], problems: list[str]
    ) -> list[dict[str, Any]]:
        rows = []
        unlabelled = sorted("_".join(sequence) for sequence in sequences if sequence not in emotions)
        if unlabelled:
            problems.append(f"{len(unlabelled)} sequences without an emotion, left out: {some(unlabelled)}")
        for sequence, (path, frame) in sorted(emotions.items()):
            images = sequences.get(sequence)
            label = _emotion(path)
            if images is None:
                problems.append(f"{path}: no images of this sequence; left out")
            elif label is None:
                problems.append(f"{path}: expected a number from 0 to {len(LABELS) - 1}; left out")
            elif int(images[-1].stem[-8:]) < frame:
                problems.append(f"{path}: its images end before image {frame}, whose expression it names; left out")
            else:
                common = {"label": label, "subject": sequence[0], "sequence": sequence[1], "neutral": str(images[0])}
                if self._frames == "sequence":
                    rows.append({"path": str(images[0].parent)} | common)
                else:
                    # The neutral first image is never counted as a peak, however short the sequence.
                    rows += [{"path": str(image)} | common for image in images[1:][-self._peaks :]]
                    if self._neutral:
                        rows.append({"path": str(images[0])} | common | {"label": "neutral"})
        return rows

    def _read_folders(
        self, sequences: dict[_Sequence, list[Path]], _: dict[_Sequence, tuple[Path, int]], problems: list[str]
    ) -> list[dict[str, Any]]:
        if self._frames == "sequence" or self._neutral:
            raise DataError(
                "CK+: whole sequences and neutral first images need the published form, with Emotion/**/*_emotion.txt"
            )
        rows = []
        for (subject, number), images in sorted(sequences.items()):
            for image in images[-self._peaks :]:
                label = TAXONOMIES["ck-plus"].name(image.parent.name)
                if label is None:
                    problems.append(
                        f"{image}: its folder is not called after one of {', '.join(TAXONOMIES['ck-plus'].names)}; left out"
                    )
                else:
                    rows.append({"path": str(image), "label": label, "subject": subject, "sequence": number})
        return rows

    def _read_csv(self, path: Path) -> Manifest:
        if self._frames == "sequence":
            raise DataError(f"{path}: single images, no sequences")
        pixels = read_pixels(path, len(_CSV_LABELS))
        rows = [
            {"path": f"{path}#{row}", "label": _CSV_LABELS[emotion], "split": split}
            for row, emotion, split in zip(pixels.rows, pixels.emotions, pixels.splits, strict=True)
        ]
        return Manifest(table(rows), LABELS, pixels.images, tuple(pixels.problems), LICENCE)


def _sequences(root: Path) -> tuple[dict[_Sequence, list[Path]], list[Path]]:
    """The images of each sequence in order, and the images with other names."""
    found: dict[_Sequence, list[Path]] = defaultdict(list)
    strangers = []
    for path in media(root):
        match = _IMAGE.fullmatch(path.stem)
        if match is not None and kind(path) == "image":
            found[match[1], match[2]].append(path)
        else:
            strangers.append(path)
    return {sequence: sorted(images, key=lambda path: path.stem) for sequence, images in found.items()}, strangers


def _emotion(path: Path) -> str | None:
    try:
        return LABELS[{float(number): number for number in range(len(LABELS))}[float(path.read_text())]]
    except (ValueError, KeyError):
        return None
