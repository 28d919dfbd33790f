"""RAVDESS (Livingstone & Russo, PLoS ONE 2018): 24 actors speak and sing two sentences in eight emotions."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, one_of, some, table

LICENCE = "CC BY-NC-SA 4.0 (RAVDESS): attribution, no commercial use, share alike"
ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
THESIS_FOLDS = tuple(zip(ACTORS[::2], ACTORS[1::2], strict=True))
"""Table 5.1 of Chang's thesis: A1,2 to A23,24; each holds out a man and the woman after him."""

_NAME = re.compile(r"(0[1-3])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_CHANNELS = {"01": "speech", "02": "song"}
_TAKES = {"speech": 60, "song": 44}
_WORDS = tuple(TAXONOMIES["ravdess"].names)
_SOUND, _PICTURES, _BOTH = "03", "02", "01"

_Take = tuple[str, ...]  # the fields of a name after the modality


class Ravdess:
    """Reads files named ``MM-VC-EE-II-SS-RR-AA.*`` anywhere below the root: the published ``Actor_NN`` folders, the folders of the
    published archives, or a flat one.

    Fields: modality (01 sound and pictures, 02 pictures, 03 sound), vocal channel (01 speech, 02 song), emotion (01 neutral, 02 calm,
    03 happy, 04 sad, 05 angry, 06 fearful, 07 disgust, 08 surprised), intensity (01 normal, 02 strong), statement, repetition, actor (odd:
    men). The same performance comes in up to three files; it is one row here, whichever of them are there.

    The names, counts and folders of the 1,440 spoken sounds were checked against the real files (as FLAC at 16 kHz; the published ones
    are WAV at 48 kHz), those of song and video against the data set's own documentation only. Performances 03-01-03-01-02-01-07 and
    03-01-03-01-02-02-07 are the same bytes; both stay, since they are of one actor. There are no songs of actor 18.

    Args:
        modality: ``audio``: each performance's sound (03, or else that of 01); ``video``: its pictures (02, or else 01);
            ``audio-video``: both (01, or else 02 with 03); ``auto``: the last if there are such performances, or else what there is.
        channel: ``speech``, ``song`` or ``both``.

    The table has the further columns ``channel``, ``intensity`` (normal, strong), ``statement`` (kids, dogs), ``repetition`` (1, 2) and
    ``sex``. Given folds: ``thesis``, twelve of two actors.

    Raises:
        DataError: an option is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, modality: str = "auto", channel: str = "speech") -> None:
        one_of("modality", modality, ("auto", "audio", "video", "audio-video"))
        one_of("channel", channel, ("speech", "song", "both"))
        self._modality = modality
        self._channels = tuple(_TAKES) if channel == "both" else (channel,)

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if no file below ``root`` has such a name, or none what the options ask for."""
        takes, problems = self._takes(root)
        modality = _richest(takes) if self._modality == "auto" else self._modality
        rows, incomplete = [], []
        for take, files in sorted(takes.items(), key=lambda item: (item[0][-1], item[0])):
            found = _files_of(files, modality)
            if found:
                rows.append(found | _describe(take))
            else:
                incomplete.append(next(iter(files.values())))
        if not rows:
            raise DataError(
                f"{root}: no {' or '.join(self._channels)} with {modality} in it; expected files such as Actor_01/03-01-05-01-02-01-01.wav"
            )
        if incomplete:
            problems.append(
                f"{len(incomplete)} performances without the files for {modality}, left out: {some(incomplete)}"
            )
        problems += self._missing(Counter((row["subject"], row["channel"]) for row in rows))
        return Manifest(
            table(rows),
            TAXONOMIES["ravdess"].labels,
            problems=tuple(problems),
            licence=LICENCE,
            modalities={"audio": ("voice",), "video": ("face",)}.get(modality, ("face", "voice")),
            folds={"thesis": THESIS_FOLDS},
        )

    def _takes(self, root: Path) -> tuple[dict[_Take, dict[str, Path]], list[str]]:
        takes: dict[_Take, dict[str, Path]] = {}
        problems, again = [], []
        for path in media(root):
            match = _NAME.fullmatch(path.stem)
            if match is None:
                problems.append(
                    f"{path}: not a name of RAVDESS (seven numbers, for instance 03-01-05-01-02-01-01); left out"
                )
                continue
            modality, *fields = match.groups()
            folder = re.fullmatch(r"(?i)actor_(\d\d)", path.parent.name)
            if folder is not None and folder[1] != fields[-1]:
                problems.append(
                    f"{path}: of actor {fields[-1]} by its name, of actor {folder[1]} by its folder; left out"
                )
            elif kind(path) != ("audio" if modality == _SOUND else "video"):
                expected = "sound" if modality == _SOUND else "a video"
                problems.append(f"{path}: modality {modality} by its name, so {expected} was expected; left out")
            elif _CHANNELS[fields[0]] in self._channels:
                files = takes.setdefault(tuple(fields), {})
                again += [path] if modality in files else []
                files.setdefault(modality, path)
        if again:
            problems.append(f"{len(again)} further files of the same name, left out: {some(again)}")
        return takes, problems

    def _missing(self, found: Counter[tuple[str, str]]) -> list[str]:
        problems = []
        for channel in self._channels:
            expected = [actor for actor in ACTORS if (actor, channel) != ("18", "song")]
            absent = [actor for actor in expected if not found[actor, channel]]
            partial = [
                f"{actor} has {found[actor, channel]}"
                for actor in expected
                if 0 < found[actor, channel] < _TAKES[channel]
            ]
            if absent:
                problems.append(f"{channel}: no file of {len(absent)} of {len(expected)} actors: {some(absent, 24)}")
            if partial:
                problems.append(f"{channel}: fewer than {_TAKES[channel]} performances: actor {some(partial, 24)}")
        return problems


def _richest(takes: dict[_Take, dict[str, Path]]) -> str:
    for modality in ("audio-video", "audio"):
        if any(_files_of(files, modality) for files in takes.values()):
            return modality
    return "video"


def _files_of(files: dict[str, Path], modality: str) -> dict[str, Any] | None:
    """``path`` and ``voice`` of one performance, or None if its files do not have the modality."""
    if modality == "audio-video":
        if _BOTH in files:
            return {"path": str(files[_BOTH]), "voice": None}
        if {_PICTURES, _SOUND} <= set(files):
            return {"path": str(files[_PICTURES]), "voice": str(files[_SOUND])}
        return None
    path = files.get(_SOUND if modality == "audio" else _PICTURES, files.get(_BOTH))
    return None if path is None else {"path": str(path)}


def _describe(take: _Take) -> dict[str, Any]:
    channel, emotion, intensity, statement, repetition, actor = take
    return {
        "label": TAXONOMIES["ravdess"].names[_WORDS[int(emotion) - 1]],
        "subject": actor,
        "channel": _CHANNELS[channel],
        "intensity": "strong" if intensity == "02" else "normal",
        "statement": "dogs" if statement == "02" else "kids",
        "repetition": int(repetition),
        "sex": "male" if int(actor) % 2 else "female",
    }
