"""A world with known answers: grey squares on black are faces, and their brightness is the emotion; tones are voices, and their pitch is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyemo import plugins
from pyemo.config import parse_recipe
from pyemo.contracts import CropFrame, Face, FusionOutput
from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.weights import LoadedFusion, LoadedModel

LEVELS = {emotion: 60 + 30 * position for position, emotion in enumerate(BASIC_EMOTIONS)}
WIDTH, HEIGHT, SIDE, RATE = 192, 96, 48, 25

RECIPE = """
name: brightness
system: classifier
labels: [angry, disgust, fear, happy, sad, surprise, neutral]
model:
  modalities:
    face: {input: {size: 16, mean: 0.0, std: 1.0}, backbone: {name: mini-xception}}
"""


VOICE_RATE = 8000
PITCHES = {emotion: 500 + 500 * position for position, emotion in enumerate(BASIC_EMOTIONS)}
"""Hz; the middle of every eighth bin of 128 samples at VOICE_RATE."""

VOICE_RECIPE = """
name: pitch
system: classifier
labels: [neutral, surprise, sad, happy, fear, disgust, angry]
model:
  modalities:
    speech:
      input: {kind: voice, sample_rate: 8000, n_fft: 128, hop_length: 64, slice_frames: 25, slice_hop: 10, mean: 0.0, std: 1.0}
      backbone: {name: mini-xception}
"""


class SquareDetector:
    """Each connected bright area is a face, the largest first."""

    contract_version: ClassVar[int] = 1
    crop_frame = CropFrame()

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> list[Face]:
        bright = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) > 30).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        boxes = [tuple(map(float, row[:4])) for row in stats[1:] if row[4] > 100]
        return sorted((Face(box, box[2] * box[3]) for box in boxes), key=lambda face: -face.score)


def put_in_place_of_dlib(patch: pytest.MonkeyPatch) -> None:
    """Until the patch is undone, the detector of bright squares is what ``"dlib"`` stands for."""
    create = plugins.create

    def made(group: str, name: str, /, **options: object) -> object:
        return SquareDetector() if (group, name) == ("detectors", "dlib") else create(group, name, **options)

    patch.setattr(plugins, "create", made)


class BrightnessModel(nn.Module):
    """The emotion whose level is nearest to the mean intensity."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor([float(level) for level in LEVELS.values()]))
        self.batches: list[int] = []

    def forward(self, inputs: dict[str, Tensor]) -> FusionOutput:
        faces = inputs["face"]
        assert faces.shape[1:] == (1, 1, 16, 16)
        self.batches.append(len(faces))
        mean = 255 * faces.mean(dim=(1, 2, 3, 4))
        return FusionOutput(-(((mean[:, None] - self.levels) / 10) ** 2))


def brightness_model(folder: Path) -> LoadedModel:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"none")
    return LoadedModel(BrightnessModel(), parse_recipe(RECIPE, "synthetic"), folder)  # type: ignore[arg-type]


class PitchModel(nn.Module):
    """The emotion whose pitch is the loudest, over the frames that exist."""

    def forward(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> FusionOutput:
        slices = inputs["speech"]
        assert slices.shape[2:] == (1, 65, 25)
        power = (10 ** (slices / 10) * masks["speech"][:, :, None, None, None]).sum(dim=(1, 2, 4))
        bins = [round(PITCHES[emotion] * 128 / VOICE_RATE) for emotion in reversed(BASIC_EMOTIONS)]
        return FusionOutput((power[:, bins] + 1e-9).log())


def pitch_model(folder: Path) -> LoadedModel:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(b"none")
    return LoadedModel(PitchModel(), parse_recipe(VOICE_RECIPE, "synthetic"), folder)  # type: ignore[arg-type]


def world_model(folder: Path, weights: dict[str, float] | None = None) -> LoadedFusion:
    """Faces by their brightness and voices by their pitch, joined."""
    recipe = parse_recipe(
        f"{{name: world, system: late-fusion, members: {{face: a, voice: b}}, weights: {weights or {}}}}", "synthetic"
    )
    members = {"face": brightness_model(folder / "face"), "voice": pitch_model(folder / "voice")}
    return LoadedFusion(members, recipe, folder)  # type: ignore[arg-type]


def tone(emotion: str, seconds: float, rate: int = VOICE_RATE) -> np.ndarray:
    """float32 (T,)."""
    times = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * PITCHES[emotion] * times)).astype(np.float32)


def picture(faces: dict[int, str]) -> np.ndarray:
    """RGB (HEIGHT, WIDTH, 3) with a face at each x."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for x, emotion in faces.items():
        image[24 : 24 + SIDE, x : x + SIDE] = LEVELS[emotion]
    return image


def write_image(path: Path, faces: dict[int, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(faces))
    return path


def write_clip(path: Path, frames: Sequence[dict[int, str]], sound: np.ndarray | None = None) -> Path:
    """``sound``: float32 (T,) at VOICE_RATE."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 4_000_000
        voice = container.add_stream("pcm_s16le", rate=VOICE_RATE, layout="mono") if sound is not None else None
        for faces in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(faces), format="rgb24")))
        container.mux(stream.encode(None))
        if voice is not None:
            samples = np.rint(sound * 2**15).astype(np.int16)
            for first in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="s16", layout="mono")
                block.sample_rate, block.pts = VOICE_RATE, first
                container.mux(voice.encode(block))
            container.mux(voice.encode(None))
    return path
