"""``pyemo train RECIPE --data NAME:ROOT [key=value ...]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="name of a packaged recipe, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of the recipe, for instance training.epochs=20"
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="NAME:ROOT",
        help="data set plug-in and where its files are, for instance fer2013:FOLDER",
    )
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="run folder (default: runs/RECIPE); an unfinished run in it goes on"
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def run(arguments: argparse.Namespace) -> int:
    from pyemo.config import ClassifierRecipe, load_recipe
    from pyemo.data.sources import read_data
    from pyemo.errors import ConfigError
    from pyemo.training.engine import train

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if not isinstance(recipe, ClassifierRecipe):
        raise ConfigError(f"recipe {recipe.name} ({recipe.system}) has nothing to train; use pyemo crossval")
    name, manifest = read_data(arguments.data)
    for problem in manifest.problems:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    out = arguments.out or Path("runs") / recipe.name
    # The machine's own folders do not belong into a card that others read.
    shown = shlex.join(["pyemo", "train", arguments.recipe, "--data", f"{name}:ROOT", *arguments.overrides])
    try:
        folder = train(recipe, manifest, out, data=name, command=shown, device=arguments.device)
    except KeyboardInterrupt:
        print(f"pyemo: stopped; the same command with --out {out} goes on after the last whole epoch", file=sys.stderr)
        return 130
    print(f"model: {folder}")
    return 0
