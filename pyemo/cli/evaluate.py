"""``pyemo evaluate MODEL --data NAME:ROOT``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="packaged or imported model by name, a model folder, or hf-hub:org/name"
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="NAME:ROOT",
        help="data set plug-in and where its files are, for instance fer2013:FOLDER",
    )
    parser.add_argument("--split", default="test", help="split to score (default: test)")
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
    from pyemo.data.sources import read_data
    from pyemo.evaluation.classifier import evaluate_faces
    from pyemo.evaluation.duplicates import unseen
    from pyemo.training.samples import select
    from pyemo.weights import load_model

    loaded = load_model(arguments.model)
    name, manifest = read_data(arguments.data)
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    samples = select(manifest, loaded.recipe, [arguments.split])
    evaluation = evaluate_faces(loaded.model, loaded.recipe, samples.crops, samples.targets)
    scores = evaluation.scores
    split = f"{arguments.split.capitalize()} split"
    figures = [
        f"{split}, all {len(samples):,} images: accuracy {scores.accuracy:.2%}, "
        f"balanced accuracy {scores.balanced_accuracy:.2%}, macro F1 {scores.macro_f1:.3f}."
    ]
    if arguments.drop_duplicates:
        alone = unseen(manifest, arguments.split)
        accuracy = (evaluation.predictions == evaluation.truth)[alone].mean()
        figures.append(
            f"{split} without the images that stand in another split too, {alone.sum():,} images: accuracy {accuracy:.2%}."
        )
    if arguments.mirror:
        mirrored = evaluate_faces(loaded.model, loaded.recipe, samples.crops, samples.targets, mirror=True)
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
