"""Models that decide from landmarks: folders of the system ``candide-au``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyemo.config import CandideAuRecipe
from pyemo.weights.store import CARD

if TYPE_CHECKING:
    from pyemo.candide_au.model import CandideAuModel


@dataclass(frozen=True)
class LoadedCandideAu:
    model: CandideAuModel
    folder: Path

    @property
    def recipe(self) -> CandideAuRecipe:
        return self.model.recipe

    @property
    def card(self) -> str:
        """The model card, Markdown; empty where the folder has none."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def read_landmark_model(folder: Path) -> LoadedCandideAu:
    """Errors: :func:`pyemo.candide_au.model.read_candide_au`."""
    from pyemo.candide_au.model import read_candide_au  # scikit-learn and SciPy are slow to import

    return LoadedCandideAu(read_candide_au(folder), folder)
