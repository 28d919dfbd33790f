"""A chart of measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pyemo.benchmarking.summary import Measurement
from pyemo.palette import SEQUENCE

# The shapes tell them apart in black and white.
_BASELINES = list(zip(SEQUENCE[:6], "s^vD<>", strict=True))
_OURS = [("#000000", "o"), ("#000000", "*")]


def chart(measurements: Sequence[Measurement], title: str) -> Figure:
    """Medians on a logarithmic axis, a panel for each op, dtype and number of threads, a line for each case; a bar is the floor."""
    panels: dict[tuple[str, str, int], dict[str, list[Measurement]]] = {}
    for one in measurements:
        panels.setdefault((one.op, one.dtype, one.threads), {}).setdefault(one.case, []).append(one)
    several = len({threads for _, _, threads in panels}) > 1
    heights = [1.2 + 0.3 * len(cases) for cases in panels.values()]
    figure = Figure(figsize=(9, 1.4 + sum(heights)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    styles = _styles(measurements)
    for panel, ((op, dtype, threads), cases) in zip(axes, panels.items(), strict=True):
        _draw(panel, cases, styles)
        panel.set_title(f"{op}, {dtype}" + (f", threads: {threads}" if several else ""), fontsize=10, loc="left")
    axes[-1].set_xlabel("median time (ms)")
    handles = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        handles.values(),
        handles.keys(),
        title=title,
        alignment="left",
        loc="outside upper left",
        ncols=4,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    return figure


def _styles(measurements: Sequence[Measurement]) -> dict[str, tuple[str, str]]:
    """Colour and shape of each implementation."""
    names = sorted({one.implementation for one in measurements})
    ours = [name for name in names if any(one.ours for one in measurements if one.implementation == name)]
    baselines = [name for name in names if name not in ours]
    return {
        name: styles[number % len(styles)]
        for group, styles in ((ours, _OURS), (baselines, _BASELINES))
        for number, name in enumerate(group)
    }


def _draw(panel: Axes, cases: dict[str, list[Measurement]], styles: dict[str, tuple[str, str]]) -> None:
    for line, rows in enumerate(cases.values()):
        for row in rows:
            colour, shape = styles[row.implementation]
            filled = colour if row.ours else "white"
            panel.plot(
                1e3 * row.median,
                line,
                shape,
                label=row.implementation,
                color=colour,
                markerfacecolor=filled,
                markersize=8,
                linestyle="none",
            )
        if rows[0].floor is not None:
            panel.plot(1e3 * rows[0].floor, line, "|", label="floor", color="#666666", markersize=16, linestyle="none")
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter("{x:g}")
    panel.xaxis.set_minor_formatter(NullFormatter())
    low, high = panel.get_xlim()
    panel.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))  # both ends have a number
    panel.set_yticks(range(len(cases)), list(cases), fontsize=8)
    panel.set_ylim(len(cases) - 0.5, -0.5)
    panel.grid(axis="x", which="both", color="#DDDDDD", linewidth=0.5)
    panel.set_axisbelow(True)
