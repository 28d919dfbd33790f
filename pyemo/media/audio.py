"""Sound, from sound files and from the audio stream of videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from pyemo.errors import MediaError
from pyemo.media.container import check_file, open_container, reason
from pyemo.media.files import kind

_BLOCK = 1 << 16  # samples of one block read from a sound file


def read_audio(path: str | Path, sample_rate: int = 16000, mono: bool = True) -> np.ndarray:
    """Reads the sound of a file, resampled to ``sample_rate`` (Hz) with soxr's high quality band-limited filter.

    Returns float32 in about [-1, 1]: (T,), the mean of the channels, or with ``mono=False`` (channels, T). Sample 0 is time 0 of
    :class:`~pyemo.media.video.VideoFrame`: a sound that starts after its video is preceded by silence, what lies before time 0 is cut.
    Memory is that of the result, whatever the rate and the channels of the file. Where a file is damaged, what can be decoded is
    returned (in containers with silence in place of the rest), with a :class:`UserWarning`.

    Raises :class:`~pyemo.errors.MediaError` if there is no such file, it cannot be decoded, or it has no sound.
    """
    if sample_rate < 1:
        raise ValueError(f"sample_rate must be positive, got {sample_rate}")
    path = Path(path)
    check_file(path, "a sound or a video")
    parts: list[np.ndarray] = []
    resampler: soxr.ResampleStream | None = None
    for block, rate in _blocks(path):
        block = block.mean(axis=1, keepdims=True) if mono else block
        if rate != sample_rate:
            if resampler is None:
                resampler = soxr.ResampleStream(rate, sample_rate, block.shape[1], dtype="float32", quality="HQ")
            block = resampler.resample_chunk(block)
        parts.append(block)
    if resampler is not None:
        parts.append(resampler.resample_chunk(np.empty((0, parts[0].shape[1]), np.float32), last=True))
    sound = np.concatenate(parts)
    return sound[:, 0] if mono else np.ascontiguousarray(sound.T)


def _blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Pieces (T, channels) float32 of the sound with their sample rate, at least one; all of one rate and channel count."""
    # FFmpeg reads MP3 as well as libsndfile does, and does not write complaints about a bad one to the terminal.
    by_ffmpeg = kind(path) == "video" or path.suffix.lower() == ".mp3"
    blocks = None if by_ffmpeg else _soundfile_blocks(path)
    read = 0
    try:
        for block, rate in blocks or _container_blocks(path):
            yield block, rate
            read += len(block)
    except (av.FFmpegError, soundfile.LibsndfileError) as error:
        if read == 0:
            raise MediaError(f"{path}: no sound can be decoded ({reason(error)})") from error
        warnings.warn(f"{path}: reading stopped after {read / rate:.2f} s ({reason(error)})", stacklevel=3)
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


def _container_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
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
            warnings.warn(f"{path}: {damaged} damaged packets of sound replaced by silence", stacklevel=4)
