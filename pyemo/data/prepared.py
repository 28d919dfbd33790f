"""Reading what ``pyemo prepare`` has written: face crops and waveforms of a data set, each in a fraction of the time of decoding it.

A prepared folder holds

- ``prepared.yaml``: :class:`PreparedSettings`, the data set's name, labels, folds, licence and problems;
- ``table.parquet``: the rows of the data set's manifest with the columns of :data:`COLUMNS` added;
- ``voice/*.flac``: 16-bit mono sound, a file a row;
- ``face/*.safetensors``: JPEG crops (:mod:`pyemo.data.face_files`);
- ``journal.jsonl``: what is done, so that an interrupted preparation goes on, and ``errors.csv`` if rows failed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile
import yaml

from pyemo.contracts import Manifest
from pyemo.data.face_files import FaceIndex, damaged, read_faces, read_index
from pyemo.errors import DataError

SETTINGS, TABLE, VOICE, FACE = "prepared.yaml", "table.parquet", "voice", "face"
FORMAT = 1
"""Of the folder; raised when an older pyemo could not read it."""

COLUMNS = {
    "face_file": "file with the row's crops, relative to the folder; None: it has none",
    "face_first": "position of the first of them in that file",
    "face_count": "how many crops there are",
    "source_frames": "how many frames the row has, with and without a face",
    "other_faces": "how many other people were tracked, or found in the image, and left out",
    "voice_file": "file with the row's sound, relative to the folder; None: it has none",
    "voice_samples": "its length in samples",
    "problem": "what is wrong with the row, in words, or None",
}
"""Columns that preparation adds to a manifest's table; a data set's own columns of these names are replaced."""

_INDICES_KEPT = 256


@dataclass(frozen=True)
class PreparedSettings:
    """How a data set was prepared."""

    data: str
    """Name of the data set plug-in."""
    modalities: tuple[str, ...] = ("face", "voice")
    size: int = 224
    """Side of a crop in pixels."""
    channels: int = 3
    """1 for grey, 3 for RGB."""
    detector: str = "dlib"
    detector_options: Mapping[str, Any] = field(default_factory=dict)
    every: int = 8
    """The detector looked at every so-manieth frame at least."""
    frame_rate: float | None = None
    """Most crops a second; None: every frame's."""
    sample_rate: int = 16000
    """Of the sound, Hz."""
    already_cropped: bool = False
    """Whether each whole image is a face, with no face detection."""


class FaceFrames(NamedTuple):
    """Crops of one person's face and where in the row they belong."""

    crops: np.ndarray
    """uint8 (T, size, size, channels)."""
    frame_numbers: np.ndarray
    """int32 (T,): the frame's number in the row's clip, from 0; strictly ascending, frames without a face are absent. Labels of the frames:
    :meth:`PreparedData.frame_labels`."""
    times: np.ndarray
    """float64 (T,): seconds from the start of the row; sample ``time * sample_rate`` of its sound belongs to it."""


class PreparedData:
    """Crops and sound of the rows of a prepared manifest, decoded when asked for.

    ``row`` is a position in ``manifest.table``, from 0. Nothing is kept open, so an instance may be handed to the workers of a
    ``DataLoader`` (forked or spawned) and used by several threads; in memory it holds the table and the indices of the last 256 files.

    Args:
        folder: the prepared folder.
        manifest: its manifest or a part of it; ``table`` has the columns :data:`COLUMNS`.
        settings: how it was prepared.
    """

    def __init__(self, folder: Path, manifest: Manifest, settings: PreparedSettings) -> None:
        self.folder = folder
        self.manifest = manifest
        self.settings = settings
        table = manifest.table
        self._paths = table["path"].tolist()
        self._problems = table["problem"].tolist()
        self._face_files = table["face_file"].tolist()
        self._face_first = table["face_first"].to_numpy()
        self._face_count = table["face_count"].to_numpy()
        self._voice_files = table["voice_file"].tolist()
        self._voice_samples = table["voice_samples"].to_numpy()
        self._indices: OrderedDict[str, FaceIndex] = OrderedDict()

    def __len__(self) -> int:
        """The number of rows, usable or not."""
        return len(self._paths)

    def usable(self, modality: str) -> np.ndarray:
        """(rows,) bool: which rows have a ``"face"`` or a ``"voice"``."""
        files = {"face": self._face_files, "voice": self._voice_files}[modality]
        return np.array([file is not None for file in files], bool)

    def select(self, rows: Sequence[int] | np.ndarray) -> PreparedData:
        """Some of the rows, renumbered from 0 in the order given; ``rows`` are positions or a boolean mask."""
        table = self.manifest.table.iloc[np.asarray(rows)].reset_index(drop=True)
        return PreparedData(self.folder, replace(self.manifest, table=table), self.settings)

    def voice_length(self, row: int) -> int:
        """Samples of the row's sound, 0 if it has none."""
        return int(self._voice_samples[row])

    def voice(self, row: int, first: int = 0, last: int | None = None) -> np.ndarray:
        """Samples ``first`` to ``last`` (exclusive; None: the end) of the row's sound: int16 (T,), mono, at ``settings.sample_rate``.

        Raises:
            DataError: the row has no sound, its file is damaged, or the samples asked for are not all there.
        """
        file = self._file(row, "voice", self._voice_files)
        length = self.voice_length(row)
        last = length if last is None else last
        self._check(row, first, last, length, "samples")
        path = self.folder / file
        try:
            samples, _ = soundfile.read(path, last - first, first, dtype="int16")
        except (OSError, soundfile.LibsndfileError) as error:
            raise damaged(path, error) from error
        if len(samples) != last - first:
            raise damaged(path, EOFError(f"it ends after {first + len(samples)} samples"))
        return samples

    def face_count(self, row: int) -> int:
        """Crops of the row, 0 if it has none."""
        return int(self._face_count[row])

    def frame_numbers(self, row: int) -> np.ndarray:
        """All of the row, as in :class:`FaceFrames`; no image is decoded."""
        return self._part(row)[0].frame_numbers[self._span(row)]

    def frame_times(self, row: int) -> np.ndarray:
        """All of the row, as in :class:`FaceFrames`; no image is decoded."""
        return self._part(row)[0].times[self._span(row)]

    def frame_labels(self, row: int) -> np.ndarray:
        """int16 (crops,): for each crop the position of its label in ``manifest.labels``, -1 where its frame has none.

        Raises:
            DataError: the row has no crops, or the data set no labels of frames.
        """
        table = self.manifest.table
        labels = table["frame_labels"].iloc[row] if "frame_labels" in table else None
        if labels is None:
            raise DataError(f"row {row} ({self._paths[row]}) has no labels of its frames")
        numbers = self.frame_numbers(row)
        own = table["frame_numbers"].iloc[row] if "frame_numbers" in table else None
        if own is not None:  # the data set's, from 1: not every frame of the clip has an image, and so a label
            numbers = np.searchsorted(own, numbers + 1)
        found = np.full(len(numbers), -1, np.int16)
        within = numbers < len(labels)
        found[within] = labels[numbers[within]]
        return found

    def faces(self, row: int, first: int = 0, last: int | None = None) -> FaceFrames:
        """Crops ``first`` to ``last`` (exclusive; None: the end) of the row. They are counted by crops, not by frames: see ``frame_numbers``.

        Raises:
            DataError: the row has no crops, their file is damaged, or those asked for are not all there.
        """
        last = self.face_count(row) if last is None else last
        return self.faces_at(row, np.arange(first, last))

    def faces_at(self, row: int, positions: Sequence[int] | np.ndarray) -> FaceFrames:
        """The crops at ``positions`` (T,), ascending; only these are decoded. Errors as for :meth:`faces`."""
        index, path = self._part(row)
        chosen = np.asarray(positions, np.int64)
        if len(chosen):
            if (np.diff(chosen) < 0).any():
                raise DataError(f"positions of crops must ascend, got {chosen.tolist()}")
            self._check(row, int(chosen[0]), int(chosen[-1]) + 1, self.face_count(row), "crops")
        chosen = chosen + self._face_first[row]
        crops = read_faces(path, index, chosen, self.settings.channels, self.settings.size)
        return FaceFrames(crops, index.frame_numbers[chosen], index.times[chosen])

    def _part(self, row: int) -> tuple[FaceIndex, Path]:
        file = self._file(row, "face", self._face_files)
        index = self._indices.pop(file, None)
        if index is None:
            index = read_index(self.folder / file)
        self._indices[file] = index
        while len(self._indices) > _INDICES_KEPT:
            self._indices.popitem(last=False)
        return index, self.folder / file

    def _span(self, row: int) -> slice:
        first = int(self._face_first[row])
        return slice(first, first + self.face_count(row))

    def _file(self, row: int, modality: str, files: list[str | None]) -> str:
        file = files[row]
        if file is None:
            why = self._problems[row] or f"prepared for {', '.join(self.settings.modalities)} only"
            raise DataError(f"row {row} ({self._paths[row]}) has no {modality}: {why}")
        return file

    def _check(self, row: int, first: int, last: int, length: int, what: str) -> None:
        if not 0 <= first <= last <= length:
            raise DataError(
                f"row {row} ({self._paths[row]}) has the {what} 0 to {length}, those from {first} to {last} were asked for"
            )


def open_prepared(folder: str | Path) -> PreparedData:
    """Opens a folder that :func:`pyemo.data.preparation.prepare` has written, also one whose preparation was interrupted: the rows that are
    not done have no face and no sound then, and their ``problem`` says so.

    Raises:
        DataError: it is no prepared folder, a newer pyemo wrote it, or one of its files is damaged.
    """
    folder = Path(folder)
    try:
        content = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        table = pd.read_parquet(folder / TABLE)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: not prepared, or preparation was cut off at once: there is no {Path(error.filename).name}; run `pyemo prepare`"
        ) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{folder}: its {SETTINGS} or {TABLE} cannot be read ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(
            f"{folder / SETTINGS}: expected `format: {FORMAT}`; another version of pyemo wrote it, prepare again"
        )
    given = content["settings"]
    settings = PreparedSettings(
        **{entry.name: given[entry.name] for entry in fields(PreparedSettings) if entry.name != "modalities"},
        modalities=tuple(given["modalities"]),
    )
    folds = {name: tuple(tuple(fold) for fold in fold_list) for name, fold_list in content["folds"].items()}
    table = _as_manifests_have_it(table)
    manifest = Manifest(
        table,
        tuple(content["labels"]),
        problems=(*content["problems"], *_problems(table)),
        licence=content["licence"],
        modalities=settings.modalities,
        folds=folds,
    )
    return PreparedData(folder, manifest, settings)


def _as_manifests_have_it(table: pd.DataFrame) -> pd.DataFrame:
    """Text and arrays as objects, None where there is none."""
    for name in table.columns:
        if not (pd.api.types.is_numeric_dtype(table[name]) or pd.api.types.is_datetime64_any_dtype(table[name])):
            values = table[name].astype(object)
            table[name] = values.where(values.notna(), None)
    return table


def _problems(table: pd.DataFrame) -> list[str]:
    marked = table[table["problem"].notna()]
    return [f"row {row}, {path}: {problem}" for row, path, problem in marked[["path", "problem"]].itertuples()]
