"""Attention maps over the faces they belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pyemo.errors import DataError


def attention_figure(faces: np.ndarray, maps: np.ndarray, captions: Sequence[str], title: str = "") -> Figure:
    """Each face twice, plain and with its map.

    Args:
        faces: (N, H, W) or (N, H, W, 3) uint8.
        maps: (N, h, w) from 0 to 1, stretched over the face.
        captions: one for each.

    Raises:
        DataError: no faces, or lengths that differ.
    """
    if not len(faces) or not len(faces) == len(maps) == len(captions):
        raise DataError(
            f"expected as many faces as maps and captions, got {len(faces)}, {len(maps)} and {len(captions)}"
        )
    columns = min(len(faces), 4)
    lines = -(-len(faces) // columns)
    figure = Figure(figsize=(2.5 * columns + 0.6, 1.65 * lines + 0.5), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    shown = None
    for panel in panels:
        panel.set_axis_off()
    for panel, face, heat, caption in zip(panels, faces, maps, captions, strict=False):
        extents = ((0, 1, 0, 1), (1.04, 2.04, 0, 1))
        grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if face.ndim == 2 else {}
        for extent in extents:
            panel.imshow(face, extent=extent, aspect="equal", **grey)
        shown = panel.imshow(heat, extent=extents[1], cmap="cividis", vmin=0, vmax=1, alpha=0.62, aspect="equal")
        panel.set(xlim=(0, 2.04), ylim=(0, 1))
        panel.set_title(caption, fontsize=8)
    assert shown is not None
    figure.colorbar(shown, ax=panels.tolist(), shrink=0.8, label="attention, from least to most")
    figure.suptitle(title, fontsize=10)
    return figure
