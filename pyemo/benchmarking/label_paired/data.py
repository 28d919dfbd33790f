"""The label-paired rows of several seeds, decoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.preparation import Listener, prepare
from pyemo.data.prepared import FaceFrames, PreparedData
from pyemo.data.sources import read_data
from pyemo.errors import DataError

SIZE, SAMPLE_RATE = 48, 16000


class InMemory(PreparedData):
    """Prepared data that keeps what it has decoded; several selections of it share what they keep."""

    def __init__(self, data: PreparedData, kept: dict[object, np.ndarray] | None = None) -> None:
        super().__init__(data.folder, data.manifest, data.settings)
        self._kept: dict[object, np.ndarray] = {} if kept is None else kept

    def select(self, rows: Sequence[int] | np.ndarray) -> InMemory:
        return InMemory(super().select(rows), self._kept)

    def voice(self, row: int, first: int = 0, last: int | None = None) -> np.ndarray:
        key = self._voice_files[row]
        if key not in self._kept:
            self._kept[key] = super().voice(row)
        return self._kept[key][first:last]

    def faces_at(self, row: int, positions: Sequence[int] | np.ndarray) -> FaceFrames:
        key = self._face_files[row], int(self._face_first[row])
        if key not in self._kept:
            self._kept[key] = super().faces_at(row, np.arange(self.face_count(row))).crops
        return FaceFrames(
            self._kept[key][positions], self.frame_numbers(row)[positions], self.frame_times(row)[positions]
        )


def open_label_paired(
    voices: Path, faces: Path, seeds: Sequence[int], folder: Path, *, listener: Listener | None = None
) -> dict[int, InMemory]:
    """The rows of each seed.

    Args:
        voices: the folder of RAVDESS.
        faces: that of FER2013.
        seeds: of the data set ``label-paired``.
        folder: where sounds and faces are kept, prepared; those of all seeds together, so that a sound is decoded once.
        listener: told about the progress of preparation.

    Raises:
        DataError: a set cannot be read, or one of its files is damaged.
    """
    manifests = [read_data(f"label-paired:{voices}", faces=str(faces), seed=seed)[1] for seed in seeds]
    lengths = np.cumsum([0, *(len(manifest.table) for manifest in manifests)])
    done = prepare(
        _joined(manifests),
        folder,
        data="label-paired",
        size=SIZE,
        channels=1,
        sample_rate=SAMPLE_RATE,
        listener=listener,
    )
    if done.failures:
        raise DataError(
            f"{len(done.failures)} rows cannot be read, and a comparison needs all of them: {done.failures[0].message}"
        )
    together = InMemory(done.data)
    return {seed: together.select(np.arange(lengths[number], lengths[number + 1])) for number, seed in enumerate(seeds)}


def _joined(manifests: Sequence[Manifest]) -> Manifest:
    """The rows of all, one seed after the other."""
    tables = [manifest.table for manifest in manifests]
    images = [manifest.images for manifest in manifests if manifest.images is not None]
    return replace(manifests[0], table=pd.concat(tables, ignore_index=True), images=np.concatenate(images))
