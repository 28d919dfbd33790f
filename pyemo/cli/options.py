"""Arguments that several subcommands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pyemo.errors import ConfigError


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detector",
        default="dlib",
        metavar="D",
        help="face detector plug-in (default: dlib); `pyemo plugins` lists them",
    )
    parser.add_argument(
        "--detector-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the detector, for instance max_side=1280; repeatable",
    )
    parser.add_argument(
        "--every",
        type=int,
        default=8,
        metavar="K",
        help="detect faces in every K-th frame, track them between (default: 8); none of the frames is left out",
    )


def add_recogniser_options(parser: argparse.ArgumentParser) -> None:
    add_detector_options(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        required=True,
        metavar="NAME:ROOT",
        help="data set plug-in and where its files are, for instance fer2013:FOLDER; prepared:FOLDER for what `pyemo prepare` wrote",
    )
    parser.add_argument(
        "--data-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the data set, for instance labels=common; repeatable",
    )


def add_prepared_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--prepared",
        type=Path,
        metavar="DIR",
        help="folder for the crops and sounds of clips, as `pyemo prepare` writes it; what is there is used again (default: "
        "prepared/ in the folder of --out)",
    )


def add_video_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--video",
        choices=("link", "embed", "none"),
        default="link",
        help="the clip in the report: a link to the file (default; what browsers do not play is copied beside the report), the whole clip "
        "inside it, or none",
    )


def threshold(text: str) -> float | None:
    """Type of ``--threshold``."""
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, or none, got {text!r}")
    return value


def keyed(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """``KEY=VALUE`` arguments as keywords. Numbers, true, false and null are read as such, everything else is text.

    Raises:
        ConfigError: one is not of this form.
    """
    found = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"{option} {pair!r}: expected KEY=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        found[key] = value if value is None or isinstance(value, (bool, int, float)) else text
    return found
