"""Opening a media file with FFmpeg, with errors that name the file and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import av
import av.container
import av.stream

from pyemo.errors import MediaError


def check_file(path: Path, expected: str) -> None:
    """Raises :class:`~pyemo.errors.MediaError` unless ``path`` is a file with something in it; ``expected``, as in "a video"."""
    if path.is_dir():
        raise MediaError(f"{path}: this is a folder, expected {expected}")
    if not path.exists():
        raise MediaError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        raise MediaError(f"{path}: the file is empty, expected {expected}")


def open_container(path: Path, expected: str) -> av.container.InputContainer:
    """Opens ``path`` for reading; raises :class:`~pyemo.errors.MediaError` if it is not there or FFmpeg cannot read it."""
    check_file(path, expected)
    try:
        # Broken tags must not keep a file from being read.
        return av.open(str(path), metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        hint = "; MP4 or MOV without its index: cut short, or not written to its end" if _is_mp4(path) else ""
        raise MediaError(f"{path}: cannot be read as {expected} ({reason(error)}{hint})") from error


def _is_mp4(path: Path) -> bool:
    """Whether the file starts as ISO/IEC 14496-12 says."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def reason(error: Exception) -> str:
    """FFmpeg's own words for an error, without the file name and error number that PyAV adds."""
    return getattr(error, "strerror", None) or str(error)


def is_cover_art(stream: av.stream.Stream) -> bool:
    """Whether a video stream is the picture attached to a sound file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
