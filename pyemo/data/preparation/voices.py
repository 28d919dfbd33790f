"""From sounds, and the sound of videos, to 16-bit mono FLAC files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from pyemo.data.preparation.outcome import Outcome
from pyemo.data.preparation.plan import Item, Job
from pyemo.data.preparation.sources import guarded
from pyemo.data.preparation.tools import Tools
from pyemo.data.prepared import VOICE
from pyemo.errors import MediaError, PyemoError
from pyemo.files import written_whole
from pyemo.media import AudioReader, has_audio, to_int16


def cache_voice(job: Job, tools: Tools) -> None:
    """The sound of a file, or of parts of it; reports each part as soon as it is done."""
    try:
        audible = has_audio(job.path)
    except MediaError as error:
        for item in job.items:
            tools.fail(item, error)
        return
    if not audible:
        for item in job.items:
            tools.report(Outcome(item.key, "voice", problem="no sound"))
        return
    tools.run(job.items, _outcomes)


def _outcomes(group: Sequence[Item], tools: Tools) -> Iterator[Outcome]:
    """One pass through a file. Raises :class:`UnreadableError` at the first part that cannot be read."""
    rate = tools.settings.sample_rate
    reader = AudioReader(group[0].path, rate)
    blocks = _Blocks(guarded(map(to_int16, reader), tools.stop))
    for item in group:
        first = max(0, round(item.start * rate)) if math.isfinite(item.start) else 0
        last = max(0, round(item.end * rate)) if math.isfinite(item.end) else None
        file = f"{VOICE}/{item.name}.flac"
        part = blocks.part(first, last)
        head = next(part, None)
        if head is None:
            problem = f"no sound from {max(item.start, 0.0):g} to {item.end:g} s"
            yield Outcome(item.key, "voice", problem=problem)
            continue
        with written_whole(tools.folder / file) as temporary:
            count = _write_flac(temporary, head, part, rate)
        yield Outcome(item.key, "voice", file, count=count, problem=reader.warning)


class _Blocks:
    """Hands out the samples of one iteration part by part; parts in order of time, without overlap."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._held = np.empty(0, np.int16)
        self._position = 0

    def part(self, first: int, last: int | None) -> Iterator[np.ndarray]:
        """Blocks with the samples from ``first`` up to ``last`` (None: the end), none of them empty."""
        while last is None or self._position < last:
            block, self._held = self._held, np.empty(0, np.int16)
            if not len(block):
                following = next(self._blocks, None)
                if following is None:
                    return
                block = following
            skipped = min(max(first - self._position, 0), len(block))
            taken = len(block) if last is None else min(len(block), last - self._position)
            self._held = block[taken:]
            self._position += taken
            if skipped < taken:
                yield block[skipped:taken]


def _write_flac(path: Path, head: np.ndarray, rest: Iterator[np.ndarray], rate: int) -> int:
    """The number of samples written."""
    try:
        with soundfile.SoundFile(path, "w", rate, 1, "PCM_16", format="FLAC") as file:
            count = 0
            block: np.ndarray | None = head
            while block is not None:
                file.write(block)
                count += len(block)
                block = next(rest, None)
            return count
    except soundfile.LibsndfileError as error:
        raise PyemoError(f"cannot write {path}: {error}") from error
