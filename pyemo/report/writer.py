"""The report as a file."""

from __future__ import annotations

from pathlib import Path

from pyemo.files import written_whole
from pyemo.report.contents import Contents
from pyemo.report.page import render
from pyemo.report.video import VideoChoice, check_choice, medium


def write_report(contents: Contents, path: Path, video: VideoChoice = "link") -> Path:
    """Write the report whole.

    Args:
        contents: what it shows.
        path: of the file, ends in ``.html``.
        video: ``link`` to the clip, ``embed`` it, or ``none``.

    Raises:
        ConfigError: another ``video``.
        PyemoError: the file cannot be written, or the chart library is not installed.
    """
    check_choice(video)
    page = render(contents, medium(contents.source, contents.kind, path, video))
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
