from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

CLOCK = Fraction(1, 1000)
RATE = 44100


def corners(index: int = 0, width: int = 64, height: int = 48) -> np.ndarray:
    """A picture that tells how it is turned: red, green and blue quarters, the fourth grey and brighter with each frame."""
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 4 * index % 256
    return image


def write_video(
    path: Path,
    images: Iterable[np.ndarray],
    *,
    times: Sequence[int] | None = None,
    tone: float | None = None,
    tone_start: int = 0,
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Encodes ``images`` as MPEG-4, ``times`` in milliseconds (40 ms apart if None), with one second of a ``tone`` (Hz) if given."""
    images = list(images)
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream("mpeg4", rate=25)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.bit_rate = 4_000_000
        video.codec_context.time_base = video.time_base = CLOCK
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        sound = container.add_stream("aac", rate=RATE, layout="stereo") if tone else None
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts = times[index] if times else 40 * index
            frame.time_base = CLOCK
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            wave = 0.5 * np.sin(2 * np.pi * (tone or 0) * np.arange(RATE) / RATE)
            block = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (2, 1)), "fltp", "stereo")
            block.sample_rate, block.time_base, block.pts = RATE, Fraction(1, RATE), tone_start * RATE // 1000
            container.mux(sound.encode(block))
            container.mux(sound.encode())
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """``make_video(images or a number of frames, name="clip.mp4", **options of write_video)`` -> the file."""

    def make(images: Iterable[np.ndarray] | int = 20, *, name: str = "clip.mp4", **options: object) -> Path:
        if isinstance(images, int):
            images = [corners(index) for index in range(images)]
        return write_video(tmp_path / name, images, **options)  # type: ignore[arg-type]

    return make
