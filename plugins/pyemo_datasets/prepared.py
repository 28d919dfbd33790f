"""What ``pyemo prepare`` has made of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pyemo.contracts import Manifest
from pyemo.data.prepared import open_prepared


class Prepared:
    """Reads a folder that ``pyemo prepare`` has written: the rows of the data set as it was prepared, those without a usable face or sound
    included; ``Manifest.problems`` names these. Crops and sound: :func:`pyemo.data.prepared.open_prepared`.
    """

    contract_version: ClassVar[int] = 1

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if ``root`` was not prepared, or is damaged."""
        return open_prepared(root).manifest
