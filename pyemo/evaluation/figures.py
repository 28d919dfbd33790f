"""Figures, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure


def confusion_figure(
    counts: np.ndarray, labels: Sequence[str], title: str, *, kind: Literal["both", "counts", "shares"] = "both"
) -> Figure:
    """Confusion matrix: colour is the share of the true class (row), the text its count, its per cent (row-normalised), or both.

    ``counts`` (classes, classes), rows are the truth. A class without samples has an empty row.
    """
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = 1.2 + 0.85 * len(labels)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        colour = "black" if shares[row, column] > 0.55 else "white"
        words = {"counts": f"{counts[row, column]}", "shares": f"{shares[row, column]:.0%}"}
        text = "\n".join(words.values()) if kind == "both" else words[kind]
        axes.text(column, row, text if totals[row, 0] else "–", ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, label="share of the true class")
    return figure
