"""Preparing a data set: what is not done yet is done by some workers, and then the table is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pyemo import plugins
from pyemo.contracts import Detector, Manifest
from pyemo.data.preparation.crew import Crew, Listener
from pyemo.data.preparation.outcome import Journal, Outcome, Trouble, open_journal
from pyemo.data.preparation.plan import Job, Plan
from pyemo.data.preparation.tables import Failure, write_folder
from pyemo.data.prepared import FACE, SETTINGS, VOICE, PreparedData, PreparedSettings, open_prepared
from pyemo.errors import ConfigError, DataError
from pyemo.files import check_writable

_SUFFIXES = (".flac", ".safetensors")


@dataclass(frozen=True)
class Preparation:
    """What :func:`prepare` did."""

    data: PreparedData
    failures: list[Failure]
    """The rows that could not be read, as in ``errors.csv``."""
    reused: int
    """How many of the items (a row's face or voice) an earlier run had left."""
    items: int


def prepare(
    manifest: Manifest,
    folder: str | Path,
    *,
    data: str = "manifest",
    modalities: Sequence[str] | None = None,
    size: int = 224,
    channels: int = 3,
    detector: str | Callable[[], Detector] = "dlib",
    detector_options: Mapping[str, Any] | None = None,
    every: int = 8,
    sample_rate: int = 16000,
    frame_rate: float | None = None,
    already_cropped: bool = False,
    workers: int | None = None,
    listener: Listener | None = None,
) -> Preparation:
    """Decode the rows of ``manifest`` once and keep crops of the main face and the sound in ``folder``, see :mod:`pyemo.data.prepared`.

    What an earlier run left for the same file (path, size, time of change), part of it and settings is not done again, so an interrupted
    run goes on. A row of which nothing can be read becomes a :class:`Failure`; it stays in the table, and so do rows in which no face or
    no sound is found; their ``problem`` says so. When all is done, files that the table does not name any more are deleted.

    The *main face* is the track whose face sides, summed over its frames, give most: long and large; of an image it is the largest face.
    A track that begins where an earlier one has ended (in place and size, after a cut or an absence) continues it.
    Memory is bounded whatever the length of the clips: a worker holds some 50 decoded frames and up to 16 MB of crops.

    Args:
        manifest: of any data set. Rows with ``start`` or ``end`` take that part of their file. Two columns of its table are read besides
            those of the contract, if they are there: ``cropped`` (bool), as ``already_cropped`` for single rows, and ``frame_numbers``
            (int arrays, from 1), which frames the images of a folder are, where some are missing. Decoded ``images`` are taken as cropped.
        folder: made if it is not there.
        data: name of the data set, kept in the folder; another data set's folder is refused.
        modalities: ``face``, ``voice`` or both; None: those of the manifest.
        size: side of the square crops in pixels.
        channels: 3 for RGB crops, 1 for grey ones.
        detector: a plug-in of the group ``pyemo.detectors`` by its name, or a function that makes a detector; each worker gets its own.
        detector_options: what the named plug-in is created with.
        every: the detector looks at every ``every``-th frame at least, faces are tracked between.
        sample_rate: of the sound, Hz.
        frame_rate: keep at most so many crops a second; None: every frame's. Frame numbers are always those of the source.
        already_cropped: each whole image or frame is the face: no detection. In folders of images without ``frame_labels`` and
            ``frame_numbers``, the last number in a file's name is then the number of its frame, from 1 (or from 0 if there is one with 0).
        workers: threads; decoding, detection and encoding run outside Python's global lock. None: one a core.
        listener: told about progress.

    Raises:
        ConfigError: an option is out of range.
        DataError: another data set is in ``folder``, or another process is preparing it.
        PluginError: no such detector, or it refuses the options.
        PyemoError: ``folder`` cannot be written.
    """
    folder = Path(folder)
    chosen = tuple(name for name in ("face", "voice") if name in (modalities or manifest.modalities))
    _check(modalities, chosen, size, channels, every, sample_rate, frame_rate, workers)
    make_detector, detector_name = _factory(detector, detector_options or {})
    settings = PreparedSettings(
        data=data,
        modalities=chosen,
        size=size,
        channels=channels,
        detector=detector_name,
        detector_options=dict(detector_options or {}),
        every=every,
        frame_rate=frame_rate,
        sample_rate=sample_rate,
        already_cropped=already_cropped,
    )
    check_writable(folder)
    _refuse_foreign(folder, data)
    plan = Plan(manifest, settings)
    with open_journal(folder) as journal:
        keys = {item.key for of_row in plan.items for item in of_row.values()}
        reused = len(keys & journal.outcomes.keys())
        jobs = plan.jobs(journal.outcomes.keys())
        if any(_detects(job) for job in jobs):
            make_detector = _made_now(make_detector)  # better to learn now what is wrong with it
        troubles: dict[str, Trouble] = {}
        try:
            crew = Crew(folder, settings, make_detector, workers or len(os.sched_getaffinity(0)))

            def note(result: Outcome | Trouble) -> None:
                if isinstance(result, Outcome):
                    journal.add(result)
                else:
                    troubles[result.key] = result

            crew.work(jobs, note, listener, reused)
        finally:
            failures = write_folder(folder, manifest, settings, plan.items, journal.outcomes, troubles)
        _tidy(folder, journal, keys, chosen)
    return Preparation(open_prepared(folder), failures, reused, len(keys))


def _check(
    asked: Sequence[str] | None,
    chosen: Sequence[str],
    size: int,
    channels: int,
    every: int,
    sample_rate: int,
    frame_rate: float | None,
    workers: int | None,
) -> None:
    unknown = set(asked or ()) - {"face", "voice"}
    if unknown or not chosen:
        raise ConfigError(f"modalities must be face, voice or both, got {', '.join(asked or ()) or 'none'}")
    if not 8 <= size <= 1024:
        raise ConfigError(f"size must be 8 to 1024 pixels, got {size}")
    if channels not in (1, 3):
        raise ConfigError(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
    if not 1000 <= sample_rate <= 192_000:
        raise ConfigError(f"sample_rate must be 1000 to 192000 Hz, got {sample_rate}")
    if frame_rate is not None and not 0 < frame_rate < float("inf"):
        raise ConfigError(f"frame_rate must be a positive number of frames a second, got {frame_rate}")
    for name, value in (("every", every), ("workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")


def _factory(detector: str | Callable[[], Detector], options: Mapping[str, Any]) -> tuple[Callable[[], Detector], str]:
    if isinstance(detector, str):
        name = detector
        return lambda: plugins.create("detectors", name, **options), name
    return detector, f"{detector.__module__}.{detector.__qualname__}"


def _refuse_foreign(folder: Path, data: str) -> None:
    try:
        content = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        there = content["settings"]["data"]
    except (OSError, yaml.YAMLError, TypeError, KeyError):
        return
    if there != data:
        raise DataError(f"{folder} holds the data set {there}, prepared before; choose another folder for {data}")


def _made_now(make_detector: Callable[[], Detector]) -> Callable[[], Detector]:
    """Makes the first detector at once; making one may take a second."""
    ready = [make_detector()]

    def make() -> Detector:
        try:
            return ready.pop()
        except IndexError:
            return make_detector()

    return make


def _detects(job: Job) -> bool:
    return any(item.modality == "face" and not item.cropped for item in job.items)


def _tidy(folder: Path, journal: Journal, keys: set[str], modalities: Sequence[str]) -> None:
    """Deletes what the rows do not need any more; what was prepared for another modality stays for later."""
    kept = {
        key: outcome for key, outcome in journal.outcomes.items() if key in keys or outcome.modality not in modalities
    }
    journal.keep(kept)
    files = {outcome.file for outcome in kept.values()}
    for subfolder in (FACE, VOICE):
        for file in (folder / subfolder).glob("*"):
            # Also the temporary files that a killed run has left; nothing that is not ours.
            if file.suffix in _SUFFIXES and f"{subfolder}/{file.name}" not in files:
                file.unlink(missing_ok=True)
