"""Candide-3 as the fit uses it: in the axes of a picture, with the units of the thesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyemo.candide.units import ACTION_UNITS, SHAPE_UNITS, VERTICES, Unit
from pyemo.candide.wfm import Wireframe, read_wfm
from pyemo.errors import AssetError

_TO_PICTURE = np.array((1.0, -1.0, -1.0))
"""Half a turn about x: from y up and z towards the viewer to y down and z into the picture."""


@dataclass(frozen=True)
class FaceMesh:
    """The face at rest and what deforms it. Axes of a picture: x right, y down, z away from the viewer; lengths have no unit."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int64, numbers of vertices."""
    action_units: np.ndarray
    """(8, V, 3) float64: what a coefficient of 1 of each of :data:`~pyemo.candide.units.ACTION_UNITS` adds."""
    shape_units: np.ndarray
    """(7, V, 3) float64, the same for :data:`~pyemo.candide.units.SHAPE_UNITS`."""

    @classmethod
    def load(cls, path: str | Path | None = None) -> FaceMesh:
        """From a wireframe file; None takes the asset ``candide3``, or ``candide3-70auv`` where that is the one imported.

        Raises:
            AssetError: absent (the message says how to import it), malformed, or without a unit that the fit needs.
        """
        if path is None:
            from pyemo import assets

            only_other = assets.is_present("candide3-70auv") and not assets.is_present("candide3")
            path = assets.path("candide3-70auv" if only_other else "candide3")
        return cls.from_wireframe(read_wfm(path), str(path))

    @classmethod
    def from_wireframe(cls, wireframe: Wireframe, origin: str) -> FaceMesh:
        """``origin`` names the wireframe in errors."""
        if len(wireframe.vertices) <= VERTICES.max():
            raise AssetError(
                f"{origin} is not Candide-3: {len(wireframe.vertices)} vertices, expected at least {VERTICES.max() + 1}"
            )
        return cls(
            wireframe.vertices * _TO_PICTURE,
            wireframe.faces,
            _basis(ACTION_UNITS, wireframe.animation_units, "animation", origin),
            _basis(SHAPE_UNITS, wireframe.shape_units, "shape", origin),
        )

    def shaped(self, shape: np.ndarray) -> np.ndarray:
        """(V, 3): the face at rest of a person with the coefficients (7,) of the shape units."""
        return self.vertices + np.tensordot(shape, self.shape_units, axes=1)


def _basis(units: Sequence[Unit], known: Mapping[str, np.ndarray], kind: str, origin: str) -> np.ndarray:
    missing = [part for unit in units for part in unit.parts if part not in known]
    if missing:
        raise AssetError(
            f"{origin} is not Candide-3 as this fit needs it: no {kind} unit is called {', '.join(missing)}"
        )
    return np.stack([sum(known[part] for part in unit.parts) * _TO_PICTURE for unit in units])
