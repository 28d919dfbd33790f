"""``pyemo demo [CLIP]``: works offline, straight after installation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.cli.options import add_recogniser_options, keyed
from pyemo.cli.table import format_table

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Recognise a clip and show what comes out: a table, a report (HTML), a timeline (CSV), a summary (JSON) and a chart (PNG). Without "
        "CLIP, a clip is made of a photograph that comes with matplotlib: Rear Admiral Grace Hopper, official photograph of the US Navy, "
        "public domain."
    )
    parser.add_argument("clip", nargs="?", type=Path, metavar="CLIP", help="your own video or image")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("pyemo-demo"),
        metavar="DIR",
        help="folder for the results (default: pyemo-demo)",
    )
    parser.add_argument(
        "--model", default="default", metavar="M", help="model by name, a model folder, or hf-hub:organisation/name"
    )
    add_recogniser_options(parser)


def run(arguments: argparse.Namespace) -> int:
    from pyemo.files import check_writable, written_whole
    from pyemo.recognition import load
    from pyemo.recognition.example import make_example_clip
    from pyemo.recognition.figure import result_figure

    out: Path = arguments.out
    clip = arguments.clip
    check_writable(out)
    recogniser = load(
        arguments.model,
        detector=arguments.detector,
        detector_options=keyed(arguments.detector_option, "--detector-option"),
        device=arguments.device,
        every=arguments.every,
    )
    if clip is None:
        clip = make_example_clip(out / "grace_hopper.mp4")
        print(f"made a clip of a photograph: {clip}")
    result = recogniser.predict(clip)
    written = result.save(out)
    written.append(out / f"{clip.name}.png")
    with written_whole(written[-1]) as temporary:
        result_figure(result).savefig(temporary, dpi=120)
    print(f"{clip}: {result.label or 'no face'}" + (f" (from {' and '.join(result.used)})" if result.used else ""))
    for why in result.missing.values():
        print(why)
    if result.used:
        print(_segment_table(result.segments))
    frames = result.frames / (result.timing["total"] + result.timing["write"] + result.timing["report"])
    print(
        f"{result.frames} frames, {len(result.faces)} face{'s' * (len(result.faces) != 1)}, {frames:.0f} frames a second"
    )
    for warning in result.warnings:
        print(f"warning: {warning}")
    print("written: " + ", ".join(map(str, written)))
    return 0


def _segment_table(segments: pd.DataFrame) -> str:
    """When, who, what, and how sure; the first lines of it."""
    from pyemo.recognition.timeline import VOICE

    rows = []
    for segment in segments.head(_SHOWN).to_dict("records"):
        timed = segment["start"] == segment["start"]
        when = f"{segment['start']:6.2f} - {segment['end']:.2f} s" if timed else ""
        rows.append(
            [
                when,
                str(segment["face"]) if segment["face"] != VOICE else "voice",
                segment["label"],
                f"{segment[segment['label']]:.2f}",
            ]
        )
    table = format_table(["when", "face", "emotion", "score"], rows)
    more = len(segments) - _SHOWN
    return f"{table}\n... and {more} more" if more > 0 else table
