"""``pyemo evaluate MODEL --data NAME:ROOT``."""

from __future__ import annotations

import argparse
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
        "--out", type=Path, metavar="DIR", help="write evaluation-SPLIT.json and its confusion matrix there"
    )
    parser.add_argument(
        "--drop-duplicates",
        action="store_true",
        help="also score without the images whose pixels are those of an image of another split",
    )
    parser.add_argument(
        "--mirror", action="store_true", help="average with the mirrored image (test-time augmentation)"
    )


def run(arguments: argparse.Namespace) -> int:
    from pyemo.data.sources import read_data
    from pyemo.errors import ModelError
    from pyemo.evaluation.classifier import evaluate_faces
    from pyemo.evaluation.duplicates import unseen
    from pyemo.training.samples import select
    from pyemo.weights import load_model

    loaded = load_model(arguments.model)
    if "face" not in loaded.recipe.model.modalities:
        raise ModelError(f"{arguments.model}: no face model")
    _, manifest = read_data(arguments.data)
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    samples = select(manifest, loaded.recipe, [arguments.split])
    evaluation = evaluate_faces(loaded.model, loaded.recipe, samples.crops, samples.targets, mirror=arguments.mirror)
    scores = evaluation.scores
    print(
        f"{arguments.split}: {len(samples)} images, accuracy {scores.accuracy:.2%}, "
        f"balanced accuracy {scores.balanced_accuracy:.2%}, macro F1 {scores.macro_f1:.3f}"
    )
    for label, one in scores.classes.items():
        print(f"  F1 {label:10s} {one.f1:.3f}")
    if arguments.drop_duplicates:
        alone = unseen(manifest, arguments.split)
        hits = (evaluation.predictions == evaluation.truth)[alone]
        print(f"{arguments.split} without duplicates: {int(alone.sum())} images, accuracy {hits.mean():.2%}")
    if arguments.out:
        evaluation.save(arguments.out, f"evaluation-{arguments.split}")
        print(f"written: {arguments.out}")
    return 0
