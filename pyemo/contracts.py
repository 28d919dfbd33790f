"""What a plug-in promises: the typing protocols of the five entry-point groups.

A plug-in is a callable (most often a class) named by an entry point of one of the groups in :data:`pyemo.plugins.GROUPS`. It carries
``contract_version = 1``; pyemo calls it with keyword options from a recipe and gets an object that satisfies the protocol of the
group. Nothing has to be inherited.

Letters in shapes: B batch, T time steps, D features of one time step, D' features of a whole sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

CONTRACT_VERSION = 1


@runtime_checkable
class Backbone(Protocol):
    """Turns each time step of one modality into a feature vector. Usually an ``nn.Module``.

    ``forward(x)``: ``x`` (B, T, ...) with whatever a step of the modality is (a face: channels, height, width; a voice: channels, bins,
    frames) -> (B, T, D), each step by itself; or (B, T * K, D) with K features a step, for a fusion that attends to the places of a
    picture. Steps that do not exist are not handed over. Options called ``pretrained`` and ``weights``,
    where there are such, say which weights to start with; they are left out when a trained model is loaded.
    """

    contract_version: ClassVar[int]
    feature_dim: int
    """D."""
    modality: str
    """``"face"`` or ``"voice"``."""

    def forward(self, x: Tensor) -> Tensor: ...


@runtime_checkable
class Aggregator(Protocol):
    """Turns a sequence of features into one vector. Called with ``feature_dim=D`` and the options of the recipe.

    ``forward(sequence, mask)``: (B, T, D) and a boolean (B, T), true where a step exists -> (B, D').
    """

    contract_version: ClassVar[int]
    output_dim: int
    """D'."""

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor: ...


@dataclass
class FusionInput:
    """What one modality hands to the fusion."""

    sequence: Tensor
    """(B, T, D), the backbone's features."""
    vector: Tensor
    """(B, D'), the aggregator's."""
    mask: Tensor
    """(B, T) boolean, true where a step exists."""


@dataclass
class FusionOutput:
    """What a model returns; losses and evaluation read nothing else."""

    logits: Tensor
    """(B, classes), the decision."""
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    """Further logits by name: of one scorer per modality under the modality's name; of a further target under its name, and of its scorers
    under ``target/modality``. Used by losses, not by evaluation."""
    steps: Tensor | None = None
    """(B, T, classes), where the fusion decides for each time step too (of the modality with the most steps)."""


@dataclass(frozen=True)
class ModalityDims:
    """Sizes a fusion is built for: D of the sequence and D' of the vector."""

    sequence: int
    vector: int


@runtime_checkable
class Fusion(Protocol):
    """Turns the modalities into logits. Called with ``dims`` (modality -> :class:`ModalityDims`), ``num_classes`` and the recipe's options."""

    contract_version: ClassVar[int]

    def forward(self, inputs: Mapping[str, FusionInput]) -> FusionOutput: ...


@dataclass(frozen=True)
class Face:
    """One detected face. Coordinates are pixels of the frame, origin at the top left corner; a box may reach beyond the frame."""

    box: tuple[float, float, float, float]
    """x, y, width, height."""
    score: float
    """The detector's own confidence; larger is surer."""
    landmarks: np.ndarray | None = None
    """float32 (5, 2): right eye, left eye, nose tip, right and left mouth corner, as the person has them; or (68, 2): the points of iBUG
    300-W in their order; None if not detected."""


@dataclass(frozen=True)
class CropFrame:
    """How far a detector's boxes are from the square that frames a face as FER2013 does.

    The square's side is ``scale`` times the geometric mean of the box's sides; its centre is the box's centre moved by ``dx`` and ``dy``
    box widths and heights (positive: right, down).
    """

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0


@runtime_checkable
class Detector(Protocol):
    """Finds faces. ``detect(frames)``: RGB uint8 arrays (H, W, 3), all of one size -> the faces of each frame, best score first."""

    contract_version: ClassVar[int]
    crop_frame: CropFrame

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]: ...


@runtime_checkable
class LandmarkDetector(Detector, Protocol):
    """A detector that can also mark faces whose boxes are known: for frames between those in which it looks for faces.

    ``mark(frame, faces)``: an RGB uint8 array (H, W, 3) and faces with boxes like its own -> the same faces in the same order, with the
    landmarks they have in this very frame, or None where it cannot tell (a face too small).
    """

    def mark(self, frame: np.ndarray, faces: Sequence[Face]) -> list[Face]: ...


@dataclass(frozen=True)
class Manifest:
    """The rows of a data set.

    ``table`` has the columns

    - ``path`` (str): a clip, a sound or an image, or a folder whose images, in natural order, are the frames of one clip;
    - ``label`` (str, or None where only the frames are labelled);
    - ``subject`` (str, or None where unknown);
    - ``split`` (``train``, ``validation``, ``test`` or None);
    - ``start`` and ``end`` in seconds for parts of longer files (else NaN);
    - where there are such: ``voice`` (str or None), the file with the sound if that is not in ``path``, and ``frame_labels`` (1-D int16
      arrays), one position in ``labels`` a frame, -1 where a frame has none;
    - where they matter: ``cropped`` (bool), true where each image is the face already, and ``frame_numbers`` (1-D int32 arrays, from 1),
      the frame of the clip that each image of a folder is;
    - any others that describe the row.

    Data sets whose samples are small images may also hand them over decoded: ``images`` (rows, H, W) or (rows, H, W, 3) uint8.
    ``problems`` lists, in words, each file that was left out and why. ``licence`` says what the data, and models trained on it, may be used for.
    """

    table: pd.DataFrame
    labels: tuple[str, ...]
    images: np.ndarray | None = None
    problems: tuple[str, ...] = ()
    licence: str = "unknown"
    modalities: tuple[str, ...] = ("face",)
    """What the rows hold: ``face``, ``voice`` or both."""
    folds: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """Published cross-validation folds by name: the subjects that each holds out."""


@runtime_checkable
class Dataset(Protocol):
    """Reads the real layout of a data set. ``read(root)`` -> :class:`Manifest`; raises :class:`pyemo.errors.DataError` if the layout is not there."""

    contract_version: ClassVar[int]

    def read(self, root: Path) -> Manifest: ...
