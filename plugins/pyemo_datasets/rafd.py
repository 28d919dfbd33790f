"""RaFD, the Radboud Faces Database (Langner et al., Cognition and Emotion 2010): 67 models, eight expressions, five cameras, three gazes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, one_of, table

LICENCE = "RaFD: non-commercial scientific research by the licensee"
ANGLES = (0, 45, 90, 135, 180)
GAZES = ("left", "frontal", "right")

_NAME = re.compile(r"Rafd(\d{3})_(\d+)_([A-Za-z]+)_(male|female)_([a-z]+)_(left|frontal|right)")


class Rafd:
    """Reads images named ``Rafd090_01_Caucasian_female_angry_frontal.jpg`` (camera, model, group, sex, expression, gaze) anywhere below the
    root.

    The camera's angle is 0, 45, 90 (from the front), 135 or 180 degrees. Known from the data set's own questions and answers as public code
    quotes them, not from its files.

    Args:
        angles: which cameras; None: all.
        gaze: ``left``, ``frontal`` or ``right``; None: all.

    The table has the further columns ``angle``, ``group`` (Caucasian, Moroccan, Kid), ``sex`` and ``gaze``.

    Raises:
        DataError: an option is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, angles: int | Sequence[int] | None = None, gaze: str | None = None) -> None:
        self._angles = ANGLES if angles is None else (angles,) if isinstance(angles, int) else tuple(angles)
        self._gazes = GAZES if gaze is None else (gaze,)
        if gaze is not None:
            one_of("gaze", gaze, GAZES)
        if not self._angles or not set(self._angles) <= set(ANGLES):
            raise DataError(f"angles={angles!r}: expected some of {', '.join(map(str, ANGLES))}")

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if no image below ``root`` has such a name, angle and gaze."""
        rows, problems = [], []
        names = TAXONOMIES["rafd"].names
        for path in (path for path in media(root) if kind(path) == "image"):
            match = _NAME.fullmatch(path.stem)
            if match is None or match[5] not in names or int(match[1]) not in ANGLES:
                problems.append(
                    f"{path}: not a name of RaFD (Rafd090_01_Caucasian_female_angry_frontal: camera, model, group, sex, expression, gaze); left out"
                )
            elif int(match[1]) in self._angles and match[6] in self._gazes:
                angle, model, group, sex, word, gaze = match.groups()
                rows.append(
                    {
                        "path": str(path),
                        "label": names[word],
                        "subject": model,
                        "angle": int(angle),
                        "group": group,
                        "sex": sex,
                        "gaze": gaze,
                    }
                )
        if not rows:
            raise DataError(
                f"{root}: no image of RaFD with these angles and this gaze; expected Rafd090_01_Caucasian_female_angry_frontal.jpg"
            )
        return Manifest(table(rows), TAXONOMIES["rafd"].labels, problems=tuple(problems), licence=LICENCE)
