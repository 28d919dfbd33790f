"""``pyemo bench label-paired``."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyemo.cli.table import format_table

if TYPE_CHECKING:
    import pandas as pd

    from pyemo.benchmarking.label_paired.runs import Run
    from pyemo.benchmarking.label_paired.summary import Difference, Line, Spread
    from pyemo.config import ClassifierRecipe

TITLE = "label-paired: RAVDESS voices beside FER2013 faces of the same emotion (not RAVDESS audio-video)"


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "label-paired",
        "Trains single modalities and fusions on voices of RAVDESS, each beside a face of FER2013 with the same label, with actors of their "
        "own for the test, once a seed. It is not RAVDESS audio-video. results.csv gets a row a run; runs that are done are kept, so that the "
        "same command goes on.",
    )
    group.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of the recipe, for instance training.epochs=5"
    )
    group.add_argument("--ravdess", type=Path, metavar="DIR", help="RAVDESS's speech, as the data set ravdess reads it")
    group.add_argument("--faces", type=Path, metavar="DIR", help="FER2013, as the data set fer2013 reads it")
    group.add_argument("--seeds", type=_numbers, default=[0, 1, 2, 3, 4], metavar="N,N", help="default: 0,1,2,3,4")
    group.add_argument("--methods", type=_names, metavar="M,M", help="default: all ten")
    group.add_argument("--conditions", type=_names, metavar="C,C", help="default: clean,wrong-30")
    group.add_argument("--prepared", type=Path, metavar="DIR", help="faces and sounds (default: prepared/ in --out)")
    group.add_argument("--device", default="cpu", choices=["auto", "cpu", "cuda"], help="default: cpu")


def run(arguments: argparse.Namespace, out: Path) -> int:
    from pyemo.benchmarking.label_paired.methods import CONDITIONS, METHODS, base_recipe, chosen, with_needs
    from pyemo.benchmarking.label_paired.runs import plan
    from pyemo.errors import ConfigError

    if arguments.ravdess is None or arguments.faces is None:
        raise ConfigError("label-paired needs both data sets: --ravdess DIR --faces DIR")
    base = base_recipe(arguments.overrides)
    conditions = chosen(arguments.conditions or list(CONDITIONS), CONDITIONS, "condition")
    methods = with_needs(chosen(arguments.methods or list(METHODS), METHODS, "method"))
    runs = plan(arguments.seeds, conditions, methods)
    status = 0
    try:
        _do(runs, base, arguments, out)
    except KeyboardInterrupt:
        print(f"pyemo: interrupted; the same command with --out {out} goes on where it stopped", file=sys.stderr)
        status = 130
    lines = _write(runs, base, conditions, methods, out)
    print(lines)
    print(f"written: {out}")
    return status


def _do(runs: list[Run], base: ClassifierRecipe, arguments: argparse.Namespace, out: Path) -> None:
    from pyemo.benchmarking.label_paired.data import open_label_paired
    from pyemo.benchmarking.label_paired.runs import do, results
    from pyemo.cli.progress import preparation_progress

    # The machine's own folders do not belong into a card that others read.
    words = ["pyemo", "bench", "label-paired", "--ravdess", "RAVDESS", "--faces", "FER2013", *arguments.overrides]
    with preparation_progress() as listener:
        data = open_label_paired(
            arguments.ravdess,
            arguments.faces,
            arguments.seeds,
            arguments.prepared or out / "prepared",
            listener=listener,
        )
    for problem in dict.fromkeys(problem for rows in data.values() for problem in rows.manifest.problems):
        print(f"pyemo: note: {problem}", file=sys.stderr)
    for number, one in enumerate(runs, start=1):
        own = ["--seeds", str(one.seed), "--methods", one.method, "--conditions", one.condition]
        fresh = do(one, base, data[one.seed], out, command=shlex.join([*words, *own]), device=arguments.device)
        row = results([one], out).iloc[0]
        print(
            f"{number}/{len(runs)}  seed {one.seed}  {one.condition}  {one.method}: accuracy {row['accuracy']:.2%}, "
            + (f"{row['seconds']:.0f} s" if fresh else "done before"),
            flush=True,
        )
        if fresh:
            _save_rows(results(runs, out), out)


def _save_rows(table: pd.DataFrame, out: Path) -> None:
    from pyemo.files import written_whole

    with written_whole(out / "results.csv") as path:
        table.to_csv(path, index=False)


def _write(runs: list[Run], base: ClassifierRecipe, conditions: list[str], methods: list[str], out: Path) -> str:
    """``results.csv``, ``results.json`` and ``chart.png`` of the runs that are done; the table as text."""
    from pyemo.benchmarking.label_paired.chart import chart
    from pyemo.benchmarking.label_paired.methods import REFERENCE
    from pyemo.benchmarking.label_paired.runs import results
    from pyemo.benchmarking.label_paired.summary import summarise
    from pyemo.benchmarking.machine import describe
    from pyemo.files import written_whole

    table = results(runs, out)
    if table.empty:
        return "no run is done yet"
    _save_rows(table, out)
    lines = summarise(table, conditions, methods)
    machine = describe()
    document: dict[str, Any] = {
        "benchmark": TITLE,
        "machine": machine,
        "threads": _threads(),
        "reference": REFERENCE,
        "runs_planned": len(runs),
        "runs_done": len(table),
        "training_hours": float(table.loc[table["method"].ne("face") | table["condition"].eq("clean"), "seconds"].sum())
        / 3600,
        "recipe": base.model_dump(mode="json"),
        "methods": [asdict(line) for line in lines],
        "runs": table.to_dict("records"),
    }
    with written_whole(out / "results.json") as path:
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    figure = chart(table, conditions, methods, TITLE)
    with written_whole(out / "chart.png") as path:
        figure.savefig(path, dpi=150)
    head = [
        TITLE,
        f"{machine['cpu']}, threads: {document['threads']}; {len(table)} of {len(runs)} runs, {document['training_hours']:.2f} hours of training",
    ]
    return "\n".join([*head, "", _table(lines)])


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _table(lines: list[Line]) -> str:
    from pyemo.benchmarking.label_paired.methods import REFERENCE

    head = ["condition", "method", "seeds", "accuracy %", "UAR %", "macro F1 %"]
    head += [f"- {REFERENCE} (95 % interval)", "p", "p (Holm)", "- clean", "s a training"]
    rows = [
        [
            line.condition,
            line.method,
            str(line.seeds),
            *(_spread(part) for part in (line.accuracy, line.balanced_accuracy, line.macro_f1)),
            _difference(line.against),
            "" if line.against is None or line.against.p is None else f"{line.against.p:.3f}",
            "" if line.p_holm is None else f"{line.p_holm:.3f}",
            "" if line.against_clean is None else f"{100 * line.against_clean.mean:+.1f}",
            f"{line.seconds:.0f}",
        ]
        for line in lines
    ]
    return format_table(head, rows)


def _spread(of: Spread) -> str:
    return f"{100 * of.mean:.1f}" + ("" if of.deviation is None else f" ± {100 * of.deviation:.1f}")


def _difference(of: Difference | None) -> str:
    return "" if of is None else f"{100 * of.mean:+.1f} ({100 * of.low:+.1f} to {100 * of.high:+.1f})"


def _numbers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"expected numbers from 0, for instance 0,1,2, got {text!r}")
    return list(dict.fromkeys(map(int, parts)))


def _names(text: str) -> list[str]:
    return [part for part in text.split(",") if part]
