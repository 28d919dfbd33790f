"""Which part of a clip one sample is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pyemo.config.section import Positive, Probability, Range, Section


class WindowConfig(Section):
    """A window of frames around a labelled frame: ``[t - frames / 2, t + frames / 2 - 1]``."""

    frames: Annotated[int, Field(ge=2)]
    majority: Probability = 0.0
    """In training, taken only if at least this share of its frames has the label of the frame in the middle."""


class SamplingConfig(Section):
    """What one training and one evaluation sample is.

    Clips with one label are one sample each. Where frames are labelled (Aff-Wild2), each labelled frame is: alone, or with the ``windows``
    around it, or as a step of one of successive ``sequences``. Those three ways, and ``each_frame``, also split clips with one label,
    which is then that of each frame; sounds without pictures stay whole.
    """

    slice_share: Range | None = None
    """Time augmentation (thesis, section 4.4): in training a random slice of a share of the clip from this range, at a random place, faces
    and sound in step; in evaluation always the whole clip. None: whole clips in training too."""
    slice_seconds: Positive | None = None
    """Slices of this length instead; shorter clips are taken whole. Where the sound's speed is changed, they have it afterwards."""
    slice_place: Literal["random", "middle"] = "random"
    """``middle``: without time augmentation, the slice is always the same."""
    trim_db: Positive | None = None
    """Leave out what comes before the first and after the last hundredth of a second within so many decibels of the clip's loudest, but for
    80 ms on either side."""
    max_seconds: Positive | None = None
    """Clips, or slices, beyond it are cut: in training at a random place with time augmentation, else to their middle."""
    frames: Annotated[int, Field(ge=1)] | None = None
    """Face frames of a sample, evenly spaced over it (repeated never: shorter ones are masked); None: all."""
    each_frame: bool = False
    """Each face of a clip is a sample and a decision of its own."""
    windows: list[WindowConfig] = []
    """Dynamic sampling (Kim et al. 2023): windows tried around each labelled frame; in evaluation all are averaged."""
    sequences: Annotated[int, Field(ge=2)] | None = None
    """Successive sequences of so many frames; the last one of a video is masked where it ends."""
    every: Annotated[int, Field(ge=1)] = 1
    """With ``windows`` and ``each_frame``: every how many frames in training one is (the middle of) a sample. Evaluation takes all."""
    balance: Positive | None = None
    """Sub-sampling of majority classes in training: at most this many times the samples of the median class, drawn anew each epoch."""
    oversample: bool = False
    """In training, samples of the smaller classes are repeated until each class has as many as the largest."""
    wrong_partner: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of training samples whose sound comes from a sample with another label (a study of fuzzy modalities)."""

    @property
    def by_frame(self) -> bool:
        """Whether clips are split into their frames."""
        return bool(self.each_frame or self.windows or self.sequences)

    @property
    def single_faces(self) -> bool:
        """Whether a sample is one face, as far as the recipe decides that."""
        parts = (self.slice_share, self.slice_seconds, self.max_seconds, self.frames, self.windows, self.sequences)
        return not any(parts)

    @model_validator(mode="after")
    def _one_way(self) -> SamplingConfig:
        ways = [name for name in ("windows", "sequences", "each_frame") if getattr(self, name)]
        if len(ways) > 1:
            raise ValueError(f"{ways[0]} and {ways[1]} exclude one another")
        if self.balance and self.oversample:
            raise ValueError("balance and oversample exclude one another")
        if self.sequences and (self.balance or self.oversample or self.wrong_partner):
            raise ValueError(
                "balance, oversample and wrong_partner need one label a sample; sequences have one a frame"
            )
        if self.slice_share and self.slice_seconds:
            raise ValueError("slice_share and slice_seconds exclude one another")
        if self.slice_share and not 0 < self.slice_share[0] <= self.slice_share[1] <= 1:
            raise ValueError(f"slice_share must be a range within (0, 1], got {self.slice_share}")
        return self


class FoldsConfig(Section):
    """Cross-validation: which rows each fold holds out."""

    kind: Literal["subject", "given", "stratified"] = "subject"
    """Folds of whole subjects; the lists of subjects that the data set publishes; or stratified samples, whoever is in them."""
    name: str | None = None
    """Which of the published lists, where there are several."""
    count: Annotated[int, Field(ge=2)] = 5
    seed: int = 0
    allow_subject_overlap: bool = False
    """Without it, folds that train and hold out the same subject are refused."""
