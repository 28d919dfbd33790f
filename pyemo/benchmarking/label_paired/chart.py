"""A figure of the study."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pyemo.palette import SEQUENCE

_STYLES = list(zip(SEQUENCE[:2], "os", strict=True))  # the shapes tell them apart in black and white


def chart(runs: pd.DataFrame, conditions: Sequence[str], methods: Sequence[str], title: str) -> Figure:
    """Accuracy of each method: a small mark a seed, a large one at the mean with the sample deviation; a colour a condition."""
    shown = [method for method in methods if (runs["method"] == method).any()]
    figure = Figure(figsize=(8, 1.6 + 0.45 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    step = 0.6 / len(conditions)
    for number, condition in enumerate(conditions):
        colour, shape = _STYLES[number % len(_STYLES)]
        for place, method in enumerate(shown):
            own = 100 * runs.loc[(runs["condition"] == condition) & (runs["method"] == method), "accuracy"].to_numpy()
            if not len(own):
                continue
            height = place + (number - (len(conditions) - 1) / 2) * step
            axes.plot(own, np.full(len(own), height), shape, color=colour, markersize=3, alpha=0.5, linestyle="none")
            spread = own.std(ddof=1) if len(own) > 1 else 0.0
            axes.errorbar(own.mean(), height, xerr=spread, fmt=shape, color=colour, markersize=7, capsize=3)
        axes.plot([], [], shape, color=colour, label=condition)
    axes.set_yticks(range(len(shown)), shown)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlabel("accuracy on the test actors (%); bars: sample deviation over seeds")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
    return figure
