"""A result as the contents of a report (:mod:`pyemo.report`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pyemo.candide.units import ACTION_UNITS
from pyemo.recognition.threshold import Votes
from pyemo.recognition.timeline import VOICE
from pyemo.report import Contents, Curve, Picture, Row, Verdict

if TYPE_CHECKING:
    from pyemo.recognition.result import Result

_TRUSTED = 0.1  # the largest fit_error: beyond it the mesh lies beside the face (pyemo.candide.timeline.COLUMNS)
_FIT = "Movements are fitted to 68 points of the face with the Candide-3 mesh"
_MEASURED = (
    f"{_FIT}: 0 at rest, as in the face's first frames, 1 the whole movement; blank where the mesh does not fit."
)
_MEASURED_ONCE = (
    f"{_FIT}: 0 at rest, 1 the whole movement. One picture cannot tell a movement from the shape of the face."
)


def contents(result: Result, settings: Mapping[str, Any] | None = None) -> Contents:
    """What a report shows of a result. ``settings``: of the recogniser, as :meth:`Recogniser.settings` gives them."""
    rows = tuple(_row(result, int(str(number)), rows) for number, rows in result.timeline.groupby("face", sort=True))
    candidates = result.votes.candidates()
    verdict = Verdict(
        label=result.label,
        votes=dict(zip(result.labels, map(int, result.votes.counts), strict=True)),
        threshold=result.threshold,
        emotion=candidates.emotion,
        share=candidates.share,
        top=candidates.top,
        faces=result.face_label,
        voice=result.voice_label,
        scores=result.scores,
    )
    return Contents(
        title=Path(result.source).name if result.source else "image",
        kind=result.kind,
        labels=result.labels,
        rows=rows,
        verdict=verdict,
        source=Path(result.source) if result.source else None,
        duration=result.duration,
        frames=result.frames,
        card=result.card,
        settings=_settings(result, settings or {}),
        warnings=(*result.warnings, *(f"No {name} was read: {why}" for name, why in result.missing.items())),
        measured=_MEASURED_ONCE if result.kind == "image" else _MEASURED,
    )


def _row(result: Result, number: int, rows: pd.DataFrame) -> Row:
    probabilities = rows[list(result.labels)].to_numpy(np.float32)
    heard = number == VOICE
    label = result.voice_label if heard else Votes.of(probabilities, result.labels).verdict(result.threshold)
    assert label is not None  # a group has rows
    return Row(
        name="Voice" if heard else f"Face {number}",
        kind="voice" if heard else "face",
        label=label,
        start=rows["start"].to_numpy(np.float64),
        end=rows["end"].to_numpy(np.float64),
        probabilities=probabilities,
        pictures=tuple(
            Picture(one.time, one.label, one.score, one.image) for one in result.thumbnails if one.face == number
        ),
        curves=_curves(rows),
    )


def _curves(rows: pd.DataFrame) -> tuple[Curve, ...]:
    """The action units, if they were measured at all."""
    if "fit_error" not in rows:
        return ()
    trusted = rows["fit_error"].to_numpy() <= _TRUSTED  # NaN is not
    if not trusted.any():
        return ()
    curves = []
    for unit in ACTION_UNITS:
        code, _, name = unit.meaning.partition(": ")
        values = np.where(trusted, rows[unit.name].to_numpy(np.float32), np.float32(np.nan))
        curves.append(Curve(name, code, values))
    return tuple(curves)


def _settings(result: Result, settings: Mapping[str, Any]) -> dict[str, str]:
    words = {"model": "Model", "weights_sha256": "Checksum of its weights (SHA-256)", "detector": "Face detector"}
    found = {name: str(settings[key]) for key, name in words.items() if key in settings}
    if "every" in settings:
        found["Faces detected"] = f"in every {settings['every']}. frame and wherever they move fast; tracked between"
    found["Threshold"] = "none: the most frequent label wins" if result.threshold is None else f"{result.threshold:g}"
    if result.source:
        found["File"] = result.source
    return found
