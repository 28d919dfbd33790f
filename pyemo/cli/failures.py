"""What the preparation of a data set could not read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyemo.data.recipe_data import RecipeData


def report_failures(data: RecipeData, prepared: Path) -> int:
    """Say where the rows that could not be read are listed; the exit status: 3 if there are such, else 0."""
    from pyemo.data.preparation import ERRORS

    if not data.failures:
        return 0
    print(f"pyemo: {len(data.failures)} rows could not be read; all in {prepared / ERRORS}", file=sys.stderr)
    return 3
