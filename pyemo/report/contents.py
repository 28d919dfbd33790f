"""What a report shows. It knows no recogniser: whoever has rows of probabilities can have a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Picture:
    """A thumbnail: how somebody looked at one moment."""

    time: float
    """Seconds; NaN where the input has no time."""
    label: str
    score: float
    """Probability of ``label`` at that moment."""
    image: np.ndarray
    """RGB uint8 (side, side, 3)."""


@dataclass(frozen=True)
class Curve:
    """A movement, measured at each moment of a row."""

    name: str
    """For people: ``jaw drop``."""
    code: str
    """As the field writes it, ``AU 26/27``; may be empty."""
    values: np.ndarray
    """(N,) float32: 0 at rest, 1 the whole movement, also less and more; NaN where nothing was measured."""


@dataclass(frozen=True)
class Row:
    """One line of the timeline: a person's face, or a voice.

    Raises:
        ValueError: the arrays and the curves differ in length, or are not one- and two-dimensional.
    """

    name: str
    """For people: ``Face 1``, ``Voice``."""
    kind: Literal["face", "voice"]
    label: str
    """The row's own verdict."""
    start: np.ndarray
    """(N,) float64, seconds, not falling; NaN where the input has no time."""
    end: np.ndarray
    """(N,) float64; where the next row starts later than this, nobody was there in between."""
    probabilities: np.ndarray
    """(N, labels) float32, each in [0, 1]."""
    pictures: tuple[Picture, ...] = ()
    curves: tuple[Curve, ...] = ()

    def __post_init__(self) -> None:
        if self.start.ndim != 1 or self.end.shape != self.start.shape or self.probabilities.ndim != 2:
            raise ValueError(
                f"{self.name}: expected start and end (N,) and probabilities (N, labels), got {self.start.shape}, {self.end.shape} "
                f"and {self.probabilities.shape}"
            )
        if len(self.probabilities) != len(self.start):
            raise ValueError(
                f"{self.name}: {len(self.start)} times, but {len(self.probabilities)} rows of probabilities"
            )
        for curve in self.curves:
            if curve.values.shape != self.start.shape:
                raise ValueError(
                    f"{self.name}: {len(self.start)} times, but the curve {curve.name} has the shape {curve.values.shape}"
                )


@dataclass(frozen=True)
class Verdict:
    """How the clip got its label: that of its faces by equation 1 of Yang, Lee, Park; with a voice, by mean probabilities."""

    label: str | None
    """None where there was nobody to see or hear."""
    votes: dict[str, int]
    """Label -> moments of faces in which it was the most probable one."""
    threshold: float | None
    """None: the most frequent label wins."""
    emotion: str | None
    """The faces' most frequent label other than neutral."""
    share: float
    """Its share of all votes, 0 to 1."""
    top: str | None
    """The faces' most frequent label, neutral included."""
    faces: str | None = None
    """The label of the faces alone, where a voice was heard too."""
    voice: str | None = None
    """The label of the voice alone; None: no voice."""
    scores: dict[str, float] = field(default_factory=dict)
    """Mean probability of each label, voice included; not needed without a voice."""


@dataclass(frozen=True)
class Contents:
    title: str
    """Most often the file's name."""
    kind: Literal["image", "video", "sequence", "audio"]
    labels: tuple[str, ...]
    rows: tuple[Row, ...]
    verdict: Verdict
    source: Path | None = None
    """The clip or image; None where it is not a file."""
    duration: float | None = None
    """Seconds."""
    frames: int = 0
    card: str = ""
    """The model card, Markdown."""
    settings: dict[str, str] = field(default_factory=dict)
    """What was used, name -> value, in words for people."""
    warnings: tuple[str, ...] = ()
    measured: str = ""
    """How the rows' curves were measured and what their values mean, in words for people."""

    @property
    def timed(self) -> bool:
        return self.duration is not None
