"""A short clip with a face, made of what is installed anyway."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from matplotlib.cbook import get_sample_data

from pyemo.files import written_whole
from pyemo.media import read_image

_RATE, _SECONDS = 25, 4
_SIDE = 480


def make_example_clip(path: Path) -> Path:
    """Write a clip of 4 s, 25 frames a second, 480x480: the camera draws near to the face on matplotlib's sample photograph, then away
    until the face is out of the picture.

    The photograph: Rear Admiral Grace Hopper, official photograph of the US Navy, public domain.
    """
    photograph = read_image(get_sample_data("grace_hopper.jpg", asfileobj=False))
    with written_whole(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = _SIDE, _SIDE, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.time_base = Fraction(1, _RATE)
        for position in np.linspace(0, 1, _RATE * _SECONDS):
            frame = av.VideoFrame.from_ndarray(_view(photograph, float(position)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _view(photograph: np.ndarray, position: float) -> np.ndarray:
    """What the camera sees: RGB uint8 (height, width, 3); ``position`` from 0 to 1."""
    # Centre and side of the square in the photograph (512x600): all of it, the face, what is below the face.
    times = (0.0, 0.4, 0.65, 1.0)
    x = np.interp(position, times, (256, 268, 268, 268))
    y = np.interp(position, times, (256, 245, 245, 430))
    side = np.interp(position, times, (510, 330, 330, 330))
    step = side / _SIDE
    matrix = np.array(((step, 0, x - side / 2), (0, step, y - side / 2)))
    return cv2.warpAffine(
        photograph,
        matrix,
        (_SIDE, _SIDE),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
