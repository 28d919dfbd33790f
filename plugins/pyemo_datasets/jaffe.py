"""JAFFE (Lyons et al., Face and Gesture 1998): ten Japanese women, seven expressions, 213 grey images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, table

LICENCE = "JAFFE: non-commercial scientific research, with citation"

_NAME = re.compile(r"([A-Z]{2})\.([A-Z]{2})(\d*)\.(\d+)")


class Jaffe:
    """Reads images named ``KA.AN1.39.tiff`` (woman, expression and its number, number of the image) anywhere below the root.

    Expressions: AN angry, DI disgust, FE fear, HA happy, NE neutral, SA sad, SU surprise. Known from the data set's description and public
    code, not from its files.
    """

    contract_version: ClassVar[int] = 1

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if no image below ``root`` has such a name."""
        rows, problems = [], []
        names = TAXONOMIES["jaffe"].names
        for path in (path for path in media(root) if kind(path) == "image"):
            match = _NAME.fullmatch(path.stem)
            if match is None or match[2] not in names:
                problems.append(f"{path}: not a name of JAFFE (KA.AN1.39: woman, expression, number); left out")
            else:
                rows.append({"path": str(path), "label": names[match[2]], "subject": match[1]})
        if not rows:
            raise DataError(f"{root}: no image of JAFFE; expected names such as KA.AN1.39.tiff")
        return Manifest(table(rows), TAXONOMIES["jaffe"].labels, problems=tuple(problems), licence=LICENCE)
