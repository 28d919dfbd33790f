"""Wireframe files (``.wfm``) of the Candide face models: a mesh, and vectors that deform it.

The format, as Ahlberg's own files have it: Latin-1 text; lines that begin with ``#`` are comments, empty lines mean nothing. Four lists
follow each other, each headed by its length: vertices (x, y, z), faces (three vertex numbers from 0), animation units and shape units. A
unit is a list again: a vertex number and the x, y, z by which that vertex moves where the unit's coefficient is 1. Names of units stand in
the comments before them. What comes after (current coefficients, texture, motion) is not part of the model and is not read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyemo.errors import AssetError


@dataclass(frozen=True)
class Wireframe:
    """A mesh in the axes of its file: x to the picture's right, y up, z towards the viewer; lengths have no unit."""

    vertices: np.ndarray
    """(V, 3) float64."""
    faces: np.ndarray
    """(F, 3) int64, numbers of vertices."""
    animation_units: Mapping[str, np.ndarray]
    """Name -> (V, 3) float64, what a coefficient of 1 adds to the vertices."""
    shape_units: Mapping[str, np.ndarray]
    """The same for the shape of a person's face."""


def read_wfm(path: str | Path) -> Wireframe:
    """Read a wireframe file.

    A unit's name is the first line of the last comment before it, without a leading ``AUV<number>`` and a closing parenthesis: ``AUV6   Eyes
    closed (AU42/43/44/45)`` is ``Eyes closed``. A vertex that a unit lists twice moves by the sum.

    Raises:
        AssetError: no such file, or not in this format; the message names the line and what was expected there.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror or error}") from error
    return _Reader(path, text).wireframe()


class _Reader:
    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = _with_comments(text)
        self._number = 0

    def wireframe(self) -> Wireframe:
        count, _ = self._length("vertices")
        vertices = np.array([self._floats(3, f"x, y and z of vertex {index}") for index in range(count)]).reshape(-1, 3)
        count, _ = self._length("faces")
        faces = [self._vertices_of_face(f"three vertex numbers of face {index}", vertices) for index in range(count)]
        if not len(vertices) or not faces:
            raise AssetError(f"{self._path}: a wireframe has vertices and faces, got {len(vertices)} and {len(faces)}")
        animation_units = self._units("animation unit", vertices)
        return Wireframe(vertices, np.array(faces, np.int64), animation_units, self._units("shape unit", vertices))

    def _units(self, kind: str, vertices: np.ndarray) -> dict[str, np.ndarray]:
        units: dict[str, np.ndarray] = {}
        count, _ = self._length(f"{kind}s")
        for position in range(1, count + 1):
            rows, comment = self._length(f"vertices of {kind} {position}")
            name = re.sub(r"^AUV\d+\s+|\s*\([^()]*\)$", "", comment) or f"{kind} {position}"
            if name in units:
                raise AssetError(f"{self._path}, line {self._number}: a second {kind} is called {name!r}")
            units[name] = np.zeros_like(vertices)
            for _ in range(rows):
                index, *vector = self._floats(4, f"vertex number, x, y and z of {kind} {name!r}")
                units[name][self._vertex(index, vertices)] += vector
        return units

    def _vertices_of_face(self, expected: str, vertices: np.ndarray) -> list[int]:
        return [self._vertex(number, vertices) for number in self._floats(3, expected)]

    def _length(self, of: str) -> tuple[int, str]:
        """The head of a list: how many rows it has, and the comment before it."""
        expected = f"the number of {of}"
        line, comment = self._next(expected)
        if not re.fullmatch(r"\d{1,6}", line):
            raise self._fault(expected, line)
        return int(line), comment

    def _floats(self, count: int, expected: str) -> list[float]:
        line, _ = self._next(expected)
        try:
            values = [float(part) for part in line.split()]
        except ValueError:
            values = []
        if len(values) != count or not all(map(math.isfinite, values)):
            raise self._fault(expected, line)
        return values

    def _vertex(self, number: float, vertices: np.ndarray) -> int:
        if not number.is_integer() or not 0 <= number < len(vertices):
            raise self._fault(f"a vertex number from 0 to {len(vertices) - 1}", f"{number:g}")
        return int(number)

    def _next(self, expected: str) -> tuple[str, str]:
        line = next(self._lines, None)
        if line is None:
            raise AssetError(f"{self._path} ends after line {self._number}, expected {expected}")
        self._number = line[0]
        return line[1], line[2]

    def _fault(self, expected: str, found: str) -> AssetError:
        shown = found if len(found) <= 40 else found[:40] + " ..."
        return AssetError(f"{self._path}, line {self._number}: expected {expected}, got {shown!r}")


def _with_comments(text: str) -> Iterator[tuple[int, str, str]]:
    """Number and text of each line with data, and the first line of the last comment between it and the one before."""
    comment, in_block = "", False
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line.startswith("#"):
            comment = comment if in_block else line.lstrip("#").strip()
            in_block = True
        else:
            in_block = False
            if line:
                yield number, line, comment
                comment = ""
