"""``pyemo report RUN``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyemo.cli.options import add_video_option


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make the HTML reports of results that `pyemo predict` has written, for instance with the clip embedded. Nothing is recognised again. "
        "Faces are shown if the run had the format html."
    )
    parser.epilog = (
        "Exit status: 0 done, 1 no report could be made, 2 wrong usage, 3 some failed and the rest are done."
    )
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="folder of `pyemo predict --out`, or one of its JSON files"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the reports (default: beside the results)")
    add_video_option(parser)


def run(arguments: argparse.Namespace) -> int:
    from pyemo.errors import PyemoError
    from pyemo.recognition.reporting import contents
    from pyemo.recognition.saved import read_result, saved_results
    from pyemo.report import write_report

    paths = saved_results(arguments.run)
    failed = 0
    for path in paths:
        report = (arguments.out or path.parent) / f"{path.stem}.html"
        try:
            result, settings = read_result(path)
            print(f"written: {write_report(contents(result, settings), report, arguments.video)}")
        except PyemoError as error:
            print(f"pyemo: error: {error}", file=sys.stderr)
            failed += 1
    return 0 if not failed else 3 if failed < len(paths) else 1
