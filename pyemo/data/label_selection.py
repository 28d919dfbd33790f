"""Data sets that have labels a recipe does not know."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pyemo.contracts import Manifest
from pyemo.errors import DataError


def leave_out_other_labels(manifest: Manifest, labels: Sequence[str]) -> Manifest:
    """Without the rows that have a label which is not among ``labels``; frames with such a one count as not labelled.

    Each of them gets a line in ``problems`` with the number of its rows or frames.

    Raises:
        DataError: nothing is left.
    """
    table = manifest.table
    rows = Counter(label for label in table["label"] if isinstance(label, str) and label not in labels)
    keep = np.array([not (isinstance(label, str) and label not in labels) for label in table["label"]], bool)
    frames: Counter[str] = Counter()
    if "frame_labels" in table:
        foreign = np.array([label not in labels for label in manifest.labels] + [False])
        changed: list[np.ndarray | None] = []
        for of_row in table["frame_labels"]:
            if of_row is None:
                changed.append(None)
                continue
            old = np.asarray(of_row)
            frames.update(manifest.labels[position] for position in old[foreign[old]].tolist())
            changed.append(np.where(foreign[old], np.int16(-1), old))
        table = table.assign(frame_labels=pd.Series(changed, index=table.index, dtype=object))
    if not keep.any():
        raise DataError(f"no row has one of the recipe's labels ({', '.join(labels)}); there are {', '.join(rows)}")
    problems = [
        f"label {label!r}: {count} {unit} left out (not one of the recipe's)"
        for of, unit in ((rows, "rows"), (frames, "frames"))
        for label, count in of.items()
    ]
    return dataclasses.replace(
        manifest,
        table=table[keep].reset_index(drop=True),
        images=None if manifest.images is None else manifest.images[keep],
        problems=(*manifest.problems, *problems),
    )
