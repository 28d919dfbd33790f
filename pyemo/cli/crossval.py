"""``pyemo crossval RECIPE --data NAME:ROOT [key=value ...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.options import add_data_options, add_prepared_option, add_recogniser_options, keyed
from pyemo.cli.table import format_table

if TYPE_CHECKING:
    from pyemo.config import ThresholdRecipe
    from pyemo.evaluation.threshold_crossval import ThresholdCrossValidation

_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Cross-validate a recipe on a data set. DIR gets results.json, folds.csv, predictions.csv and, of recipes that are trained, "
        "measures.json and measures.csv of all held-out decisions together. For the recipe `threshold`: the frames "
        "of all clips are classified once (a later run uses them again, also with other key=value), then the threshold is chosen on the "
        "training folds and scored on the held-out one; DIR gets config.yaml, frames/ and, if clips fail, errors.csv too. For recipes that "
        "are trained: each fold is a training run fold-NN/, scored on the rows that it has not seen; folds that are done are kept, so that "
        "the same command goes on after an interruption."
    )
    parser.epilog = "Exit status: 0 done, 1 an error, 2 wrong usage, 3 some clips failed and the rest are done (errors.csv), 130 interrupted."
    parser.add_argument("recipe", metavar="RECIPE", help="name of a packaged recipe, or a YAML file")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes of the recipe, for instance labels=3 folds=10 model=FOLDER",
    )
    add_data_options(parser)
    add_prepared_option(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the results (default: runs/RECIPE-crossval)"
    )
    parser.add_argument(
        "--folds",
        metavar="K,K...",
        help="do these folds only (numbers from 1); results are those of all folds that are done (recipes that are trained)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="folds at a time, each in a process of its own with its share of the cores (recipes that are trained; default: 1)",
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="also write, as PNG and SVG, of the held-out decisions of all folds: confusion matrices, ROC and precision-recall curves, bars of "
        "recall and precision, density of the true class's score (recipes that are trained)",
    )
    add_recogniser_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from pyemo.config import CandideAuRecipe, ClassifierRecipe, ThresholdRecipe, load_recipe
    from pyemo.errors import ConfigError

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if isinstance(recipe, ThresholdRecipe):
        if arguments.figures:
            raise ConfigError("--figures are of recipes that are trained; threshold voting gives no probabilities")
        return _threshold(recipe, arguments)
    if isinstance(recipe, ClassifierRecipe):
        from pyemo.cli.crossval_trained import cross_validate_trained

        return cross_validate_trained(recipe, arguments)
    if isinstance(recipe, CandideAuRecipe):
        from pyemo.cli import candide_au

        return candide_au.cross_validate(recipe, arguments)
    raise ConfigError(f"recipe {recipe.name} ({recipe.system}) joins trained models; cross-validate those")


def _threshold(recipe: ThresholdRecipe, arguments: argparse.Namespace) -> int:
    from pyemo.cli.progress import batch_progress
    from pyemo.config import dump_recipe
    from pyemo.data.sources import read_data
    from pyemo.evaluation.threshold_crossval import cross_validate, label_clips
    from pyemo.files import check_writable, written_whole
    from pyemo.recognition import load
    from pyemo.recognition.batch import ERRORS, write_errors

    out = arguments.out or Path("runs") / f"{recipe.name}-crossval"
    check_writable(out)
    name, manifest = read_data(arguments.data, **keyed(arguments.data_option, "--data-option"))
    recogniser = load(
        recipe.model,
        detector=arguments.detector,
        detector_options=keyed(arguments.detector_option, "--detector-option"),
        device=arguments.device,
        every=arguments.every,
    )
    with written_whole(out / "config.yaml") as path:
        path.write_text(dump_recipe(recipe), encoding="utf-8")
    try:
        with batch_progress(len(manifest.table)) as listener:
            clips, failures = label_clips(recipe, manifest, recogniser, out / "frames", listener=listener)
    except KeyboardInterrupt:
        print(f"pyemo: interrupted; the same command with --out {out} goes on where it stopped", file=sys.stderr)
        return 130
    write_errors(failures, out)
    for failure in failures[:_SHOWN]:
        print(f"pyemo: error: {failure.message}", file=sys.stderr)
    if failures:
        print(f"pyemo: {len(failures)} problems; all in {out / ERRORS}", file=sys.stderr)
    result = cross_validate(clips, recipe)
    result.save(
        out,
        {"recipe": recipe.model_dump(mode="json"), "data": name, **recogniser.settings(), "failures": len(failures)},
    )
    print("\n".join(_lines(result)))
    print(f"written: {out}")
    return 3 if failures else 0


def _lines(result: ThresholdCrossValidation) -> list[str]:
    folds = [
        [
            str(row.fold),
            str(row.clips),
            f"{row.threshold:g}",
            f"{row.training_accuracy:.4f}",
            f"{row.accuracy:.4f}",
            f"{row.top1_accuracy:.4f}",
        ]
        for row in result.folds.itertuples()
    ]
    summary = result.summary()
    mean, top1 = (
        f"{summary[key]['mean']:.4f} ± {summary[key]['deviation']:.4f}" for key in ("accuracy", "top1_accuracy")
    )
    classes = [
        [label, str(own.support), f"{own.accuracy:.4f}", f"{other.accuracy:.4f}", f"{own.f1:.4f}", f"{other.f1:.4f}"]
        for label in result.labels
        for own, other in [(result.scores.classes[label], result.top1_scores.classes[label])]
    ]
    return [
        *format_table(["fold", "clips", "threshold", "training", "accuracy", "Top-1"], folds).splitlines(),
        f"accuracy {mean}, Top-1 {top1} (mean ± sample deviation over folds)",
        f"{summary['clips']} clips, {summary['clips_without_face']} without a face (counted as wrong); "
        f"threshold chosen on all clips: {result.best_threshold:g}",
        "",
        *format_table(["one against the rest", "clips", "accuracy", "Top-1", "F1", "F1 Top-1"], classes).splitlines(),
    ]
