"""``pyemo evaluate MODEL --data NAME:ROOT``."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.measured import add_to_card, measure_lines
from pyemo.cli.options import add_data_options, add_prepared_option, keyed

if TYPE_CHECKING:
    import numpy as np

    from pyemo.data.batch import Samples
    from pyemo.data.recipe_data import RecipeData
    from pyemo.evaluation.classifier import Evaluation
    from pyemo.evaluation.measures import Measures
    from pyemo.weights import LoadedModel


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="packaged or imported model by name, a model folder, or hf-hub:org/name"
    )
    add_data_options(parser)
    add_prepared_option(parser)
    parser.add_argument("--split", default="test", help="split to score, or all (default: test)")
    parser.add_argument(
        "--drop-duplicates",
        action="store_true",
        help="also score without the images whose pixels are those of an image of another split",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="also score the mean of image and mirrored image (test-time augmentation)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write evaluation-SPLIT.json, -measures.csv, -predictions.csv and the confusion matrix",
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="also write, as PNG and SVG: confusion matrices, ROC and precision-recall curves, bars of recall and precision, density of the "
        "true class's score, t-SNE of the fused features, attention over faces (needs --out)",
    )
    parser.add_argument("--card", action="store_true", help="add the figures to the model folder's card.md")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pyemo.cli.failures import report_failures
    from pyemo.cli.progress import preparation_progress
    from pyemo.data.recipe_data import open_recipe_data
    from pyemo.data.samples import rows_of_splits
    from pyemo.errors import ConfigError, ModelError
    from pyemo.evaluation.classifier import evaluate
    from pyemo.evaluation.duplicates import unseen
    from pyemo.evaluation.features import fused_features
    from pyemo.evaluation.measures import measure
    from pyemo.evaluation.predictions import write_predictions
    from pyemo.files import check_writable
    from pyemo.weights import LoadedCandideAu, LoadedFusion, load_any

    if arguments.figures and not arguments.out:
        raise ConfigError("--figures needs --out")
    if arguments.out:
        check_writable(arguments.out)
    loaded = load_any(arguments.model)
    if isinstance(loaded, LoadedCandideAu):
        from pyemo.cli import candide_au

        return candide_au.evaluate(loaded, arguments)
    if isinstance(loaded, LoadedFusion):
        raise ModelError(f"{loaded.recipe.name} joins {' and '.join(loaded.recipe.members.values())}; evaluate these")
    prepared = arguments.prepared or (arguments.out or Path("runs") / loaded.recipe.name) / "prepared"
    with preparation_progress() as listener:
        data = open_recipe_data(
            arguments.data,
            loaded.recipe,
            prepared,
            options=keyed(arguments.data_option, "--data-option"),
            listener=listener,
        )
    name, manifest = data.name, data.manifest
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    whole = arguments.split == "all"
    rows = np.arange(len(manifest.table)) if whole else rows_of_splits(manifest.table, [arguments.split])
    samples = data.samples(rows, training=False)
    with fused_features(loaded.model) if arguments.figures else nullcontext() as fused:
        evaluation = evaluate(loaded.model, loaded.recipe, samples)
    subjects = manifest.table["subject"].to_numpy()[evaluation.decisions["row"]]
    measures = measure(evaluation.truth, evaluation.probabilities, evaluation.labels, subjects)
    scores = evaluation.scores
    split = "All rows" if whole else f"{arguments.split.capitalize()} split"
    figures = [
        f"{split}, all {len(evaluation.truth):,} {_unit(data)}: accuracy {scores.accuracy:.2%}, "
        f"balanced accuracy {scores.balanced_accuracy:.2%}, macro F1 {scores.macro_f1:.3f}."
    ]
    if arguments.drop_duplicates:
        alone = unseen(manifest, arguments.split)
        accuracy = (evaluation.predictions == evaluation.truth)[alone].mean()
        figures.append(
            f"{split} without the images that stand in another split too, {alone.sum():,} images: accuracy {accuracy:.2%}."
        )
    if arguments.mirror:
        mirrored = evaluate(loaded.model, loaded.recipe, samples, mirror=True)
        figures.append(f"{split}, mean of image and mirrored image: accuracy {mirrored.scores.accuracy:.2%}.")
    print("\n".join(figures))
    for published in loaded.recipe.published:
        if published.data == name:
            print(f"published ({published.note or name}): {published.metric} {published.mean:.2f} %")
    print("\n".join(measure_lines(measures)))
    if arguments.out:
        stem = f"evaluation-{arguments.split}"
        evaluation.save(arguments.out, stem)
        measures.save(arguments.out, f"{stem}-measures")
        write_predictions(evaluation, manifest.table, arguments.out / f"{stem}-predictions.csv")
        if fused is not None:
            for line in _draw(evaluation, measures, loaded, samples, fused.array(), arguments.out, stem):
                print(line)
        print(f"written: {arguments.out}")
    if arguments.card:
        options = [
            f"--{option}" for option in ("drop-duplicates", "mirror") if getattr(arguments, option.replace("-", "_"))
        ]
        command = [
            "pyemo",
            "evaluate",
            loaded.recipe.name,
            "--data",
            f"{name}:ROOT",
            "--split",
            arguments.split,
            *options,
        ]
        add_to_card(loaded.folder, figures, shlex.join(command))
    return report_failures(data, prepared)


def _draw(
    evaluation: Evaluation,
    measures: Measures,
    loaded: LoadedModel,
    samples: Samples,
    features: np.ndarray,
    out: Path,
    stem: str,
) -> list[str]:
    """Writes the figures; returns, in words, which ones this evaluation cannot have."""
    from pyemo.errors import PyemoError
    from pyemo.evaluation.looking import looking_figure
    from pyemo.evaluation.papers import write_figures
    from pyemo.evaluation.style import save_figure

    missing = []
    fits = len(features) == len(evaluation.truth) >= 5
    if not fits:
        missing.append(f"no t-SNE: {len(features)} rows of features for {len(evaluation.truth)} decisions")
    write_figures(
        out,
        stem,
        evaluation.truth,
        evaluation.probabilities,
        evaluation.labels,
        measures,
        name=loaded.recipe.name,
        features=features if fits else None,
    )
    try:
        figure = looking_figure(loaded.model, loaded.recipe, samples, evaluation)
    except PyemoError as error:
        missing.append(f"no attention maps: {error}")
    else:
        save_figure(figure, out, f"{stem}-attention")
    return missing


def _unit(data: RecipeData) -> str:
    if data.prepared is None:
        return "images"
    return "frames" if "frame_labels" in data.manifest.table else "clips"
