"""Small pictures of the faces in a clip, so that a person can tell who is who."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

SIDE = 96
"""Of a thumbnail, pixels."""
MARGIN = 1.25
"""A thumbnail shows so much more than the model sees, as a factor on the side of the square."""
EVERY = 5
"""Every so many frames of a track one may become a thumbnail: neighbours look alike, and cutting costs time."""

_PER_FACE = 3
_MOST_FACES = 48


@dataclass(frozen=True)
class Thumbnail:
    """A face at a moment when the model was sure of it."""

    face: int
    """The track's number in the timeline."""
    time: float
    """Start of the frame in seconds; NaN where the input has no time."""
    label: str
    """The most probable emotion at that moment."""
    score: float
    """Its probability."""
    image: np.ndarray
    """RGB uint8 (SIDE, SIDE, 3)."""


class ThumbnailKeeper:
    """Takes candidates as they come and keeps the surest, in bounded memory: one a label for each of the faces seen longest."""

    def __init__(self) -> None:
        self._offers: defaultdict[int, int] = defaultdict(int)
        self._kept: dict[int, dict[str, Thumbnail]] = {}

    def offer(self, candidate: Thumbnail) -> None:
        face = candidate.face
        self._offers[face] += 1
        if face not in self._kept:
            if len(self._kept) == _MOST_FACES:
                shortest = min(self._kept, key=lambda kept: self._offers[kept])
                if self._offers[shortest] >= self._offers[face]:
                    return
                del self._kept[shortest]
            self._kept[face] = {}
        best = self._kept[face].get(candidate.label)
        if best is None or candidate.score > best.score:
            self._kept[face][candidate.label] = candidate

    def thumbnails(self) -> tuple[Thumbnail, ...]:
        """By face, the surest first; at most three a face, each with another label."""
        return tuple(
            thumbnail
            for face in sorted(self._kept)
            for thumbnail in sorted(self._kept[face].values(), key=lambda kept: -kept.score)[:_PER_FACE]
        )
