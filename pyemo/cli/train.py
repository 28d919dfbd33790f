"""``pyemo train RECIPE --data NAME:ROOT [key=value ...]``."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from pyemo.cli.options import add_data_options, add_prepared_option, keyed


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="name of a packaged recipe, or a YAML file")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of the recipe, for instance training.epochs=20"
    )
    add_data_options(parser)
    add_prepared_option(parser)
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="run folder (default: runs/RECIPE); an unfinished run in it goes on"
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def run(arguments: argparse.Namespace) -> int:
    from pyemo.cli.failures import report_failures
    from pyemo.cli.progress import preparation_progress
    from pyemo.config import CandideAuRecipe, ClassifierRecipe, load_recipe
    from pyemo.data.recipe_data import open_recipe_data, split_rows
    from pyemo.errors import ConfigError
    from pyemo.training.engine import train

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if isinstance(recipe, CandideAuRecipe):
        from pyemo.cli import candide_au

        return candide_au.train(recipe, arguments)
    if not isinstance(recipe, ClassifierRecipe):
        raise ConfigError(f"recipe {recipe.name} ({recipe.system}) has nothing to train; use pyemo crossval")
    out = arguments.out or Path("runs") / recipe.name
    prepared = arguments.prepared or out / "prepared"
    # The machine's own folders do not belong into a card that others read.
    options = [word for option in arguments.data_option for word in ("--data-option", option)]
    try:
        with preparation_progress() as listener:
            data = open_recipe_data(
                arguments.data,
                recipe,
                prepared,
                options=keyed(arguments.data_option, "--data-option"),
                check=lambda manifest: split_rows(manifest, recipe),
                listener=listener,
            )
        for problem in data.manifest.problems:
            print(f"pyemo: warning: {problem}", file=sys.stderr)
        shown = shlex.join(
            ["pyemo", "train", arguments.recipe, "--data", f"{data.name}:ROOT", *options, *arguments.overrides]
        )
        rows, held_out = data.split()
        folder = train(
            recipe.of_fold(data.held_out_fold),
            data.samples(rows, training=True),
            None if held_out is None else data.samples(held_out, training=False),
            out,
            data=data.name,
            licence=data.manifest.licence,
            command=shown,
            device=arguments.device,
        )
    except KeyboardInterrupt:
        print(f"pyemo: stopped; the same command with --out {out} goes on after the last whole epoch", file=sys.stderr)
        return 130
    print(f"model: {folder}")
    return report_failures(data, prepared)
