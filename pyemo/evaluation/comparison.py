"""Several models beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pyemo.errors import DataError
from pyemo.evaluation.measures import MACRO, WEIGHTED, Measures
from pyemo.evaluation.style import plain
from pyemo.palette import SEQUENCE

_COLUMNS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "specificity", "auc")
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")


def comparison_table(results: Mapping[str, Measures]) -> pd.DataFrame:
    """A row each model: ``samples``, accuracy, balanced accuracy, and the macro means of the measures of one class against the rest, each
    with its interval (``_low``, ``_high``).

    Raises:
        DataError: no models, or models that tell different classes apart.
    """
    if not results:
        raise DataError("nothing to compare: no results")
    classes = {measures.labels for measures in results.values()}
    if len(classes) > 1:
        raise DataError(
            f"models of different classes cannot be compared: {'; '.join(', '.join(own) for own in classes)}"
        )
    rows = {}
    for name, measures in results.items():
        row: dict[str, float] = {"samples": measures.samples}
        for column in _COLUMNS:
            if column in measures.overall.index:
                found = measures.overall.loc[column, ["value", "low", "high"]].tolist()
            else:
                found = measures.classes.loc[MACRO, [column, f"{column}_low", f"{column}_high"]].tolist()
            row |= dict(zip((column, f"{column}_low", f"{column}_high"), found, strict=True))
        rows[name] = row
    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="model")).astype({"samples": np.int64})


@dataclass(frozen=True)
class FrozenAndFineTuned:
    """One architecture, its backbone once frozen, once trained with the rest."""

    frozen: Measures
    fine_tuned: Measures


def frozen_table(pairs: Mapping[str, FrozenAndFineTuned]) -> pd.DataFrame:
    """A row each backbone: accuracy, balanced accuracy and macro F1, ``_frozen`` and ``_fine_tuned``, and the ``_gain``.

    Raises:
        DataError: no backbones, or models that tell different classes apart.
    """
    every = {f"{name} {kind}": getattr(pair, kind) for name, pair in pairs.items() for kind in ("frozen", "fine_tuned")}
    table = comparison_table(every)
    rows = []
    for name in pairs:
        frozen, tuned = table.loc[f"{name} frozen"], table.loc[f"{name} fine_tuned"]
        row = {}
        for column in ("accuracy", "balanced_accuracy", "f1"):
            row[f"{column}_frozen"], row[f"{column}_fine_tuned"] = frozen[column], tuned[column]
            row[f"{column}_gain"] = tuned[column] - frozen[column]
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(pairs, name="backbone"))


def markdown(table: pd.DataFrame) -> str:
    """A comparison as a table of Markdown; a value with its interval is written ``71.6 % (70.1 to 73.0)``."""
    shown = [column for column in table if not str(column).endswith(("_low", "_high"))]
    lines = [[str(table.index.name), *(str(column).replace("_", " ") for column in shown)]]
    for name, row in table.iterrows():
        lines.append([str(name), *(_cell(row, str(column)) for column in shown)])
    written = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(lines[0]), *written[1:]]) + "\n"


def _cell(row: pd.Series, column: str) -> str:
    value = row[column]
    if column == "samples":
        return f"{int(value):,}"
    if np.isnan(value):
        return "–"
    text = f"{100 * value:+.2f}" if column.endswith("_gain") else f"{100 * value:.2f} %"
    low, high = row.get(f"{column}_low", np.nan), row.get(f"{column}_high", np.nan)
    return text if np.isnan(low) else f"{text} ({100 * low:.2f} to {100 * high:.2f})"


def bars_figure(results: Mapping[str, Measures], measure: str, title: str = "") -> Figure:
    """``recall``, ``precision`` or another measure of each class, macro and weighted mean, a bar a model, with its interval.

    Raises:
        DataError: no models, or models that tell different classes apart.
    """
    comparison_table(results)
    some = next(iter(results.values()))
    names = [*some.labels, MACRO, WEIGHTED]
    width = 0.8 / len(results)
    figure = Figure(figsize=(max(6.0, 0.35 * len(names) * (len(results) + 1.5)), 4.2), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    axes.grid(axis="x", visible=False)
    for number, (name, measures) in enumerate(results.items()):
        own = measures.classes.loc[names]
        value = own[measure].to_numpy()
        at = np.arange(len(names)) + (number - (len(results) - 1) / 2) * width
        axes.bar(
            at,
            np.nan_to_num(value),
            width,
            label=name,
            color=SEQUENCE[number % len(SEQUENCE)],
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            linewidth=0.5,
        )
        reach = np.clip([value - own[f"{measure}_low"], own[f"{measure}_high"] - value], 0, None)
        known = np.isfinite(reach).all(axis=0)
        axes.errorbar(at[known], value[known], reach[:, known], fmt="none", ecolor="#444444", elinewidth=0.9, capsize=2)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.axvline(len(some.labels) - 0.5, color="#888888", linewidth=0.8)
    axes.set(ylim=(0, 1.02), ylabel=measure.replace("_", " "))
    axes.set_title(title, fontsize=9)
    if len(results) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(results), 4), frameon=False, fontsize=9)
    return figure
