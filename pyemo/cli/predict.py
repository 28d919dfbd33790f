"""``pyemo predict CLIP|FOLDER|GLOB ... --out DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.options import add_recogniser_options, add_video_option, keyed, threshold
from pyemo.cli.table import format_table

if TYPE_CHECKING:
    from pyemo.recognition.batch import BatchReport, Record

_SHOWN = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Recognise emotions in videos, sounds, images, folders and globs. For each input DIR gets a report to look at (FILE.html), a timeline "
        "(FILE.csv: a row for each face in each frame, and for each window of the sound with face -1) and a summary (FILE.json); all together "
        "a summary.csv and, if inputs fail, an errors.csv. Run again after an interruption, it goes on with the inputs that are not done."
    )
    parser.epilog = "Exit status: 0 done, 1 nothing could be done, 2 wrong usage, 3 some inputs failed (errors.csv), 130 interrupted."
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="CLIP|FOLDER|GLOB",
        help="videos, sounds, images, folders (all levels) or quoted patterns",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--model", default="default", metavar="M", help="model by name, a model folder, or hf-hub:organisation/name"
    )
    parser.add_argument(
        "--format",
        default="csv,html,json",
        metavar="csv,html,json",
        help="what to write (default: all); the JSON summary is always written, it marks an input as done",
    )
    add_video_option(parser)
    parser.add_argument(
        "--threshold",
        type=threshold,
        default=0.2,
        metavar="0.2|none",
        help="the most frequent emotion but neutral is the clip's label if at least this share of the votes is for it, else the most frequent "
        "label is (default: 0.2); none: always the most frequent label",
    )
    parser.add_argument(
        "--modalities",
        metavar="face,voice",
        help="use only these of a model that joins several: face, voice or both (default: all it has)",
    )
    parser.add_argument(
        "--features",
        metavar="au",
        help="measure also, in each face of each frame, the action units of Candide-3 and the head's turn: further columns of the timeline "
        "(needs the extra `landmarks`, and once `pyemo assets import candide3 FILE`)",
    )
    parser.add_argument("--force", action="store_true", help="also do again what is done")
    parser.add_argument(
        "--profile", action="store_true", help="print how long each stage took (also in the JSON summaries)"
    )
    add_recogniser_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from pyemo.cli.progress import batch_progress
    from pyemo.errors import MediaError
    from pyemo.media import find_media, kind
    from pyemo.recognition import load
    from pyemo.recognition.batch import SUMMARY, recognise_all
    from pyemo.recognition.result import check_formats

    formats = [name.strip() for name in arguments.format.split(",")]
    check_formats(formats)
    recogniser = load(
        arguments.model,
        detector=arguments.detector,
        detector_options=keyed(arguments.detector_option, "--detector-option"),
        device=arguments.device,
        every=arguments.every,
        modalities=arguments.modalities.split(",") if arguments.modalities else None,
        features=arguments.features.split(",") if arguments.features else (),
    )
    named = {Path(given) for given in arguments.inputs}
    inputs, left_out = [], {"audio": 0, "image": 0}
    for path in find_media(arguments.inputs):
        # What was named is tried, and its error told.
        if path not in named and not recogniser.takes(kind(path)):
            left_out[kind(path)] += 1
        else:
            inputs.append(path)
    for medium, why in (("audio", "the model sees faces only"), ("image", "the model needs sound")):
        if count := left_out[medium]:
            noun = "sound file" if medium == "audio" else "image"
            print(f"pyemo: {count} {noun}{'s' * (count > 1)} left out: {why}", file=sys.stderr)
    if not inputs:
        raise MediaError("none of the inputs is of a kind that the model takes")
    try:
        with batch_progress(len(inputs)) as listener:
            report = recognise_all(
                recogniser,
                inputs,
                arguments.out,
                threshold=arguments.threshold,
                formats=formats,
                force=arguments.force,
                listener=listener,
                video=arguments.video,
            )
    except KeyboardInterrupt:
        print(
            f"pyemo: interrupted; the same command goes on where it stopped. Done so far: {arguments.out / SUMMARY}",
            file=sys.stderr,
        )
        return 130
    for line in record_lines(report.records, arguments.out):
        print(line)
    if arguments.profile:
        for line in profile_lines(report.records):
            print(line)
    if report.reused:
        print(f"done before: {report.reused} (--force does them again)")
    return report_failures(report, arguments.out)


def report_failures(report: BatchReport, out: Path) -> int:
    """Says on standard error what failed; returns the exit status."""
    from pyemo.recognition.batch import ERRORS

    for failure in report.failures[:_SHOWN]:
        print(f"pyemo: error: {failure.message}", file=sys.stderr)
    if report.failures:
        total = len(report.failures) + len(report.records)
        print(f"pyemo: {len(report.failures)} of {total} inputs failed; all in {out / ERRORS}", file=sys.stderr)
    return 0 if not report.failures else 3 if report.records else 1


def record_lines(records: Mapping[Path, Record], out: Path) -> list[str]:
    """A table with a line for each input, the first ones if there are many."""
    rows = []
    for path, record in list(records.items())[:_SHOWN]:
        label = record["label"]
        certainty = f"{record['scores'][label]:.2f}" if label else ""
        duration = "" if record["duration"] is None else f"{record['duration']:.1f}"
        used = " + ".join(record["used"])
        rows.append([str(path), label or "no face", certainty, used, str(len(record["faces"])), duration])
    head = ["input", "emotion", "mean score", "from", "faces", "seconds"]
    lines = format_table(head, rows).splitlines() if rows else []
    if len(records) > _SHOWN:
        lines.append(f"... and {len(records) - _SHOWN} more")
    return [
        *lines,
        *(
            f"{path.name}: {why}"
            for path, record in list(records.items())[:_SHOWN]
            for why in record["missing"].values()
            # That a picture has no sound is no news.
            if record["kind"] == "video"
        ),
        *(f"warning: {text}" for record in records.values() for text in record["warnings"]),
        f"written: {out}",
    ]


def profile_lines(records: Mapping[Path, Record]) -> list[str]:
    """Seconds and milliseconds a frame of each stage, over all inputs."""
    frames = sum(record["frames"] for record in records.values())
    stages = ("decode", "detect", "crop", "landmarks", "model", "voice", "write", "report", "total")
    seconds = {stage: sum(record["timing"].get(stage, 0.0) for record in records.values()) for stage in stages}
    rows = [[stage, f"{spent:.2f}", f"{1000 * spent / max(frames, 1):.2f}"] for stage, spent in seconds.items()]
    rate = frames / max(seconds["total"] + seconds["write"] + seconds["report"], 1e-9)
    table = format_table(["stage", "seconds", "ms a frame"], rows).splitlines()
    return [
        *table,
        f"{frames} frames, {rate:.0f} a second; stages run side by side, total is the clock on the wall without write and report",
    ]
