"""Sound, from sound files and from the audio stream of videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from pyemo.errors import MediaError
from pyemo.media.container import check_file, open_container, reason
from pyemo.media.files import kind

_BLOCK = 1 << 16  # samples of one block read from a sound file


def read_audio(
    path: str | Path, sample_rate: int = 16000, mono: bool = True, *, dtype: type[np.float32 | np.int16] = np.float32
) -> np.ndarray:
    """Reads the sound of a file, resampled to ``sample_rate`` (Hz) with soxr's high quality band-limited filter.

    Returns float32 in about [-1, 1], or int16 as :func:`to_int16` makes it: (T,), the mean of the channels, or with ``mono=False``
    (channels, T). Sample 0 is time 0 of :class:`~pyemo.media.video.VideoFrame`: a sound that starts after its video is preceded by
    silence, what lies before time 0 is cut. Memory is that of the result, whatever the rate and the channels of the file;
    :class:`AudioReader` gives long sounds in pieces. Where a file is damaged, what can be decoded is returned (in containers with silence
    in place of the rest), with a :class:`UserWarning`.

    Raises :class:`~pyemo.errors.MediaError` if there is no such file, it cannot be decoded, or it has no sound.
    """
    reader = AudioReader(path, sample_rate, mono=mono)
    blocks: Iterable[np.ndarray] = map(to_int16, reader) if dtype is np.int16 else reader
    sound = np.concatenate(list(blocks), axis=-1)
    if reader.warning:
        warnings.warn(reader.warning, stacklevel=2)
    return sound


def to_int16(sound: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] -> int16, 1 being 2^15; louder is clipped. What was read from 16-bit files without resampling is as it was."""
    return np.clip(np.rint(sound * np.float32(2**15)), -(2**15), 2**15 - 1).astype(np.int16)


def has_audio(path: str | Path) -> bool:
    """Whether a file, by its kind or its streams, holds sound; false for images and folders.

    Raises :class:`~pyemo.errors.MediaError` if there is no such file, or it is no medium.
    """
    path = Path(path)
    if path.is_dir():
        return False
    medium = kind(path)
    if medium != "video":
        return medium == "audio"
    with open_container(path, "a video") as container:
        return bool(container.streams.audio)


class AudioReader:
    """Iterates over the sound of a file in blocks of some thousand samples; each iteration starts at the beginning.

    Blocks are float32: (T,) with T at least 1, the mean of the channels, or with ``mono=False`` (channels, T). Put together they are
    what :func:`read_audio` returns, however long the file; at most one of them is in memory, and the resampler's state.

    Iterating raises :class:`~pyemo.errors.MediaError` as :func:`read_audio` does. Damage further on does not raise: :attr:`warning` says
    after the iteration what is missing (None for a sound file).

    >>> reader = AudioReader("interview.wav")  # doctest: +SKIP
    >>> seconds = sum(len(block) for block in reader) / 16000  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, sample_rate: int = 16000, *, mono: bool = True) -> None:
        if sample_rate < 1:
            raise ValueError(f"sample_rate must be positive, got {sample_rate}")
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.mono = mono
        self.warning: str | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        check_file(self.path, "a sound or a video")
        troubles: list[str] = []
        empty = True
        for block in self._resampled(_blocks(self.path, troubles)):
            if len(block):
                empty = False
                yield block[:, 0] if self.mono else np.ascontiguousarray(block.T)
        if empty:
            raise MediaError(f"{self.path}: its sound is shorter than one sample at {self.sample_rate} Hz")
        self.warning = f"{self.path}: {'; '.join(troubles)}" if troubles else None

    def _resampled(self, blocks: Iterator[tuple[np.ndarray, int]]) -> Iterator[np.ndarray]:
        """(T, channels), of which T may be 0."""
        resampler: soxr.ResampleStream | None = None
        channels = 1
        for block, rate in blocks:
            block = block.mean(axis=1, keepdims=True) if self.mono else block
            if rate != self.sample_rate:
                if resampler is None:
                    channels = block.shape[1]
                    resampler = soxr.ResampleStream(rate, self.sample_rate, channels, dtype="float32", quality="HQ")
                block = resampler.resample_chunk(block)
            yield block
        if resampler is not None:
            yield resampler.resample_chunk(np.empty((0, channels), np.float32), last=True)


def _blocks(path: Path, troubles: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    """Pieces (T, channels) float32 of the sound with their sample rate, at least one; all of one rate and channel count.

    What is damaged is added to ``troubles``.
    """
    # FFmpeg reads MP3 as well as libsndfile does, and does not write complaints about a bad one to the terminal.
    by_ffmpeg = kind(path) == "video" or path.suffix.lower() == ".mp3"
    blocks = None if by_ffmpeg else _soundfile_blocks(path)
    read = 0
    try:
        for block, rate in blocks or _container_blocks(path, troubles):
            yield block, rate
            read += len(block)
    except (av.FFmpegError, soundfile.LibsndfileError) as error:
        if read == 0:
            raise MediaError(f"{path}: no sound can be decoded ({reason(error)})") from error
        troubles.append(f"reading stopped after {read / rate:.2f} s ({reason(error)})")
    if read == 0:
        raise MediaError(f"{path}: no sound can be decoded from it")


def _soundfile_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]] | None:
    """None if libsndfile does not know the format."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError:
        return None

    def blocks() -> Iterator[tuple[np.ndarray, int]]:
        with file:
            while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
                yield block, file.samplerate

    return blocks()


def _container_blocks(path: Path, troubles: list[str]) -> Iterator[tuple[np.ndarray, int]]:
    with open_container(path, "a sound or a video") as container:
        if not container.streams.audio:
            raise MediaError(f"{path}: no audio stream")
        stream = container.streams.audio[0]
        start = (container.start_time or 0) / av.time_base
        unpack: av.AudioResampler | None = None
        position, cut, damaged = 0, 0, 0  # samples since the start of the file; samples before it; packets
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                if unpack is None:
                    # To planar float. Rate and channels are those of the first frame (what the container says may be half of HE-AAC's),
                    # also where they change within the file.
                    rate, channels = frame.sample_rate, len(frame.layout.channels)
                    unpack = av.AudioResampler("fltp", frame.layout.name, rate)
                    tolerance, longest = 0, rate * ((container.duration or 0) // av.time_base + 1)
                if frame.time is not None:
                    gap = round((frame.time - start) * rate) - position
                    if position == 0:
                        cut = max(0, -gap)
                    if tolerance < gap <= longest:
                        yield np.zeros((gap, channels), np.float32), rate
                        position += gap
                    tolerance = rate // 10  # later on, times may be rounded
                for unpacked in unpack.resample(frame):
                    block = unpacked.to_ndarray().T
                    dropped, cut = min(cut, len(block)), max(0, cut - len(block))
                    position += len(block) - dropped
                    yield np.ascontiguousarray(block[dropped:]), rate
        if damaged and position:
            troubles.append(f"{damaged} damaged packets of sound replaced by silence")
