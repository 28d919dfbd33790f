"""CREMA-D (Cao et al., IEEE Transactions on Affective Computing 2014): 91 actors speak twelve sentences in six emotions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from pyemo.contracts import Manifest
from pyemo.data.labels import TAXONOMIES
from pyemo.errors import DataError
from pyemo.media import kind
from pyemo_datasets.rows import media, one_of, some, table

LICENCE = "Open Database License 1.0, contents under the Database Contents License 1.0 (CREMA-D)"
ACTORS = tuple(str(actor) for actor in range(1001, 1092))
WOMEN = frozenset(
    str(1000 + number)
    for number in (
        *(2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 18, 20, 21, 24, 25, 28, 29, 30, 37, 43, 46, 47, 49, 52, 53, 54, 55, 56, 58, 60, 61, 63),
        *(72, 73, 74, 75, 76, 78, 79, 82, 84, 89, 91),
    )
)  # fmt: skip
"""From the data set's VideoDemographics.csv; the other 48 actors are men."""
SILENT = frozenset({"1076_MTI_SAD_XX"})
"""Published with a sound that is all zeros."""

_NAME = re.compile(r"(1\d{3})_([A-Z]{3})_([A-Z]{3})_(LO|MD|HI|XX?)")
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high"}
_TABLES = ("processedResults/summaryTable.csv", "data/InfoAndStats/processedResults/summaryTable.csv", "summaryTable.csv")  # fmt: skip
_VOTES = {"audio": "VoiceVote", "video": "FaceVote", "audio-video": "MultiModalVote"}
_POINTER = b"version https://git-lfs"


def _thesis_folds() -> tuple[tuple[str, ...], ...]:
    """Men and women by number, dealt to the nine folds in turn: men from the first on, women from the last back."""
    men = [actor for actor in ACTORS if actor not in WOMEN]
    women = sorted(WOMEN)
    return tuple(tuple(sorted(men[fold::9] + women[8 - fold :: 9])) for fold in range(9))


THESIS_FOLDS = _thesis_folds()
"""Nine folds, as in table 5.3 of Chang's thesis, which does not say who is in them: only that each holds out about a tenth of the actors,
as many men as women, and that everyone's turn comes. With 48 men and 43 women the nearest to that are nine folds of ten or eleven
actors; this is one such choice, not the thesis's own."""


class CremaD:
    """Reads ``AudioWAV/``, ``AudioMP3/`` and ``VideoFlash/`` with files named ``1001_DFA_ANG_XX.*`` (actor, sentence, emotion, level), or any
    folder with such files. The files of one performance are one row.

    Checked against real files: twelve clips (names; the Flash videos have pictures and sound). Checked against the published repository:
    the folders, ``summaryTable.csv`` and its columns, the actors' sex. Known from public code only: one sound is called
    ``1040_ITH_SAD_X`` (read as XX), and the sound of ``1076_MTI_SAD_XX`` is all zeros (left out unless ``modality`` is video).

    Args:
        modality: ``audio``: the WAV, or else the MP3, or else the video's sound; ``video``: its pictures; ``audio-video``: the video, with
            the WAV or MP3 as its sound if there is one; ``auto``: the last if there are videos, or else audio.
        label: ``intended``: what the actor was asked for, from the name; ``perceived``: what most raters chose who heard the voice
            (modality audio), saw the face (video) or both, from ``processedResults/summaryTable.csv`` in the root or beside it.
        ties: of perceived labels: ``drop`` clips whose most frequent votes are equal in number, or take the one with the higher mean
            ``level``.

    The table has the further columns ``intended``, ``perceived`` (None without the table of votes, or where votes are tied), ``sentence``,
    ``level`` (low, medium, high, or None where none was asked for) and ``sex``. Given folds: ``thesis``, see :data:`THESIS_FOLDS`.

    Raises:
        DataError: an option is not one of the above.
    """

    contract_version: ClassVar[int] = 1

    def __init__(self, modality: str = "auto", label: str = "intended", ties: str = "drop") -> None:
        one_of("modality", modality, ("auto", *_VOTES))
        one_of("label", label, ("intended", "perceived"))
        one_of("ties", ties, ("drop", "level"))
        self._modality, self._label, self._ties = modality, label, ties

    def read(self, root: Path) -> Manifest:
        """Raises :class:`~pyemo.errors.DataError` if no file below ``root`` has such a name, if ``label`` is ``perceived`` and there is no
        table of votes, or if nothing is left."""
        clips, problems = _clips(root)
        videos = any("video" in files for files in clips.values())
        modality = self._modality if self._modality != "auto" else "audio-video" if videos else "audio"
        votes = self._votes(root, modality, problems)
        rows: list[dict[str, Any]] = []
        incomplete: list[str] = []
        unknown: list[str] = []
        tied: list[str] = []
        for stem, files in sorted(clips.items()):
            found = _files_of(files, modality)
            if found is None:
                incomplete.append(stem)
                continue
            if stem in SILENT and modality != "video":
                problems.append(f"{found['voice'] or found['path']}: published without an audible sound; left out")
                continue
            row = found | _describe(stem) | {"perceived": votes.get(stem)}
            row["label"] = row[self._label]
            if row["label"] is None:
                (tied if stem in votes else unknown).append(stem)
            else:
                rows.append(row)
        for stems, why in (
            (incomplete, f"without the file for {modality}"),
            (unknown, "not in the table of votes"),
            (tied, "with as many votes for one emotion as for another"),
        ):
            if stems:
                problems.append(f"{len(stems)} performances {why}, left out: {some(stems)}")
        if not rows:
            raise DataError(f"{root}: no clip with {modality} and the label {self._label}; {some(problems, 3)}")
        absent = sorted(set(ACTORS) - {row["subject"] for row in rows})
        if absent:
            problems.append(f"no clip of {len(absent)} of {len(ACTORS)} actors: {some(absent)}")
        return Manifest(
            table(rows),
            TAXONOMIES["cremad"].labels,
            problems=tuple(problems),
            licence=LICENCE,
            modalities={"audio": ("voice",), "video": ("face",)}.get(modality, ("face", "voice")),
            folds={"thesis": THESIS_FOLDS},
        )

    def _votes(self, root: Path, modality: str, problems: list[str]) -> dict[str, str | None]:
        """Clip -> what most raters chose; None where votes are tied and are to be dropped. A table that is not there or not as published
        is an error only if perceived labels were asked for, and otherwise one more of ``problems``."""
        path = next((at / name for at in (root, root.parent) for name in _TABLES if (at / name).is_file()), None)
        if path is None:
            if self._label == "perceived":
                raise DataError(f"{root}: perceived labels need {_TABLES[0]}, which is not there")
            return {}
        votes = pd.read_csv(path, dtype=str)
        votes.columns = votes.columns.str.lower()  # the documentation and the file differ in case
        column = _VOTES[modality].lower()
        levels = column.replace("vote", "level")
        missing = {"filename", column, levels} - set(votes.columns)
        if missing:
            problem = f"{path}: the columns {', '.join(sorted(missing))} are missing"
            if self._label == "perceived":
                raise DataError(problem)
            problems.append(problem)
            return {}
        chosen: dict[str, str | None] = {}
        for clip, letters, strengths in zip(votes["filename"], votes[column], votes[levels], strict=True):
            try:
                pairs = zip(str(strengths).split(":"), str(letters).split(":"), strict=True)
                names = [
                    TAXONOMIES["cremad"].names[letter] for _, letter in sorted(pairs, key=lambda pair: -float(pair[0]))
                ]
            except (KeyError, ValueError):
                problems.append(f"{path}: votes {letters!r} with levels {strengths!r} for {clip} cannot be read")
                continue
            chosen[str(clip)] = names[0] if len(names) == 1 or self._ties == "level" else None
        return chosen


def _clips(root: Path) -> tuple[dict[str, dict[str, Path]], list[str]]:
    """Performance -> its files by ``wav``, ``mp3`` (or another sound) and ``video``; and problems."""
    clips: dict[str, dict[str, Path]] = {}
    problems, pointers = [], []
    for path in media(root):
        match = _NAME.fullmatch(path.stem)
        if match is None or match[1] not in ACTORS:
            problems.append(
                f"{path}: not a name of CREMA-D (actor_sentence_EMOTION_level, for instance 1001_DFA_ANG_XX); left out"
            )
        elif match[3] not in TAXONOMIES["cremad"].names:
            problems.append(f"{path}: its emotion {match[3]} is not one of ANG, DIS, FEA, HAP, NEU, SAD; left out")
        elif kind(path) == "image":
            problems.append(f"{path}: an image, expected a sound or a video; left out")
        elif _is_pointer(path):
            pointers.append(path)
        else:
            stem = re.sub("_X$", "_XX", path.stem)
            form = "video" if kind(path) == "video" else "wav" if path.suffix.lower() in (".wav", ".flac") else "mp3"
            clips.setdefault(stem, {}).setdefault(form, path)
    if pointers:
        problems.append(
            f"{len(pointers)} files are Git LFS pointers to media that were not fetched (git lfs pull), left out: {some(pointers)}"
        )
    if not clips:
        raise DataError(
            f"{root}: no clip of CREMA-D; expected AudioWAV/, AudioMP3/ or VideoFlash/ with files such as 1001_DFA_ANG_XX.wav"
            + "".join(f"; {problem}" for problem in problems[:3])
        )
    return clips, problems


def _is_pointer(path: Path) -> bool:
    if path.stat().st_size > 1024:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def _files_of(files: dict[str, Path], modality: str) -> dict[str, Any] | None:
    """``path`` and ``voice`` of one performance, or None if its files do not have the modality."""
    sound = files.get("wav", files.get("mp3"))
    path = sound or files.get("video") if modality == "audio" else files.get("video")
    if path is None:
        return None
    paired = modality == "audio-video" and sound is not None
    return {"path": str(path), "voice": str(sound) if paired else None}


def _describe(stem: str) -> dict[str, Any]:
    actor, sentence, emotion, level = stem.split("_")
    return {
        "intended": TAXONOMIES["cremad"].names[emotion],
        "subject": actor,
        "sentence": sentence,
        "level": _LEVELS.get(level),
        "sex": "female" if actor in WOMEN else "male",
    }
