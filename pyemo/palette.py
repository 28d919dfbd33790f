"""Colours of figures and reports, all of which people who do not see red, green or blue as others do can tell apart.

Okabe and Ito's eight (Color Universal Design, 2008) with a grey, and one of Tol's (muted scheme, 2021) where those do not suffice.
"""

from __future__ import annotations

from collections.abc import Sequence

SEQUENCE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""For things without an order or a customary colour, for instance models."""

_EMOTIONS = {
    "neutral": "#9A9A9A",
    "calm": "#C9B79C",
    "happy": "#F0E442",
    "surprise": "#56B4E9",
    "sad": "#0072B2",
    "fear": "#009E73",
    "disgust": "#CC79A7",
    "angry": "#D55E00",
    "contempt": "#882255",
    "other": "#555555",
    "positive": "#F0E442",
    "negative": "#0072B2",
}


def emotion_colours(labels: Sequence[str]) -> dict[str, str]:
    """A colour for each label, ``#rrggbb``: its own, or for labels that are no emotions known here, the next that none of them has."""
    free = [colour for colour in SEQUENCE if colour not in {_EMOTIONS.get(label) for label in labels}] or list(SEQUENCE)
    unknown = [label for label in labels if label not in _EMOTIONS]
    return {label: _EMOTIONS.get(label) or free[unknown.index(label) % len(free)] for label in labels}


def line_colours(labels: Sequence[str]) -> dict[str, str]:
    """The same for lines and points: yellow, which does well in areas, vanishes on white paper."""
    darker = {"#F0E442": "#E69F00"}
    return {label: darker.get(colour, colour) for label, colour in emotion_colours(labels).items()}
