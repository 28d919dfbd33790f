"""What the recogniser found in one input."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from pyemo.errors import ConfigError
from pyemo.files import written_whole
from pyemo.recognition.reporting import contents
from pyemo.recognition.sheet import describe, write_sheet
from pyemo.recognition.threshold import Votes
from pyemo.recognition.thumbnails import Thumbnail
from pyemo.recognition.timeline import VOICE
from pyemo.report import VideoChoice, write_report

FORMATS = ("csv", "html", "json")
Kind = Literal["image", "video", "sequence", "audio"]


@dataclass(frozen=True)
class FaceSummary:
    """One person: a track of a video, a face of an image."""

    number: int
    """From 0 in order of appearance (in images: of the detector's confidence)."""
    label: str
    """By the same rule as the label of the whole."""
    scores: dict[str, float]
    """Mean probability of each emotion over the frames of this face."""
    frames: int
    start: float | None
    """Seconds; None where the input has no time (images, image sequences)."""
    end: float | None


@dataclass(frozen=True)
class Result:
    """Emotions of all faces, and of the voice, in one image, video, sound or image sequence."""

    kind: Kind
    source: str | None
    """The path as given; None for an array."""
    labels: tuple[str, ...]
    timeline: pd.DataFrame
    """One row for each face in each frame, and one for each window of the sound, whose ``face`` is -1; by time and then by face.

    ``start`` and ``end`` in seconds (float64; from the frame's time to the next frame's; NaN where the input has no time), ``face`` (int64),
    ``label`` (the most probable emotion) and a column (float32) with the probability of each emotion, named after it. With the feature
    ``au`` also the columns :data:`pyemo.candide.timeline.COLUMNS` (float32; NaN for the voice and for faces without landmarks). Nothing is
    averaged or merged: :attr:`segments` does that."""
    frames: int
    """Frames analysed, with and without faces."""
    duration: float | None
    """Seconds from the first frame's start to the last frame's end; None where the input has no time."""
    threshold: float | None
    """Of equation 1 (:mod:`pyemo.recognition.threshold`); None: Top-1."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the input though it could be read, for instance that a video is cut off."""
    timing: dict[str, float] = field(default_factory=dict)
    """Seconds that each stage worked (decode, detect with tracking, crop, landmarks, model, write, report) and ``total``, the clock on the wall
    without the last two. Stages run side by side, so their sum may be larger."""
    thumbnails: tuple[Thumbnail, ...] = ()
    """A few pictures of each face that was seen long, by face, the surest first."""
    missing: dict[str, str] = field(default_factory=dict)
    """Modality that the model could use and the input lacks -> why."""
    weights: dict[str, float] = field(default_factory=dict)
    """Of the average over modalities; 1 where not named."""
    card: str = ""
    """The model card, Markdown."""

    @cached_property
    def seen(self) -> pd.DataFrame:
        """The timeline's rows of faces."""
        return self.timeline[self.timeline["face"] != VOICE]

    @cached_property
    def heard(self) -> pd.DataFrame:
        """The timeline's rows of the voice."""
        return self.timeline[self.timeline["face"] == VOICE]

    @cached_property
    def votes(self) -> Votes:
        """One vote for each face in each frame."""
        return self._votes(self.seen)

    @property
    def used(self) -> tuple[str, ...]:
        """The modalities that decide: ``face``, ``voice`` or both."""
        return tuple(name for name, rows in (("face", self.seen), ("voice", self.heard)) if len(rows))

    @property
    def no_face(self) -> bool:
        return self.seen.empty

    @property
    def label(self) -> str | None:
        """The emotion of the whole; None where there is neither a face nor a voice.

        Of faces alone by threshold voting over all faces and frames, of a voice alone the most probable one, of both that of the averaged
        probabilities (:attr:`scores`).
        """
        if self.used == ("face",):
            return self.face_label
        scores = self.scores
        return max(scores, key=lambda label: scores[label]) if scores else None

    @property
    def face_label(self) -> str | None:
        """By threshold voting over all faces and frames; None where there is no face."""
        return self.votes.verdict(self.threshold)

    @property
    def voice_label(self) -> str | None:
        """The most probable emotion of the voice, over all its windows; None where there is none."""
        scores = self.voice_scores
        return max(scores, key=lambda label: scores[label]) if scores else None

    @property
    def scores(self) -> dict[str, float]:
        """Mean probability of each emotion: of faces and of the voice, averaged with :attr:`weights`; empty where there is neither."""
        parts = {"face": self.face_scores, "voice": self.voice_scores}
        weights = {name: self.weights.get(name, 1.0) for name in self.used}
        return {
            label: sum(weight * parts[name][label] for name, weight in weights.items()) / sum(weights.values())
            for label in (self.labels if weights else ())
        }

    @property
    def face_scores(self) -> dict[str, float]:
        """Mean probability of each emotion over all faces and frames; empty where there is no face."""
        return self._scores(self.votes)

    @property
    def voice_scores(self) -> dict[str, float]:
        """Mean probability of each emotion over the windows of the sound; empty where there is no voice."""
        return self._scores(self._votes(self.heard))

    @cached_property
    def faces(self) -> list[FaceSummary]:
        summaries = []
        for number, rows in self.seen.groupby("face", sort=True):
            votes = self._votes(rows)
            label = votes.verdict(self.threshold)
            assert label is not None  # a group has rows
            start, end = _seconds(rows["start"].iloc[0]), _seconds(rows["end"].iloc[-1])
            summaries.append(FaceSummary(int(str(number)), label, self._scores(votes), len(rows), start, end))
        return summaries

    @property
    def segments(self) -> pd.DataFrame:
        """The timeline with successive frames of one face and one label joined, and their probabilities and features averaged."""
        timeline = self.timeline.sort_values("face", kind="stable")
        before = timeline.shift()
        joined = (timeline["face"] == before["face"]) & (timeline["label"] == before["label"])
        joined &= (timeline["start"] == before["end"]) | timeline["start"].isna()
        how = {"start": "first", "end": "last", "face": "first", "label": "first"}
        how |= {str(name): "mean" for name in timeline if name not in how}
        segments = timeline.groupby((~joined).cumsum().to_numpy()).agg(how)
        return segments.sort_values(["start", "face"], kind="stable", ignore_index=True)

    def summary(self) -> dict[str, Any]:
        """All but the timeline, as it stands in the JSON file."""
        return {
            "source": self.source,
            "kind": self.kind,
            "label": self.label,
            "used": list(self.used),
            "missing": self.missing,
            "no_face": self.no_face,
            "scores": {label: round(score, 6) for label, score in self.scores.items()},
            "threshold": self.threshold,
            "frames": self.frames,
            "duration": self.duration,
            "faces": [
                {**vars(face), "scores": {label: round(score, 6) for label, score in face.scores.items()}}
                for face in self.faces
            ],
            "voice": {
                "label": self.voice_label,
                "scores": {label: round(score, 6) for label, score in self.voice_scores.items()},
                "windows": len(self.heard),
            },
            "weights": {name: self.weights.get(name, 1.0) for name in self.used},
            "votes": {
                "counts": dict(zip(self.labels, self.votes.counts.tolist(), strict=True)),
                "mass": dict(zip(self.labels, self.votes.mass.tolist(), strict=True)),
            },
            "warnings": list(self.warnings),
            "timing": {stage: round(seconds, 4) for stage, seconds in self.timing.items()},
            "card": self.card,
        }

    def save(
        self,
        folder: str | Path,
        name: str | None = None,
        *,
        formats: Sequence[str] = FORMATS,
        extra: Mapping[str, Any] | None = None,
        video: VideoChoice = "link",
    ) -> list[Path]:
        """Write ``<name>.csv`` (the timeline), ``<name>.html`` (the report for people) and ``<name>.json`` (the summary), each whole, the
        JSON last.

        With the report come ``<name>.faces.jpg``, the thumbnails, from which it can be made again, and for videos that browsers do not
        play a copy of the video.

        Args:
            folder: made if it is not there.
            name: default the file name of the source, extension included (``clip.mp4`` gives ``clip.mp4.csv``), or ``image``.
            formats: some of ``csv``, ``html`` and ``json``.
            extra: further keys of the JSON file; of them ``settings`` are shown in the report.
            video: whether the report links to the clip (``link``), holds it (``embed``), or does without (``none``).

        Returns:
            The files, the JSON last.

        Raises:
            ConfigError: unknown format.
            PyemoError: a file cannot be written.
        """
        check_formats(formats)
        extra = dict(extra or {})
        stem = name or (Path(self.source).name if self.source else "image")
        written = {ending: Path(folder) / f"{stem}.{ending}" for ending in FORMATS if ending in formats}
        if "csv" in written:
            began = time.perf_counter()
            with written_whole(written["csv"]) as path:
                self.timeline.to_csv(path, index=False, float_format="%.6f")
            self.timing["write"] = time.perf_counter() - began
        if "html" in written:
            began = time.perf_counter()
            if self.thumbnails:
                write_sheet(Path(folder) / f"{stem}.faces.jpg", self.thumbnails)
                extra["thumbnails"] = describe(self.thumbnails)
            write_report(contents(self, extra.get("settings")), written["html"], video)
            self.timing["report"] = time.perf_counter() - began
        if "json" in written:
            with written_whole(written["json"]) as path:
                path.write_text(
                    json.dumps({**self.summary(), **extra}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
                )
        summary = [written.pop("json")] if "json" in written else []
        beside = (
            [Path(folder) / f"{stem}.{ending}" for ending in ("faces.jpg", "preview.mp4")] if "html" in written else []
        )
        return [*written.values(), *(path for path in beside if path.is_file()), *summary]

    def _votes(self, rows: pd.DataFrame) -> Votes:
        return Votes.of(rows[list(self.labels)].to_numpy(np.float32), self.labels)

    def _scores(self, votes: Votes) -> dict[str, float]:
        if not votes.total:
            return {}
        return dict(zip(self.labels, (votes.mass / votes.total).tolist(), strict=True))


def check_formats(formats: Sequence[str]) -> None:
    for unknown in formats:
        if unknown not in FORMATS:
            raise ConfigError(f"unknown format {unknown!r}; there are {', '.join(FORMATS)}")


def _seconds(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
