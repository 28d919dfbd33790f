"""uPlot, the page's chart library (Leon Sorokin, MIT licence), out of the installed package ``uplot-python``."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pyemo.errors import PyemoError

_PACKAGE = "uplot-python"


@cache
def library() -> tuple[str, str]:
    """Script and style sheet. The script's first comment names its author and licence and has to stay.

    Raises:
        PyemoError: the package, or a file of it, is not there.
    """
    # Read, not imported: the Python side of that package loads IPython.
    try:
        folder = Path(str(distribution(_PACKAGE).locate_file("uplot/static")))
        script, style = ((folder / name).read_text(encoding="utf-8") for name in ("uPlot.iife.js", "uPlot.min.css"))
    except (PackageNotFoundError, OSError) as error:
        raise PyemoError(
            f"reports need the package {_PACKAGE} ({error}); install it, or leave out the format html"
        ) from error
    return script, style
