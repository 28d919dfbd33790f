"""Images, sound and video in; tracked and cropped faces out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyemo.media.audio import AudioReader, has_audio, read_audio, to_int16
    from pyemo.media.background import prefetch
    from pyemo.media.crop import crop_faces
    from pyemo.media.files import find_media, kind
    from pyemo.media.image import read_image
    from pyemo.media.tracking import TrackedFace, TrackedFrame, track_faces
    from pyemo.media.video import VideoFrame, VideoInfo, VideoReader

__all__ = [
    "AudioReader",
    "TrackedFace",
    "TrackedFrame",
    "VideoFrame",
    "VideoInfo",
    "VideoReader",
    "crop_faces",
    "find_media",
    "has_audio",
    "kind",
    "prefetch",
    "read_audio",
    "read_image",
    "to_int16",
    "track_faces",
]

_MODULES = {
    "audio": ("AudioReader", "has_audio", "read_audio", "to_int16"),
    "background": ("prefetch",),
    "crop": ("crop_faces",),
    "files": ("find_media", "kind"),
    "image": ("read_image",),
    "tracking": ("TrackedFace", "TrackedFrame", "track_faces"),
    "video": ("VideoFrame", "VideoInfo", "VideoReader"),
}
_LAZY = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
