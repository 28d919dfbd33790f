"""``pyemo train``, ``evaluate`` and ``crossval`` of the system ``candide-au``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.measured import add_to_card, measure_lines
from pyemo.cli.options import keyed

if TYPE_CHECKING:
    from pyemo.config import CandideAuRecipe
    from pyemo.contracts import Manifest
    from pyemo.weights import LoadedCandideAu


def train(recipe: CandideAuRecipe, arguments: argparse.Namespace) -> int:
    from pyemo.candide_au.training import LANDMARKS, train_candide_au
    from pyemo.cli.progress import measuring_progress
    from pyemo.files import check_writable

    out = arguments.out or Path("runs") / recipe.name
    check_writable(out)
    name, manifest = _read(arguments)
    # The machine's own folders do not belong into a card that others read.
    shown = ["pyemo", "train", arguments.recipe, "--data", f"{name}:ROOT", *_options(arguments), *arguments.overrides]
    try:
        with measuring_progress() as progress:
            folder = train_candide_au(recipe, manifest, out, data=name, command=shlex.join(shown), progress=progress)
    except KeyboardInterrupt:
        return _stopped(out / LANDMARKS)
    print(f"model: {folder}")
    if unmarked := len((out / "problems.txt").read_text(encoding="utf-8").splitlines()):
        print(f"pyemo: no landmarks in {unmarked} rows; all in {out / 'problems.txt'}", file=sys.stderr)
    return 0


def evaluate(loaded: LoadedCandideAu, arguments: argparse.Namespace) -> int:
    import numpy as np

    from pyemo.candide_au.training import LANDMARKS, evaluate_candide_au
    from pyemo.cli.progress import measuring_progress
    from pyemo.data.samples import rows_of_splits
    from pyemo.errors import ConfigError
    from pyemo.evaluation.measures import measure
    from pyemo.evaluation.papers import write_figures
    from pyemo.evaluation.predictions import write_predictions

    for option in ("drop_duplicates", "mirror"):
        if getattr(arguments, option):
            raise ConfigError(
                f"--{option.replace('_', '-')} is for models of images; {loaded.recipe.name} sees landmarks"
            )
    name, manifest = _read(arguments)
    whole = arguments.split == "all"
    rows = np.ones(len(manifest.table), bool)
    if not whole:
        rows[:] = False
        rows[rows_of_splits(manifest.table, [arguments.split])] = True
    home = arguments.prepared or arguments.out
    file = home / LANDMARKS if home else None
    try:
        with measuring_progress() as progress:
            result = evaluate_candide_au(loaded.model, manifest, rows, file=file, progress=progress)
    except KeyboardInterrupt:
        return _stopped(file)
    evaluation, scores = result.evaluation, result.scores
    total, unmarked = int(scores.confusion.sum()), int(scores.confusion[:, -1].sum())
    split = "All rows" if whole else f"{arguments.split.capitalize()} split"
    figures = [
        f"{split}, all {total:,} rows: accuracy {scores.accuracy:.2%}, balanced accuracy {scores.balanced_accuracy:.2%}, "
        f"macro F1 {scores.macro_f1:.3f}."
    ]
    if unmarked:
        figures.append(f"{unmarked:,} of them have no face with landmarks, which is wrong.")
    print("\n".join(figures))
    if total == unmarked:
        print("nothing else to measure")
        return 0
    subjects = manifest.table["subject"].to_numpy()[evaluation.decisions["row"]]
    measures = measure(evaluation.truth, evaluation.probabilities, evaluation.labels, subjects)
    if unmarked:
        print(f"of the {total - unmarked:,} others:")
    print("\n".join(measure_lines(measures)))
    if arguments.out:
        stem = f"evaluation-{arguments.split}"
        result.save(arguments.out, stem)
        measures.save(arguments.out, f"{stem}-measures")
        write_predictions(evaluation, manifest.table, arguments.out / f"{stem}-predictions.csv")
        if arguments.figures:
            write_figures(
                arguments.out,
                stem,
                evaluation.truth,
                evaluation.probabilities,
                evaluation.labels,
                measures,
                name=loaded.recipe.name,
            )
            print("no t-SNE and no attention maps: the model is no network of images")
        print(f"written: {arguments.out}")
    if arguments.card:
        command = ["pyemo", "evaluate", loaded.recipe.name, "--data", f"{name}:ROOT", "--split", arguments.split]
        add_to_card(loaded.folder, figures, shlex.join([*command, *_options(arguments)]))
    return 0


def cross_validate(recipe: CandideAuRecipe, arguments: argparse.Namespace) -> int:
    from pyemo.candide_au.folds import join_folds
    from pyemo.candide_au.training import LANDMARKS, cross_validate_candide_au
    from pyemo.cli.crossval_trained import report
    from pyemo.cli.progress import measuring_progress
    from pyemo.data.recipe_data import fold_numbers
    from pyemo.errors import ConfigError
    from pyemo.files import check_writable

    if arguments.folds or arguments.jobs != 1:
        raise ConfigError("--folds and --jobs are for networks; once landmarks are measured, a fold takes seconds")
    out = arguments.out or Path("runs") / f"{recipe.name}-crossval"
    check_writable(out)
    name, manifest = _read(arguments)
    numbers = fold_numbers(manifest, recipe)
    try:
        with measuring_progress() as progress:
            results = cross_validate_candide_au(recipe, manifest, numbers, file=out / LANDMARKS, progress=progress)
    except KeyboardInterrupt:
        return _stopped(out / LANDMARKS)
    report(join_folds(recipe, name, manifest, numbers, results), out, {}, figures=arguments.figures)
    return 0


def _read(arguments: argparse.Namespace) -> tuple[str, Manifest]:
    from pyemo.data.sources import read_data

    name, manifest = read_data(arguments.data, **keyed(arguments.data_option, "--data-option"))
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    return name, manifest


def _options(arguments: argparse.Namespace) -> list[str]:
    return [word for option in arguments.data_option for word in ("--data-option", option)]


def _stopped(file: Path | None) -> int:
    kept = "" if file is None else f"; the same command goes on with the landmarks in {file}"
    print(f"pyemo: interrupted{kept}", file=sys.stderr)
    return 130
