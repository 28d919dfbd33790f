"""What a network is made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from pyemo.config.section import PluginConfig, Positive, Section

Side = Annotated[int, Field(ge=8, le=1024)]
Count = Annotated[int, Field(ge=1)]
PerChannel = float | Annotated[list[float], Field(min_length=3, max_length=3)]


class FaceInput(Section):
    """How a face crop (uint8) becomes the tensor that a face backbone sees: a step of (channels, size, size).

    ``fixed`` uses ``mean`` and ``std`` (of intensities in [0, 1]; one number, or one for each of three channels); ``per-image`` subtracts
    the crop's mean and divides by its standard deviation + 0.05; ``min-max`` stretches the crop to [0, 1].
    """

    kind: Literal["face"] = "face"
    size: Side
    channels: Literal[1, 3] = 1
    stain: str | None = None
    """Colour deconvolution of the RGB crop first: a stain of the matrix ``hed`` (:func:`pyemo.ops.color_deconvolution`), for instance
    ``hematoxylin``; repeated where ``channels`` is 3."""
    normalization: Literal["fixed", "per-image", "min-max"] = "fixed"
    mean: PerChannel = 0.5
    std: PerChannel = 0.5

    @property
    def crop_channels(self) -> int:
        """Channels of the crops that it is made from."""
        return 3 if self.stain else self.channels

    @property
    def step(self) -> tuple[int, int, int]:
        """Shape of one time step."""
        return (self.channels, self.size, self.size)

    @model_validator(mode="after")
    def _per_channel_needs_channels(self) -> FaceInput:
        if self.channels == 1 and not (isinstance(self.mean, float) and isinstance(self.std, float)):
            raise ValueError("mean and std have three numbers, but channels is 1")
        values = self.std if isinstance(self.std, list) else [self.std]
        if min(values) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        return self


class VoiceInput(Section):
    """How sound becomes the tensor that a voice backbone sees: a step of (channels, bins, frames), one slice of a spectrogram.

    The first options are those of :func:`pyemo.ops.spectrogram_slices`. ``fixed`` subtracts ``mean`` and divides by ``std``, both in units of
    the logarithm; ``per-clip`` takes mean and standard deviation of the clip, ``per-bin`` those of each bin over the clip.
    """

    kind: Literal["voice"]
    sample_rate: Annotated[int, Field(ge=1000, le=192000)] = 16000
    n_fft: Annotated[int, Field(ge=16, le=65536)] = 512
    win_length: Count | None = None
    hop_length: Count = 64
    n_mels: Count | None = None
    f_min: Annotated[float, Field(ge=0)] = 0.0
    f_max: Positive | None = None
    log: Literal["db", "log"] = "db"
    top_db: Positive | None = None
    slice_frames: Count
    slice_hop: Count
    size: Annotated[list[Side], Field(min_length=2, max_length=2)] | None = None
    """Bins and frames that a slice is resized to (bilinear), for backbones made for images."""
    channels: Literal[1, 3] = 1
    """3: the slice three times."""
    normalization: Literal["fixed", "per-clip", "per-bin"] = "fixed"
    mean: float = -50.0
    std: Positive = 20.0

    @property
    def step(self) -> tuple[int, int, int]:
        """Shape of one time step."""
        bins, frames = self.size or (self.n_mels or self.n_fft // 2 + 1, self.slice_frames)
        return (self.channels, bins, frames)

    @model_validator(mode="after")
    def _sizes_fit(self) -> VoiceInput:
        if self.win_length is not None and self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is larger than n_fft {self.n_fft}")
        if self.slice_hop > self.slice_frames:
            raise ValueError(f"slice_hop {self.slice_hop} is larger than slice_frames {self.slice_frames}")
        return self


def _input_tag(value: Any) -> str:
    kind = value.get("kind", "face") if isinstance(value, dict) else getattr(value, "kind", "face")
    return f"{kind}-input"


Input = Annotated[
    Annotated[FaceInput, Tag("face-input")] | Annotated[VoiceInput, Tag("voice-input")], Discriminator(_input_tag)
]


class ModalityConfig(Section):
    """One stream: what it sees, its features a step, and their summary. Several streams may see the same faces or the same sound."""

    input: Input
    backbone: PluginConfig
    aggregator: PluginConfig = PluginConfig(name="mean")
    start_from: str | None = None
    """Name or folder of a trained model with one stream of this kind, whose backbone this one starts with, and whose aggregator if it is the
    same. ``{fold}``: the number of the fold, in a cross-validation."""
    frozen: bool = False
    """Backbone and aggregator are not trained, and stay in evaluation mode."""


class ModelConfig(Section):
    modalities: Annotated[dict[str, ModalityConfig], Field(min_length=1)]
    """Streams by name; which data each sees is its ``input.kind``."""
    fusion: PluginConfig = PluginConfig(name="linear")

    @property
    def kinds(self) -> tuple[str, ...]:
        """``face``, ``voice`` or both: the data that the streams see."""
        return tuple(dict.fromkeys(part.input.kind for part in self.modalities.values()))

    @property
    def face_inputs(self) -> dict[str, FaceInput]:
        """By stream."""
        return {name: part.input for name, part in self.modalities.items() if isinstance(part.input, FaceInput)}

    @property
    def voice_inputs(self) -> dict[str, VoiceInput]:
        """By stream."""
        return {name: part.input for name, part in self.modalities.items() if isinstance(part.input, VoiceInput)}

    @property
    def crop_size(self) -> int:
        """Side of the crops that all face inputs are made from: the largest input's. 224 where nothing sees faces."""
        return max((face.size for face in self.face_inputs.values()), default=224)

    @property
    def crop_channels(self) -> int:
        """Their channels; 3 where nothing sees faces."""
        return max((face.crop_channels for face in self.face_inputs.values()), default=3)

    @property
    def sample_rate(self) -> int:
        """Of the sound, Hz; 16000 where nothing hears."""
        return next((voice.sample_rate for voice in self.voice_inputs.values()), 16000)

    @model_validator(mode="after")
    def _one_sample_rate(self) -> ModelConfig:
        rates = {part.sample_rate for part in self.voice_inputs.values()}
        if len(rates) > 1:
            raise ValueError(f"the voice inputs must share a sample_rate, got {', '.join(map(str, sorted(rates)))}")
        return self
