"""The label-paired set: voices of RAVDESS, each beside a face of FER2013 that shows the same emotion."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import to_common
from pyemo.errors import DataError
from pyemo_datasets.fer2013 import LICENCE as FACES_LICENCE
from pyemo_datasets.fer2013 import Fer2013
from pyemo_datasets.ravdess import LICENCE as VOICES_LICENCE
from pyemo_datasets.ravdess import Ravdess

SPLITS = ("train", "validation", "test")
_TEST_SHARE, _VALIDATION_SHARE = 1 / 4, 1 / 6
_LEAST = 3  # actors of a sex: one for each split


class LabelPaired:
    """A stand-in for an audio-visual set where none can be had, to compare ways of fusing two real signals with one label.

    **It is not RAVDESS audio-video.** Nobody in it is seen and heard at once: each spoken utterance of RAVDESS gets a face of somebody else,
    drawn from those of FER2013 that were given the same label. Given the label, face and voice are independent of one another, which those of
    a real clip are not; so the gain from fusing them is larger here than in a clip, and what depends on their being in step cannot be seen.

    - Rows: the 1,440 spoken performances, each with one face. Labels are the common seven; calm counts as neutral, so of an actor's 60 rows
      12 are neutral and 8 of every other label.
    - Splits: of the men and of the women a quarter, at random, are for the test and a sixth for validation (of all 24 actors 14, 4 and 6;
      rows 840, 240 and 360). Faces of a split are those of FER2013's split of the same name. FER2013 does not say who is on its images, so
      nothing more can be promised of them than its own splits do.
    - No face comes twice, neither within a split nor (by its pixels; FER2013 repeats images) in two of them. Only where a label has fewer
      faces than utterances are some used again, which ``Manifest.problems`` tells; with the complete sets there is no need.
      Images that FER2013 has under different labels are left out.

    ``read(root)``: the folder of RAVDESS, as for ``ravdess``. The table has RAVDESS's further columns; ``subject`` is the actor.

    Args:
        faces: FER2013, as for ``fer2013``.
        seed: of the actors' splits and of the pairs; the same seed and files give the same rows.

    Raises:
        DataError: ``faces`` is not given.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, faces: str = "", seed: int = 0) -> None:
        if not faces:
            raise DataError("label-paired needs the folder of FER2013 too: faces=FOLDER")
        self._faces = Path(faces)
        self._seed = seed

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if either set cannot be read, has too few actors, or lacks the faces of a label."""
        voices = to_common(Ravdess(modality="audio", channel="speech").read(root))
        faces = _read_faces(self._faces)
        if faces.images is None:
            raise DataError(f"{self._faces}: FER2013 without its images")
        random = np.random.default_rng(self._seed)
        split_of = _split_actors(voices.table, random)
        table = voices.table.assign(split=voices.table["subject"].map(split_of))
        drawer = _Drawer(faces, random)
        chosen = np.empty(len(table), np.int64)
        # The test first: where an image is in two of FER2013's splits, training has more to choose from.
        for split in reversed(SPLITS):
            for label in voices.labels:
                rows = np.flatnonzero((table["split"] == split) & (table["label"] == label))
                chosen[rows] = drawer.draw(split, label, len(rows))
        table = table.assign(voice=table["path"], path=faces.table["path"].to_numpy()[chosen], cropped=True)
        return Manifest(
            table,
            voices.labels,
            faces.images[chosen],
            (*voices.problems, *faces.problems, *drawer.problems),
            f"voices: {VOICES_LICENCE}; faces: {FACES_LICENCE}",
            ("face", "voice"),
        )


@lru_cache(maxsize=1)
def _read_faces(root: Path) -> Manifest:
    """FER2013's 36,000 files are read once for several seeds."""
    return Fer2013().read(root)


def _split_actors(table: pd.DataFrame, random: np.random.Generator) -> dict[str, str]:
    """Actor -> split, men and women in the same shares."""
    found = {}
    for sex in ("male", "female"):
        actors = sorted(set(table.loc[table["sex"] == sex, "subject"]))
        if len(actors) < _LEAST:
            raise DataError(
                f"label-paired needs {_LEAST} men and {_LEAST} women of RAVDESS at least, got {len(actors)} {sex}"
            )
        order = random.permutation(actors).tolist()
        test = max(1, round(_TEST_SHARE * len(order)))
        validation = max(1, round(_VALIDATION_SHARE * len(order)))
        for position, actor in enumerate(order):
            found[actor] = "test" if position < test else "validation" if position < test + validation else "train"
    return found


class _Drawer:
    """Hands out faces, each content once as long as there are enough."""

    def __init__(self, faces: Manifest, random: np.random.Generator) -> None:
        assert faces.images is not None
        flat = faces.images.reshape(len(faces.images), -1)
        # One number for each distinct image.
        self._contents = np.unique(flat, axis=0, return_inverse=True)[1].ravel()
        self._table = faces.table
        self._random = random
        self._used: set[int] = set()
        labels = pd.Series(faces.table["label"].to_numpy()).groupby(self._contents).nunique()
        self._ambiguous = set(labels.index[labels > 1].tolist())
        self.problems: list[str] = []
        if count := int(np.isin(self._contents, list(self._ambiguous)).sum()):
            self.problems.append(f"{count} images that FER2013 has under different labels were left out")

    def draw(self, split: str, label: str, count: int) -> np.ndarray:
        """(count,) positions in FER2013's table."""
        mine = np.flatnonzero((self._table["split"] == split) & (self._table["label"] == label))
        fresh: list[int] = []
        for position in self._random.permutation(mine).tolist():
            content = int(self._contents[position])
            if len(fresh) < count and content not in self._used and content not in self._ambiguous:
                self._used.add(content)
                fresh.append(position)
        if count and not fresh:
            raise DataError(f"FER2013 has no face left for {count} utterances: split {split}, label {label}")
        if len(fresh) < count:
            self.problems.append(f"split {split}, label {label}: {count} utterances share {len(fresh)} faces")
        return np.resize(np.array(fresh, np.int64), count)
