"""``pyemo prepare --data NAME:ROOT --out FOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.options import add_data_options, add_detector_options, keyed

if TYPE_CHECKING:
    from pyemo.data.preparation import Preparation

_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Decode a data set once: find the main face of each row, keep its crops (JPEG) and the sound (FLAC, 16-bit mono) in FOLDER, where "
        "training finds them as --data prepared:FOLDER. Run again after an interruption, or when files were added or changed, it does what "
        "is not done. Rows without a face or a sound stay in the table, marked."
    )
    parser.epilog = (
        "Exit status: 0 done, 1 nothing could be done, 2 wrong usage, 3 some rows failed (errors.csv), 130 interrupted."
    )
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder for crops and sound")
    parser.add_argument(
        "--modalities",
        metavar="face,voice",
        help="what to prepare (default: what the data set says it holds)",
    )
    parser.add_argument("--size", type=int, default=224, metavar="S", help="side of the crops in pixels (default: 224)")
    parser.add_argument(
        "--channels", type=int, default=3, choices=[1, 3], help="grey (1) or colour (3) crops (default: 3)"
    )
    parser.add_argument(
        "--already-cropped",
        action="store_true",
        help="each whole image or frame is a face: detect none; numbers in the names of a folder's images are those of the frames",
    )
    add_detector_options(parser)
    parser.add_argument(
        "--frame-rate", type=float, metavar="R", help="keep at most R crops a second (default: every frame's)"
    )
    parser.add_argument(
        "--sample-rate", type=int, default=16000, metavar="HZ", help="of the kept sound (default: 16000)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="files at work at a time (default: one a core)")


def run(arguments: argparse.Namespace) -> int:
    from pyemo.cli.progress import batch_progress
    from pyemo.data.preparation import prepare
    from pyemo.data.sources import read_data

    name, manifest = read_data(arguments.data, **keyed(arguments.data_option, "--data-option"))
    for problem in manifest.problems[:_SHOWN]:
        print(f"pyemo: warning: {problem}", file=sys.stderr)
    modalities = None
    if arguments.modalities is not None:
        modalities = [one.strip() for one in arguments.modalities.split(",")]
    try:
        with batch_progress(len(manifest.table) * len(modalities or manifest.modalities)) as listener:
            preparation = prepare(
                manifest,
                arguments.out,
                data=name,
                modalities=modalities,
                size=arguments.size,
                channels=arguments.channels,
                detector=arguments.detector,
                detector_options=keyed(arguments.detector_option, "--detector-option"),
                every=arguments.every,
                sample_rate=arguments.sample_rate,
                frame_rate=arguments.frame_rate,
                already_cropped=arguments.already_cropped,
                workers=arguments.workers,
                listener=listener,
            )
    except KeyboardInterrupt:
        print(f"pyemo: interrupted; the same command goes on where it stopped: {arguments.out}", file=sys.stderr)
        return 130
    _print(preparation, arguments.out)
    if not preparation.failures:
        return 0
    return 3 if any(preparation.data.usable(modality).any() for modality in preparation.data.settings.modalities) else 1


def _print(preparation: Preparation, out: Path) -> None:
    from pyemo.data.preparation import ERRORS

    data, failures = preparation.data, preparation.failures
    failed = {failure.row for failure in failures}
    marked = [
        (row, path, problem)
        for row, path, problem in data.manifest.table[["path", "problem"]].itertuples()
        if problem is not None and row not in failed
    ]
    for row, path, problem in marked[:_SHOWN]:
        print(f"pyemo: warning: row {row}, {path}: {problem}", file=sys.stderr)
    if len(marked) > _SHOWN:
        print(
            f"pyemo: warning: ... and {len(marked) - _SHOWN} more; all in the table's column `problem`", file=sys.stderr
        )
    for failure in failures[:_SHOWN]:
        print(f"pyemo: error: {failure.message}", file=sys.stderr)
    if failures:
        print(f"pyemo: {len(failed)} of {len(data)} rows failed; all in {out / ERRORS}", file=sys.stderr)
    for modality in data.settings.modalities:
        print(f"{modality}: {int(data.usable(modality).sum())} of {len(data)} rows")
    if preparation.reused:
        print(f"done before: {preparation.reused} of {preparation.items}")
    print(f"written: {out} (--data prepared:{out})")
