"""What a classifier's decisions are worth, on the terminal and in its card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.table import format_table

if TYPE_CHECKING:
    import pandas as pd

    from pyemo.evaluation.measures import Measures


def measure_lines(measures: Measures) -> list[str]:
    """The measures as text."""
    from pyemo.evaluation.measures import BY_CLASS

    def cell(row: pd.Series, name: str) -> str:
        value, low, high = (row[name + suffix] for suffix in ("", "_low", "_high"))
        return "–" if value != value else f"{value:.3f} ({low:.3f} to {high:.3f})"

    rows = [
        [str(name), f"{row['support']:.0f}", *(cell(row, column) for column in BY_CLASS)]
        for name, row in measures.classes.iterrows()
    ]
    spans = [
        f"{str(name).replace('_', ' ')} {row['low']:.2%} to {row['high']:.2%}"
        for name, row in measures.overall.iterrows()
    ]
    table = format_table(["class", "samples", *BY_CLASS], rows).splitlines()
    return [*table, f"{', '.join(spans)}; {measures.note()}."]


def add_to_card(folder: Path, figures: Sequence[str], command: str) -> None:
    """Append a section with the figures and the command to the card of a model folder."""
    from pyemo.files import written_whole
    from pyemo.weights.store import CARD

    path = folder / CARD
    card = path.read_text(encoding="utf-8") if path.is_file() else ""
    section = "\n".join(
        ["## Measured afterwards", "", *(f"- {figure}" for figure in figures), "", f"      {command}", ""]
    )
    with written_whole(path) as temporary:
        temporary.write_text(f"{card.rstrip()}\n\n{section}", encoding="utf-8")
    print(f"added to {path}")
