"""The stains of light microscopy: their optical densities and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Matrix = tuple[tuple[float, ...], ...]


def _rows(matrix: np.ndarray) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())


@dataclass(frozen=True)
class StainSet:
    """Up to three stains that are used together."""

    stains: tuple[str, ...]
    densities: Matrix
    """3 x 3: a stain's row holds its optical densities of red, green and blue."""
    unmixing: Matrix
    """Inverse of ``densities``: a stain's column turns optical densities of red, green and blue into the stain's amount."""


def _stain_set(**densities: tuple[float, float, float]) -> StainSet:
    """Where two stains are given, the third is what they leave: a vector perpendicular to both."""
    rows = list(densities.values())
    names = tuple(densities)
    if len(rows) == 2:
        rows.append(tuple(np.cross(rows[0], rows[1]).tolist()))
        names += ("residual",)
    matrix = np.array(rows)
    return StainSet(names, _rows(matrix), _rows(np.linalg.inv(matrix)))


STAIN_SETS: dict[str, StainSet] = {
    # Ruifrok & Johnston, "Quantification of histochemical staining by color deconvolution", 2001
    "hed": _stain_set(hematoxylin=(0.65, 0.70, 0.29), eosin=(0.07, 0.99, 0.11), dab=(0.27, 0.57, 0.78)),
    # The others are G. Landini's, of the ImageJ plug-in Colour Deconvolution
    "hdx": _stain_set(hematoxylin=(0.650, 0.704, 0.286), dab=(0.268, 0.570, 0.776)),
    "fgx": _stain_set(feulgen=(0.46420921, 0.83008335, 0.30827187), light_green=(0.94705542, 0.25373821, 0.19650764)),
    "bex": _stain_set(methyl_blue=(0.834750233, 0.513556283, 0.196330403), eosin=(0.092789, 0.954111, 0.283111)),
    "rbd": _stain_set(
        fast_red=(0.21393921, 0.85112669, 0.47794022),
        fast_blue=(0.74890292, 0.60624161, 0.26731082),
        dab=(0.268, 0.570, 0.776),
    ),
    "gdx": _stain_set(methyl_green=(0.98003, 0.144316, 0.133146), dab=(0.268, 0.570, 0.776)),
    "hax": _stain_set(hematoxylin=(0.650, 0.704, 0.286), aec=(0.2743, 0.6796, 0.6803)),
    "bro": _stain_set(
        aniline_blue=(0.853033, 0.508733, 0.112656),
        azocarmine=(0.09289875, 0.8662008, 0.49098468),
        orange_g=(0.10732849, 0.36765403, 0.9237484),
    ),
    "bpx": _stain_set(
        methyl_blue=(0.7995107, 0.5913521, 0.10528667), ponceau_fuchsin=(0.09997159, 0.73738605, 0.6680326)
    ),
    "ahx": _stain_set(alcian_blue=(0.874622, 0.457711, 0.158256), hematoxylin=(0.552556, 0.7544, 0.353744)),
    "hpx": _stain_set(hematoxylin=(0.644211, 0.716556, 0.266844), pas=(0.175411, 0.972178, 0.154589)),
}

Select = int | str | Sequence[int | str] | None


def stain_set(name: str) -> StainSet:
    found = STAIN_SETS.get(name)
    if found is None:
        raise ValueError(
            f"unknown stains {name!r}; expected one of {', '.join(STAIN_SETS)} or a 3x3 matrix of optical densities"
        )
    return found


def stain_indices(select: Select, names: tuple[str, ...]) -> tuple[int, ...]:
    """The rows that ``select`` (one or several indices or names, or None for all) means; ``names`` is empty where none are known."""
    if select is None:
        return (0, 1, 2)
    wanted = (select,) if isinstance(select, (int, str)) else tuple(select)
    indices = tuple(_stain_index(stain, names) for stain in wanted)
    if not indices or len(set(indices)) != len(indices):
        raise ValueError(f"select must name one to three different stains, got {select!r}")
    return indices


def _stain_index(stain: int | str, names: tuple[str, ...]) -> int:
    if isinstance(stain, str):
        if stain not in names:
            known = f"one of {', '.join(names)}" if names else "an index: a matrix has no names"
            raise ValueError(f"unknown stain {stain!r} in select; expected {known}")
        return names.index(stain)
    if not -3 <= stain < 3:
        raise ValueError(f"select: stain {stain} is out of range; there are three")
    return stain % 3
