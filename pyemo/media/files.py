"""Which files are media, of which kind, and where they are."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pyemo.errors import MediaError

Kind = Literal["image", "video", "audio"]

_EXTENSIONS: dict[Kind, str] = {
    "image": "bmp dib jp2 jpe jpeg jpg pbm pgm png ppm tif tiff webp",
    # An animated GIF is a clip, and a still one is a clip of one frame.
    "video": "3gp asf avi f4v flv gif m2ts m4v mjpeg mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv",
    "audio": "aac aif aiff amr au caf flac m4a mka mp3 oga ogg opus wav wma",
}
_KINDS: dict[str, Kind] = {f".{extension}": kind for kind in _EXTENSIONS for extension in _EXTENSIONS[kind].split()}


def kind(path: str | Path) -> Kind:
    """``"image"``, ``"video"`` or ``"audio"``: by the file's extension; a file with an unknown one is opened and probed.

    Raises :class:`~pyemo.errors.MediaError` if the extension is unknown and the content is no medium either.
    """
    path = Path(path)
    known = _KINDS.get(path.suffix.lower())
    return known if known is not None else _probe(path)


def _probe(path: Path) -> Kind:
    from pyemo.media.container import is_cover_art, open_container

    with open_container(path, "an image, a video or a sound") as container:
        if any(not is_cover_art(stream) for stream in container.streams.video):
            names = container.format.name.split(",")
            return "image" if any(name == "image2" or name.endswith("_pipe") for name in names) else "video"
        if container.streams.audio:
            return "audio"
    raise MediaError(f"{path}: neither an image, a video nor a sound")


def find_media(inputs: Iterable[str | Path]) -> list[Path]:
    """The media files that files, folders (searched through all levels) and glob patterns name, each once.

    Order: as given; within a folder or a pattern, sorted. A file named by itself is kept whatever its extension; folders and
    patterns contribute the files with a media extension, hidden ones left out.

    Raises :class:`~pyemo.errors.MediaError` for a path that does not exist and for a folder or a pattern that holds no media.
    """
    if isinstance(inputs, (str, Path)):
        inputs = [inputs]
    found: dict[Path, None] = {}  # a dictionary keeps the order
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            files = list(_in_folder(path))
            if not files:
                raise MediaError(f"{path}: no image, video or audio file in this folder")
        elif path.exists():
            files = [path]
        elif glob.has_magic(str(given)):
            files = list(_matching(str(given)))
            if not files:
                raise MediaError(f"{given}: no image, video or audio file matches this pattern")
        else:
            raise MediaError(f"{path}: no such file or folder")
        found.update(dict.fromkeys(files))
    return list(found)


def _in_folder(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in _KINDS and path.is_file():
            yield path


def _matching(pattern: str) -> Iterator[Path]:
    for path in map(Path, sorted(glob.glob(pattern, recursive=True))):
        if path.is_dir():
            yield from _in_folder(path)
        elif path.suffix.lower() in _KINDS:
            yield path
