"""Names of emotions: the common seven, what each data set calls them, and what is lost on the way to them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from pyemo.contracts import Manifest

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


@dataclass(frozen=True)
class Outside:
    """A label that is none of the common seven."""

    common: str | None
    """The one of the seven that its samples count as; None: they are left out."""
    why: str


OUTSIDE: Mapping[str, Outside] = MappingProxyType(
    {
        "calm": Outside("neutral", "a second baseline beside neutral; what tells the two apart is lost"),
        "contempt": Outside(None, "none of the seven is near it"),
        "other": Outside(None, "any expression but the seven"),
        "pride": Outside(None, "none of the seven; happy would hide what tells it from happiness"),
        "embarrassment": Outside(None, "none of the seven is near it"),
        "boredom": Outside(None, "none of the seven is near it"),
    }
)
"""What ``labels=common`` does with labels that are not among :data:`BASIC_EMOTIONS`. Those not listed here are left out."""


@dataclass(frozen=True)
class Taxonomy:
    """The labels of one data set."""

    names: Mapping[str, str]
    """The data set's own word or code -> the name in this package, in the data set's order."""
    lost: str
    """What its samples lose when they are labelled with the common seven."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The names in this package, in the data set's order, each once."""
        return tuple(dict.fromkeys(self.names.values()))

    def name(self, word: str) -> str | None:
        """This package's name for a word of the data set, whatever its case; None if the data set has no such word."""
        return {own.lower(): name for own, name in self.names.items()}.get(word.strip().lower())


def _same(*words: str, **others: str) -> dict[str, str]:
    """Words that :func:`basic_emotion` or :data:`OUTSIDE` knows, then others with their names."""
    return {word: _BASIC.get(word.lower(), word) for word in words} | others


TAXONOMIES: Mapping[str, Taxonomy] = MappingProxyType(
    {
        "fer2013": Taxonomy(
            _same("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
            "nothing",
        ),
        "ferplus": Taxonomy(
            _same("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
            "contempt is left out (as are, always, images voted unknown or no face)",
        ),
        "ravdess": Taxonomy(
            _same("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),
            "calm counts as neutral, which makes neutral the largest class (288 of 1,440 speech clips); song has no disgust and surprise",
        ),
        "cremad": Taxonomy(
            _same("ANG", "DIS", "FEA", "HAP", "NEU", "SAD", A="angry", D="disgust", F="fear", H="happy", N="neutral", S="sad"),
            "nothing; there is no surprise",
        ),
        "aff-wild2": Taxonomy(
            _same("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", Other="other"),
            "frames of other count as not labelled",
        ),
        "liris-cse": Taxonomy(
            _same("fear", "disgust", "happy", "sad", "surprise", "angry"),
            "clips named after anything else (confusing, mixtures such as happy_surprise) are left out; there is no neutral",
        ),
        "duckees": Taxonomy(
            _same(
                "happy", "sad", "fear", "disgust", "neutral", "pride", "embarrassment",
                proud="pride", embarrassed="embarrassment",
            ),
            "pride and embarrassment are left out; there is no anger and no surprise",
        ),
        "ck-plus": Taxonomy(
            _same("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise"),
            "contempt is left out (18 of 327 labelled sequences)",
        ),
        "jaffe": Taxonomy(_same("AN", "DI", "FE", "HA", "NE", "SA", "SU"), "nothing"),
        "rafd": Taxonomy(
            _same(
                "angry", "disgusted", "fearful", "happy", "neutral", "sad", "surprised", contemptuous="contempt"
            ),
            "contempt is left out",
        ),
    }
)  # fmt: skip
"""The data sets whose layouts this package reads; the order of a data set's words is that of its own numbers, where it has such."""


def basic_emotion(name: str) -> str | None:
    """The one of :data:`BASIC_EMOTIONS` that ``name`` means, whatever its case; None for others (calm, contempt, boredom ...).

    >>> basic_emotion("Happiness"), basic_emotion("fearful"), basic_emotion("contempt")
    ('happy', 'fear', None)
    """
    return _BASIC.get(name.strip().lower())


def in_order(labels: set[str]) -> tuple[str, ...]:
    """The basic emotions among ``labels`` in their customary order, then the others by name."""
    return (*(label for label in BASIC_EMOTIONS if label in labels), *sorted(labels - set(BASIC_EMOTIONS)))


def common_label(label: str) -> str | None:
    """The one of the common seven that a label of any data set counts as; None if its samples are left out."""
    emotion = basic_emotion(label)
    return emotion if emotion is not None or label not in OUTSIDE else OUTSIDE[label].common


def to_common(manifest: Manifest) -> Manifest:
    """The same data with no labels but the common seven: others are merged into one of them or left out, as :data:`OUTSIDE` says.

    The labels of rows, of frames (``frame_labels``) and ``probabilities`` (a column of float32 arrays over ``manifest.labels``; summed
    where labels merge, then made to sum to 1) are treated alike. Every label that changes gets a line in ``problems`` with the number of
    rows or frames it concerns, and every row that is left without a labelled frame a line of its own.
    """
    targets = {label: common_label(label) for label in manifest.labels}
    labels = in_order({target for target in targets.values() if target is not None})
    positions = np.array(
        [-1 if (of := targets[label]) is None else labels.index(of) for label in manifest.labels] + [-1]
    )
    table = manifest.table.copy()
    keep = np.ones(len(table), bool)
    rows: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    for row, label in enumerate(table["label"]):
        if isinstance(label, str):
            rows[label] += 1
            keep[row] = targets.setdefault(label, common_label(label)) is not None
    _replace(table, "label", [targets[label] if isinstance(label, str) else None for label in table["label"]])
    problems = [*manifest.problems]
    if "frame_labels" in table:
        changed = _frames_in_common(table, manifest.labels, positions, keep, frames, problems)
        _replace(table, "frame_labels", changed)
    if "probabilities" in table:
        shares = [_probabilities_in_common(of, positions[:-1], len(labels)) for of in table["probabilities"]]
        _replace(table, "probabilities", shares)
    problems += [line for of, unit in ((rows, "rows"), (frames, "frames")) for line in _changes(targets, of, unit)]
    return dataclasses.replace(
        manifest,
        table=table[keep].reset_index(drop=True),
        labels=labels,
        images=None if manifest.images is None else manifest.images[keep],
        problems=tuple(problems),
    )


def _replace(table: pd.DataFrame, column: str, values: list[Any]) -> None:
    """Set a column of objects; pandas would make None a NaN among texts."""
    table[column] = pd.Series(values, index=table.index, dtype=object)


def _frames_in_common(
    table: pd.DataFrame,
    labels: tuple[str, ...],
    positions: np.ndarray,
    keep: np.ndarray,
    counts: Counter[str],
    problems: list[str],
) -> list[np.ndarray | None]:
    """Changes ``keep``, ``counts`` and ``problems`` as well."""
    changed: list[np.ndarray | None] = []
    for row, (path, old) in enumerate(zip(table["path"], table["frame_labels"], strict=True)):
        if old is None:
            changed.append(None)
            continue
        old = np.asarray(old)
        found, times = np.unique(old[old >= 0], return_counts=True)
        counts.update({labels[position]: int(count) for position, count in zip(found, times, strict=True)})
        changed.append(positions[old].astype(np.int16))
        if keep[row] and len(found) and (positions[found] < 0).all():
            keep[row] = False
            problems.append(f"{path}: none of its frames has one of the common labels; left out")
    return changed


def _probabilities_in_common(old: np.ndarray, positions: np.ndarray, count: int) -> np.ndarray:
    new = np.zeros(count, np.float32)
    np.add.at(new, positions[positions >= 0], np.asarray(old)[positions >= 0])
    return new / max(float(new.sum()), np.finfo(np.float32).tiny)


def _changes(targets: Mapping[str, str | None], counts: Mapping[str, int], unit: str) -> list[str]:
    lines = []
    for label, count in counts.items():
        target = targets[label]
        if target == label:
            continue
        why = OUTSIDE[label].why if label in OUTSIDE else "not in the table of labels"
        if target is None:
            lines.append(f"label {label!r}: {count} {unit} left out ({why})")
        elif label in OUTSIDE:
            lines.append(f"label {label!r}: {count} {unit} count as {target} ({why})")
        else:  # another spelling
            lines.append(f"label {label!r}: {count} {unit} are called {target}")
    return lines
