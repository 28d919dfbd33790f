"""A chart of a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pyemo.palette import emotion_colours, line_colours
from pyemo.recognition.result import Result
from pyemo.recognition.timeline import VOICE

_MOST_FACES = 8


def result_figure(result: Result) -> Figure:
    """Probability of each emotion over time, or without times in bars; a panel for each face, those seen longest if there are many, and one
    for the voice."""
    faces = sorted(sorted(result.faces, key=lambda face: -face.frames)[:_MOST_FACES], key=lambda face: face.number)
    people = [(face.number, f"face {face.number}: {face.label}", face.scores) for face in faces]
    if result.voice_label is not None:
        people.append((VOICE, f"voice: {result.voice_label}", result.voice_scores))
    figure = Figure(figsize=(9, 1.2 + 1.8 * max(len(people), 1)), layout="constrained")
    panels = figure.subplots(max(len(people), 1), 1, sharex=True, squeeze=False)[:, 0]
    timed = result.duration is not None
    if not people:
        panels[0].set_axis_off()
        panels[0].text(0.5, 0.5, "no face", ha="center", va="center")
    for panel, (number, title, scores) in zip(panels, people, strict=False):
        if timed:
            _draw_timeline(panel, result, number)
        else:
            panel.bar(result.labels, list(scores.values()), color=list(emotion_colours(result.labels).values()))
        panel.set_ylim(0, 1)
        panel.set_ylabel("probability")
        panel.set_title(title, fontsize=10, loc="left")
    if people and timed:
        panels[-1].set_xlabel("seconds")
        panels[-1].set_xlim(0, result.duration)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
    figure.suptitle(
        f"{Path(result.source).name if result.source else 'image'}: {result.label or 'no face'}", fontsize=11
    )
    return figure


def _draw_timeline(panel: Axes, result: Result, number: int) -> None:
    rows = result.timeline[result.timeline["face"] == number]
    start, end = rows["start"].to_numpy(), rows["end"].to_numpy()
    probabilities = rows[list(result.labels)].to_numpy(np.float64)
    # A row of NaN interrupts the lines where the face was away; each frame is drawn at its middle.
    gaps = np.flatnonzero(start[1:] > end[:-1] + 1e-9) + 1
    middle = np.insert((start + end) / 2, gaps, np.nan)
    probabilities = np.insert(probabilities, gaps, np.nan, axis=0)
    for position, (label, colour) in enumerate(line_colours(result.labels).items()):
        panel.plot(middle, probabilities[:, position], label=label, color=colour, linewidth=1.4)
