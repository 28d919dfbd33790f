"""``pyemo compare NAME=PREDICTIONS ...``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyemo.evaluation.measures import Measures

_FROZEN, _TUNED = ":frozen", ":fine-tuned"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Put evaluations beside each other: a table of accuracy, balanced accuracy, precision, recall, F1, specificity and AUC with their "
        "intervals, and bars of recall and precision. If models are called NAME:frozen and NAME:fine-tuned, a second table has what "
        "fine-tuning gains. DIR gets comparison.csv and .md, frozen-against-fine-tuned.csv and .md, recall and precision (PNG, SVG)."
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="NAME=FILE",
        help="a model's name and the predictions.csv of its evaluation or cross-validation, or the folder that has one",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for tables and figures")


def run(arguments: argparse.Namespace) -> int:
    from pyemo.evaluation.comparison import (
        FrozenAndFineTuned,
        bars_figure,
        comparison_table,
        frozen_table,
        markdown,
    )
    from pyemo.evaluation.style import save_figure
    from pyemo.files import check_writable, written_whole

    if arguments.out:
        check_writable(arguments.out)
    results = dict(_measured(pair) for pair in arguments.results)
    tables = {"comparison": comparison_table(results)}
    backbones = [
        name.removesuffix(_FROZEN)
        for name in results
        if name.endswith(_FROZEN) and name.removesuffix(_FROZEN) + _TUNED in results
    ]
    if backbones:
        pairs = {name: FrozenAndFineTuned(results[name + _FROZEN], results[name + _TUNED]) for name in backbones}
        tables["frozen-against-fine-tuned"] = frozen_table(pairs)
    for table in tables.values():
        print(markdown(table))
    print("\n".join(f"{name}: {measures.note()}" for name, measures in results.items()))
    if arguments.out:
        for stem, table in tables.items():
            with written_whole(arguments.out / f"{stem}.csv") as path:
                table.to_csv(path)
            with written_whole(arguments.out / f"{stem}.md") as path:
                path.write_text(markdown(table), encoding="utf-8")
        for measure in ("recall", "precision"):
            save_figure(bars_figure(results, measure, f"{measure} with 95% intervals"), arguments.out, measure)
        print(f"written: {arguments.out}")
    return 0


def _measured(pair: str) -> tuple[str, Measures]:
    from pyemo.errors import ConfigError, DataError
    from pyemo.evaluation.measures import measure
    from pyemo.evaluation.predictions import read_predictions

    name, equals, place = pair.partition("=")
    if not equals or not name:
        raise ConfigError(f"{pair!r}: expected NAME=FILE")
    path = Path(place)
    if path.is_dir():
        found = sorted(path.glob("*predictions.csv"))
        if len(found) != 1:
            raise DataError(f"{path}: expected one file *predictions.csv, there are {len(found)}; name the file")
        path = found[0]
    table = read_predictions(path)
    labels = list(table.columns[table.columns.get_loc("prediction") + 1 :])  # type: ignore[operator]
    foreign = set(table["label"]) - set(labels)
    if foreign:
        raise DataError(f"{path}: the label {min(map(str, foreign))!r} has no column of probabilities")
    truth = table["label"].map({label: number for number, label in enumerate(labels)}).to_numpy()
    return name, measure(truth, table[labels].to_numpy(), labels, table["subject"].to_numpy())
