"""The ``pyemo`` command. Each subcommand is a module of this package with ``configure(parser)`` and ``run(arguments) -> int``.

A module is imported only when its subcommand is called. Exit status: 0 done, 1 an error that the message explains, 2 wrong usage,
3 some inputs failed and the rest are done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pyemo import __version__
from pyemo.errors import PyemoError

COMMANDS = {
    "predict": "recognise emotions in images, videos, folders and globs",
    "demo": "recognise a short clip that is made on the spot, and show what comes out",
    "prepare": "decode a data set once: cached face crops and sound",
    "report": "make the reports of a finished run again",
    "train": "train a recipe on a data set",
    "evaluate": "score a model on a data set",
    "compare": "put evaluations of several models beside each other",
    "crossval": "cross-validate a recipe on a data set",
    "bench": "measure speed and accuracy on this machine, against the fastest alternatives",
    "plugins": "list the plug-ins and what is wrong with a broken one",
    "assets": "list, fetch and import weight files",
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS))
    parser = argparse.ArgumentParser(
        prog="pyemo",
        description="Emotion recognition from faces and voices.",
        epilog="\n".join(["commands:", *(f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pyemo {__version__}")
    parser.add_argument(
        "command",
        choices=COMMANDS,
        metavar="COMMAND",
        help="one of the commands below; pyemo COMMAND --help explains it",
    )
    command = parser.parse_args(arguments[:1]).command
    module = importlib.import_module(f"pyemo.cli.{command}")
    parser = argparse.ArgumentParser(prog=f"pyemo {command}", description=COMMANDS[command].capitalize() + ".")
    module.configure(parser)
    # Intermixed: key=value may stand before, between and after options.
    parsed = parser.parse_intermixed_args(arguments[1:])
    try:
        return int(module.run(parsed))
    except PyemoError as error:
        print(f"pyemo: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pyemo: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
