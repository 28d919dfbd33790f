"""How figures look and where they go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyemo.files import written_whole
from pyemo.palette import line_colours

FORMATS = ("png", "svg")
_DPI = 200  # of PNG; print wants about 300 at column width, which these figures are twice as wide as
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")


def save_figure(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write ``<stem>.png`` and ``<stem>.svg``, each whole; text in the SVG stays text.

    Raises:
        PyemoError: a file cannot be written.
    """
    written = []
    for ending in FORMATS:
        path = folder / f"{stem}.{ending}"
        # A salt of its own keeps the SVG's identifiers, and no date its bytes, the same from run to run.
        with written_whole(path) as temporary, rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyemo"}):
            figure.savefig(temporary, dpi=_DPI, metadata={"Date": None} if ending == "svg" else None)
        written.append(path)
    return written


def class_styles(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Line style of each class: a colour, and for black-and-white print a dash."""
    colours = line_colours(labels)
    return {
        label: {"color": colours[label], "linestyle": _DASHES[number % len(_DASHES)], "linewidth": 1.6}
        for number, label in enumerate(labels)
    }


def class_markers(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and shape of each class's points."""
    colours = line_colours(labels)
    return {
        label: {"color": colours[label], "marker": _MARKERS[number % len(_MARKERS)]}
        for number, label in enumerate(labels)
    }


def plain(axes: Axes) -> None:
    """No frame but the two axes, a light grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
