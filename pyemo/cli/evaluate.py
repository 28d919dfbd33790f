"""``pyemo evaluate MODEL --data NAME:ROOT``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.options import add_data_options, add_prepared_option, keyed

if TYPE_CHECKING:
    from pyemo.data.recipe_data import RecipeData


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
    parser.add_argument("--out", type=Path, metavar="DIR", help="write evaluation-SPLIT.json and its confusion matrix")
    parser.add_argument("--card", action="store_true", help="add the figures to the model folder's card.md")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from pyemo.cli.progress import preparation_progress
    from pyemo.data.recipe_data import open_recipe_data
    from pyemo.data.samples import rows_of_splits
    from pyemo.evaluation.classifier import evaluate
    from pyemo.evaluation.duplicates import unseen
    from pyemo.weights import load_model

    loaded = load_model(arguments.model)
    with preparation_progress() as listener:
        data = open_recipe_data(
            arguments.data,
            loaded.recipe,
            arguments.prepared or (arguments.out or Path("runs") / loaded.recipe.name) / "prepared",
            options=keyed(arguments.data_option, "--data-option"),
            listener=listener,
        )
    name, manifest = data.name, data.manifest
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    whole = arguments.split == "all"
    rows = np.arange(len(manifest.table)) if whole else rows_of_splits(manifest.table, [arguments.split])
    samples = data.samples(rows, training=False)
    evaluation = evaluate(loaded.model, loaded.recipe, samples)
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
    for label, one in scores.classes.items():
        print(f"  F1 {label:10s} {one.f1:.3f}")
    if arguments.out:
        evaluation.save(arguments.out, f"evaluation-{arguments.split}")
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
        _add_to_card(loaded.folder, figures, shlex.join(command))
    return 0


def _unit(data: RecipeData) -> str:
    if data.prepared is None:
        return "images"
    return "frames" if "frame_labels" in data.manifest.table else "clips"


def _add_to_card(folder: Path, figures: list[str], command: str) -> None:
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
