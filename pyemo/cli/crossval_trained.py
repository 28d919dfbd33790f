"""``pyemo crossval`` of recipes that are trained."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyemo.cli.measured import measure_lines
from pyemo.cli.options import keyed
from pyemo.cli.table import format_table

if TYPE_CHECKING:
    import numpy as np

    from pyemo.config import ClassifierRecipe
    from pyemo.data.recipe_data import RecipeData
    from pyemo.training.crossval import CrossValidation

_CHILD = "PYEMO_CROSSVAL_CHILD"


def cross_validate_trained(recipe: ClassifierRecipe, arguments: argparse.Namespace) -> int:
    """Run the folds, one after the other or side by side, and show what those that are done gave."""
    from pyemo.cli.failures import report_failures
    from pyemo.cli.progress import preparation_progress
    from pyemo.data.recipe_data import fold_numbers, open_recipe_data
    from pyemo.files import check_writable
    from pyemo.training.crossval import gather

    out = arguments.out or Path("runs") / f"{recipe.name}-crossval"
    check_writable(out)
    prepared = arguments.prepared or out / "prepared"
    child = _CHILD in os.environ
    with preparation_progress() as listener:
        data = open_recipe_data(
            arguments.data,
            recipe,
            prepared,
            options=keyed(arguments.data_option, "--data-option"),
            check=lambda manifest: fold_numbers(manifest, recipe),
            listener=listener,
            is_prepared=child,
        )
    if not child:
        for problem in data.manifest.problems:
            print(f"pyemo: warning: {problem}", file=sys.stderr)
    numbers = fold_numbers(data.manifest, recipe)
    wanted = _wanted(arguments.folds, numbers)
    try:
        if arguments.jobs > 1 and len(wanted) > 1:
            _side_by_side(wanted, arguments, out)
        else:
            _in_turn(data, numbers, wanted, out, arguments)
    except KeyboardInterrupt:
        print(f"pyemo: interrupted; the same command with --out {out} goes on where it stopped", file=sys.stderr)
        return 130
    if child:
        return 0
    result = gather(data, numbers, out)
    report(result, out, {"failures": len(data.failures)}, figures=arguments.figures)
    return report_failures(data, prepared)


def report(result: CrossValidation, out: Path, extra: dict[str, Any], *, figures: bool) -> None:
    """Print and write what the folds gave; with ``figures``, those of the held-out decisions too (``held-out-*``)."""
    from pyemo.evaluation.papers import write_figures

    recipe = result.recipe
    result.save(out, {"recipe": recipe.model_dump(mode="json"), "data": result.data, **extra})
    print("\n".join([*_lines(result), *measure_lines(result.measures)]))
    if figures:
        write_figures(
            out, "held-out", result.truth, result.probabilities, recipe.labels, result.measures, name=recipe.name
        )
    print(f"written: {out}")


def _wanted(text: str | None, numbers: np.ndarray) -> list[int]:
    from pyemo.errors import ConfigError

    present = sorted({*numbers.tolist()})
    if text is None:
        return present
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--folds {text!r}: expected numbers of folds, for instance 1,2,3") from error
    if foreign := [number for number in wanted if number not in present]:
        raise ConfigError(f"--folds: there is no fold {foreign[0]}; there are {', '.join(map(str, present))}")
    return wanted


def _in_turn(
    data: RecipeData, numbers: np.ndarray, wanted: list[int], out: Path, arguments: argparse.Namespace
) -> None:
    from pyemo.training.crossval import run_fold

    options = [word for option in arguments.data_option for word in ("--data-option", option)]
    # The machine's own folders do not belong into a card that others read.
    words = ["pyemo", "crossval", arguments.recipe, "--data", f"{data.name}:ROOT", *options, *arguments.overrides]
    for fold in wanted:
        print(f"fold {fold}", flush=True)
        command = shlex.join([*words, "--folds", str(fold)])
        if not run_fold(data, numbers, fold, out, command=command, device=arguments.device):
            print("done before")


def _side_by_side(wanted: list[int], arguments: argparse.Namespace, out: Path) -> None:
    """A process a fold, ``arguments.jobs`` at a time; what each prints goes to ``fold-NN.log``."""
    from pyemo.errors import TrainingError

    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
    environment = {**os.environ, _CHILD: "1", "OMP_NUM_THREADS": str(threads)}
    options = [word for option in arguments.data_option for word in ("--data-option", option)]
    started: list[subprocess.Popen[bytes]] = []

    def run(fold: int) -> tuple[int, int]:
        words = [arguments.recipe, *arguments.overrides, "--data", arguments.data, *options, "--out", str(out)]
        words += ["--prepared", str(arguments.prepared or out / "prepared"), "--folds", str(fold)]
        words += ["--device", arguments.device]
        program = "import sys; from pyemo.cli import main; sys.exit(main(sys.argv[1:]))"
        with (out / f"fold-{fold:02d}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", program, "crossval", *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            started.append(process)
            return fold, process.wait()

    with ThreadPoolExecutor(arguments.jobs) as pool:
        pending = [pool.submit(run, fold) for fold in wanted]
        try:
            for done in pending:
                fold, status = done.result()
                print(f"fold {fold}: " + ("done" if status == 0 else f"failed, see {out / f'fold-{fold:02d}.log'}"))
        except KeyboardInterrupt:
            for waiting in pending:
                waiting.cancel()
            for process in started:
                process.terminate()
            raise
    failed = [fold for fold, status in (done.result() for done in pending) if status != 0]
    if failed:
        logs = ", ".join(str(out / f"fold-{fold:02d}.log") for fold in failed)
        raise TrainingError(f"{len(failed)} of {len(wanted)} folds failed; see {logs}")


def _lines(result: CrossValidation) -> list[str]:
    published = result.published
    head = [
        "fold",
        "held out",
        "samples",
        "accuracy",
        "UAR",
        "macro F1",
        *(_title(figures.note) for figures in published),
    ]
    rows = []
    for row in result.folds.to_dict("records"):
        fold, subjects = int(row["fold"]), str(row["subjects"])
        rows.append(
            [
                str(fold),
                subjects if len(subjects) <= 24 else f"{subjects[:21]}...",
                str(row["samples"]),
                *(f"{100 * row[metric]:.1f}" for metric in ("accuracy", "balanced_accuracy", "macro_f1")),
                *(f"{figures.folds[fold - 1]:.1f}" if fold <= len(figures.folds) else "" for figures in published),
            ]
        )
    summary = result.summary()

    def spread(metric: str) -> str:
        values = summary[metric]
        deviation = "" if values["deviation"] is None else f" ± {100 * values['deviation']:.2f}"
        return f"{100 * values['mean']:.2f}{deviation}"

    lines = [
        *format_table(head, rows).splitlines(),
        f"accuracy {spread('accuracy')} %, UAR {spread('balanced_accuracy')} %, macro F1 {spread('macro_f1')} % "
        "(mean ± sample deviation over folds)",
        f"all {int(result.scores.confusion.sum())} decisions together: accuracy {result.scores.accuracy:.2%}, macro F1 {result.scores.macro_f1:.3f}",
    ]
    if unmarked := int(result.scores.confusion[:, -1].sum()):
        lines.append(f"{unmarked} of them without a face with landmarks, which is wrong; below they are left out")
    lines += [
        f"published ({figures.note or figures.data}): {figures.metric} {figures.mean:.2f} %" for figures in published
    ]
    return lines


def _title(note: str) -> str:
    return f"published, {note}" if note else "published"
