"""Names of emotions: the common seven, and what other data sets call them."""

from __future__ import annotations

BASIC_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Ekman's six and neutral, in the order of the models of this package."""

_ALIASES = {
    "angry": ("anger", "ang", "an"),
    "disgust": ("disgusted", "dis", "di"),
    "fear": ("fearful", "afraid", "scared", "fea", "fe"),
    "happy": ("happiness", "joy", "joyful", "hap", "ha"),
    "sad": ("sadness", "sa"),
    "surprise": ("surprised", "sur", "su"),
    "neutral": ("neutrality", "neu", "ne"),
}
_BASIC = {alias: emotion for emotion, aliases in _ALIASES.items() for alias in (emotion, *aliases)}


def basic_emotion(name: str) -> str | None:
    """The one of :data:`BASIC_EMOTIONS` that ``name`` means, whatever its case; None for others (calm, contempt, boredom ...).

    >>> basic_emotion("Happiness"), basic_emotion("fearful"), basic_emotion("contempt")
    ('happy', 'fear', None)
    """
    return _BASIC.get(name.strip().lower())


def in_order(labels: set[str]) -> tuple[str, ...]:
    """The basic emotions among ``labels`` in their customary order, then the others by name."""
    return (*(label for label in BASIC_EMOTIONS if label in labels), *sorted(labels - set(BASIC_EMOTIONS)))
