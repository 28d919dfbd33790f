"""What the thesis takes from Candide-3: pairs of landmarks and vertices, seven shape units and eight action units.

Chang, "Human Emotion Recognition from Image and Speech using Deep Neural Networks" (2021), section 4.1. The names of the columns are the
paper's, after the number in the Facial Action Coding System (FACS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Unit:
    """One coefficient of the fit."""

    name: str
    """In tables and columns."""
    meaning: str
    """As the paper calls it."""
    parts: tuple[str, ...]
    """The units of the wireframe that move together, each with this coefficient."""


ACTION_UNITS = (
    Unit("au26_jaw_drop", "AU 26/27: jaw drop", ("Jaw drop",)),
    Unit("au4_brow_lower", "AU 4: brow lower", ("Brow lowerer",)),
    Unit("au15_lip_corner_depressor", "AU 13/15: lip corner depressor", ("Lip corner depressor",)),
    Unit("au10_upper_lip_raiser", "AU 10: upper lip raiser", ("Upper lip raiser",)),
    Unit("au20_lip_stretcher", "AU 20: lip stretcher", ("Lip stretcher",)),
    Unit("au7_lid_tightener", "AU 7: lid tightener", ("Lid tightener",)),
    Unit("au9_nose_wrinkler", "AU 9: nose wrinkler", ("Nose wrinkler",)),
    Unit("au43_eyes_closed", "AU 42/43/44/45: eyes closed", ("Eyes closed",)),
)
"""What the face does, in the paper's order. 0 is at rest, 1 the whole movement."""

# The paper has one unit for the eyebrows' height; this edition of Candide-3 has one for each part of the brow, which together are that unit.
_BROW_PARTS = tuple(f"Eyebrows {part} vertical position" for part in ("between", "inner", "middle", "outer"))
SHAPE_UNITS = (
    Unit("brows_vertical_position", "SU 1: eye brows vertical position", _BROW_PARTS),
    Unit("eyes_vertical_position", "SU 2: eyes vertical position", ("Eyes vertical position",)),
    Unit("eyes_width", "SU 3: eyes width", ("Eyes width",)),
    Unit("eyes_separation_distance", "SU 4: eyes separation distance", ("Eyes separation distance",)),
    Unit("mouth_vertical_position", "SU 5: mouth vertical position", ("Mouth vertical position",)),
    Unit("mouth_width", "SU 6: mouth width", ("Mouth width",)),
    Unit("eyes_vertical_difference", "SU 7: eyes vertical differences", ("Eyes vertical difference",)),
)
"""How a person's face is built, in the paper's order."""

_PAIRS = {
    "nose": ((35, 31, 30, 33, 28), (26, 59, 5, 6, 94)),
    "eye on the picture's left": ((36, 37, 38, 39, 40, 41), (53, 98, 104, 56, 110, 100)),
    "eye on the picture's right": ((42, 43, 44, 45, 46, 47), (23, 103, 97, 20, 99, 109)),
    "brow on the picture's left": ((17, 19, 21), (48, 49, 50)),
    "brow on the picture's right": ((22, 24, 26), (17, 16, 15)),
    "outer lips": ((48, 51, 54, 57, 53, 49, 55, 59), (64, 7, 31, 8, 79, 80, 85, 86)),
    "inner lips": ((60, 62, 64, 66), (89, 87, 88, 40)),
}
LANDMARKS = np.array([point for points, _ in _PAIRS.values() for point in points])
"""(35,) numbers of the 68 landmarks (from 0) that the fit uses."""
VERTICES = np.array([vertex for _, vertices in _PAIRS.values() for vertex in vertices])
"""(35,) the vertex of Candide-3 that each belongs to."""
