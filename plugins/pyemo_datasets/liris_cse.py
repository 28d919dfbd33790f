"""LIRIS-CSE (Khan et al., Image and Vision Computing 2019): spontaneous expressions of twelve children."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES, in_order
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, table

LICENCE = "LIRIS-CSE: non-commercial research, on request from the authors"

_NAME = re.compile(r"(S\d+)_([a-z]+(?:[_-][a-z]+)*)(?:_(\d+))?", re.IGNORECASE)


class LirisCse:
    """Reads clips named ``S1_happy_1.mp4`` (child, label, number; the number may be missing) anywhere below the root, the published
    ``videos_208`` for instance, and folders of images that are called so (with or without the clip's extension).

    Labels are fear, disgust, happy, sad, surprise and angry, and, as published, others (``confusing``, mixtures): those keep their own
    word as their label, so that nothing is lost; ``labels=common`` leaves them out.

    The names are known from the public code of two papers on the data set (one of them recipe ``mmvt``'s), not from its files.
    """

    contract_version: ClassVar[int] = 1

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if no clip below ``root`` has such a name."""
        rows, problems = [], []
        seen: dict[Path, None] = {}
        for path in media(root):
            if kind(path) == "audio":
                problems.append(f"{path}: a sound, expected a video; left out")
            else:
                seen[path.parent if kind(path) == "image" else path] = None
        for path in seen:
            match = _NAME.fullmatch(re.sub(r"\.\w+$", "", path.name))
            if match is None:
                problems.append(f"{path}: not a name of LIRIS-CSE (S1_happy_1: child, label, number); left out")
                continue
            label = TAXONOMIES["liris-cse"].name(match[2]) or match[2].lower()
            rows.append({"path": str(path), "label": label, "subject": match[1].upper()})
        if not rows:
            raise DataError(f"{root}: no clip of LIRIS-CSE; expected videos such as S1_happy_1.mp4")
        return Manifest(
            table(rows), in_order({str(row["label"]) for row in rows}), problems=tuple(problems), licence=LICENCE
        )
