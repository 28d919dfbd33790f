"""Parts of prepared clips as training and evaluation samples: whole clips, random slices, windows around frames, sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyemo.config import ClassifierRecipe, SamplingConfig
from pyemo.contracts import Manifest
from pyemo.data.batch import IGNORED, Batch
from pyemo.data.faces import as_crops
from pyemo.data.loudness import loud_part
from pyemo.data.prepared import PreparedData
from pyemo.data.samples import class_indices
from pyemo.errors import DataError

_KEPT_BYTES = 3 << 30
"""Decoded crops and sounds kept in memory, at most."""
_FRAME_SECONDS = 0.04
"""How long the only frame of a clip is taken to last."""


class Span(NamedTuple):
    """A part of a row: its crops ``first`` to ``last`` (exclusive), and its seconds from ``start`` to ``end``."""

    row: int
    first: int
    last: int
    start: float
    end: float


class ClipSamples:
    """Samples of a recipe from prepared data (:class:`pyemo.data.batch.Samples`).

    Args:
        data: crops and sounds.
        recipe: which modalities, labels and sampling.
        rows: positions of the rows to take; those that lack a modality the recipe needs are left out and counted in ``left_out``.
        training: random slices, balanced classes and the majority of windows, or all of it, as evaluation wants.

    Raises:
        DataError: the data set was prepared without a modality or with another sample rate, a label is not one of the recipe's, a column of a
            further target is missing, or no row is left.
    """

    def __init__(self, data: PreparedData, recipe: ClassifierRecipe, rows: np.ndarray, *, training: bool) -> None:
        self.labels = tuple(recipe.labels)
        self._data = data
        self._sampling = recipe.sampling
        # Sped up, a slice is to have its length still.
        self._fastest = max(1.0, recipe.voice_augmentation.speed[1]) if recipe.model.kinds == ("voice",) else 1.0
        self._training = training
        self._kinds = recipe.model.kinds
        self._size, self._channels = recipe.model.crop_size, recipe.model.crop_channels
        self._rate = data.settings.sample_rate
        self._kept = _Kept(_KEPT_BYTES)
        needed = needed_modalities(data.manifest, recipe)
        _check_prepared(data, recipe, needed)
        usable = np.logical_and.reduce([data.usable(kind) for kind in needed])[rows]
        self.left_out: int = int((~usable).sum())
        rows = np.asarray(rows)[usable]
        if not len(rows):
            raise DataError(f"none of the rows has {' and '.join(needed)}")
        spans = list(_spans(data, recipe, rows, training))
        if not spans:
            raise DataError("no frame has a label, or no window has a majority of the label in its middle")
        self._spans = [self._trimmed(span) for span, _, _ in spans]
        self._centres = [centre for _, _, centre in spans]
        self._step_targets = recipe.sampling.sequences is not None
        self.rows = np.array([span.row for span in self._spans], np.int64)
        self.targets = torch.tensor([target for _, target, _ in spans], dtype=torch.int64)
        table = data.manifest.table
        self._others = {}
        for name, values in recipe.targets.items():
            if name not in table:
                raise DataError(
                    f"the data set has no column {name!r} for the target of that name; it has {', '.join(map(str, table))}"
                )
            self._others[name] = class_indices(table[name].to_numpy()[self.rows], values, f"{name}")
        self._partners = np.arange(len(self._spans))
        self._seed = self._epoch = 0

    @property
    def unit(self) -> str:
        if self._step_targets:
            return "sequences"
        if self._centres[0] < 0:
            return "clips"
        return "windows" if self._sampling.windows else "frames"

    def __len__(self) -> int:
        return len(self._spans)

    def class_counts(self) -> Tensor:
        """(classes,) int64: how many decisions of each class there are to learn."""
        targets = self.targets
        if self._sampling.sequences is not None:
            labels = [self._frame_targets(span.row, np.arange(span.first, span.last)) for span in self._spans]
            targets = torch.from_numpy(np.concatenate([targets.numpy(), *labels]))
        return torch.bincount(targets[targets != IGNORED], minlength=len(self.labels))

    def start_epoch(self, seed: int, epoch: int) -> None:
        """From here on random choices depend on these two and the sample alone; wrong partners on the seed alone."""
        if self._sampling.wrong_partner > 0 and self._training:
            self._partners = _partners(self.targets.numpy(), self._sampling.wrong_partner, seed)
        self._seed, self._epoch = seed, epoch

    def __getitem__(self, positions: Sequence[int]) -> Batch:
        faces, steps, voices = [], [], []
        for position in positions:
            part = self._part(position)
            if "face" in self._kinds:
                chosen = self._chosen(part)
                faces.append(self._crops(part.row, chosen))
                if self._step_targets:
                    steps.append(torch.from_numpy(self._frame_targets(part.row, chosen)))
            if "voice" in self._kinds:
                partner = int(self._partners[position])
                voices.append(self._voice(part if partner == position else self._part(partner)))
        index = torch.as_tensor(positions)
        batch = Batch(self.targets[index], others={name: values[index] for name, values in self._others.items()})
        if steps:
            batch.targets = torch.nn.utils.rnn.pad_sequence(steps, batch_first=True, padding_value=IGNORED)
        if faces:
            batch.faces, lengths = _padded(faces)
            batch.face_mask = torch.arange(batch.faces.shape[1]) < lengths[:, None]
        if voices:
            batch.voices, batch.voice_lengths = _padded(voices)
        return batch

    def decisions(self, positions: Sequence[int]) -> list[tuple[int, int]]:
        """Row and frame number of each target; the frame is -1 for clips with one label."""
        found = []
        for position in positions:
            span, centre = self._spans[position], self._centres[position]
            if self._step_targets and self.targets[position] == IGNORED:
                chosen = self._chosen(self._part(position))
                numbers = self._data.frame_numbers(span.row)[chosen]
                labelled = self._frame_targets(span.row, chosen) != IGNORED
                found += [(span.row, int(number)) for number in numbers[labelled]]
            else:
                found.append((span.row, centre))
        return found

    def _trimmed(self, span: Span) -> Span:
        """Without the silence before and after what is said."""
        if self._sampling.trim_db is None:
            return span
        sound = self._voice(span).numpy()
        start, end = loud_part(sound, self._rate, self._sampling.trim_db)
        return self._cut(span, span.start + start, span.start + end)

    def _part(self, position: int) -> Span:
        """The sample's span, in training with time augmentation a random slice of it."""
        span, sampling = self._spans[position], self._sampling
        length = wanted = span.end - span.start
        place = 0.5
        if self._training and (sampling.slice_share or sampling.slice_seconds):
            random = np.random.default_rng((self._seed, self._epoch, position))
            if sampling.slice_share:
                shortest, longest = sampling.slice_share
                wanted *= random.uniform(shortest, longest)
            elif sampling.slice_seconds:
                wanted = min(length, sampling.slice_seconds * self._fastest)
            if sampling.slice_place == "random":
                place = random.uniform()
        if sampling.max_seconds is not None:
            wanted = min(wanted, sampling.max_seconds)
        if wanted >= length:
            return span
        start = span.start + place * (length - wanted)
        return self._cut(span, start, start + wanted)

    def _cut(self, span: Span, start: float, end: float) -> Span:
        if "face" not in self._kinds:
            return span._replace(start=start, end=end)
        times = self._data.frame_times(span.row)[span.first : span.last]
        first, last = np.searchsorted(times, (start, end))
        if first == last:  # no face in that part: the nearest one
            first = min(first, len(times) - 1)
            last = first + 1
        return Span(span.row, span.first + int(first), span.first + int(last), start, end)

    def _chosen(self, part: Span) -> np.ndarray:
        """Positions of the crops, evenly spaced where there are more than ``frames``."""
        count = part.last - part.first
        wanted = self._sampling.frames
        if wanted is None or count <= wanted:
            return np.arange(part.first, part.last)
        return part.first + (np.arange(wanted) * 2 + 1) * count // (2 * wanted)

    def _crops(self, row: int, chosen: np.ndarray) -> Tensor:
        keys = [("face", row, position) for position in chosen.tolist()]
        missing = [key for key in keys if key not in self._kept]
        fresh: dict[Key, np.ndarray] = {}
        if missing:
            images = self._data.faces_at(row, [position for _, _, position in missing]).crops
            crops = as_crops(images[..., 0] if images.shape[-1] == 1 else images, self._size, self._channels).numpy()
            fresh = dict(zip(missing, crops, strict=True))
            for key, crop in fresh.items():
                self._kept.put(key, crop)
        return torch.from_numpy(np.stack([fresh[key] if key in fresh else self._kept[key] for key in keys]))

    def _voice(self, part: Span) -> Tensor:
        key = ("voice", part.row, 0)
        whole = self._kept[key] if key in self._kept else self._data.voice(part.row)
        self._kept.put(key, whole)
        first, last = round(part.start * self._rate), round(part.end * self._rate)
        # Pictures may go on after their sound has ended: what is left then is silence.
        samples = whole[first:last] if first < len(whole) else np.zeros(max(1, last - first), np.int16)
        return torch.from_numpy(samples)

    def _frame_targets(self, row: int, chosen: np.ndarray) -> np.ndarray:
        return _frame_targets(self._data, row, self.labels)[chosen]


Key = tuple[str, int, int]


class _Kept:
    """Arrays by key, as many as fit; the others are not kept."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._arrays: dict[Key, np.ndarray] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._arrays

    def __getitem__(self, key: Key) -> np.ndarray:
        return self._arrays[key]

    def put(self, key: Key, array: np.ndarray) -> None:
        if key not in self._arrays and array.nbytes <= self._free:
            self._free -= array.nbytes
            self._arrays[key] = array.copy()


def needed_modalities(manifest: Manifest, recipe: ClassifierRecipe) -> tuple[str, ...]:
    """``face``, ``voice`` or both: what the recipe sees and hears, and faces where frames are labelled, since these say when a frame is."""
    annotated = "frame_labels" in manifest.table
    return tuple(kind for kind in ("face", "voice") if kind in recipe.model.kinds or (kind == "face" and annotated))


def _check_prepared(data: PreparedData, recipe: ClassifierRecipe, needed: Sequence[str]) -> None:
    for kind in needed:
        if kind not in data.settings.modalities:
            why = "" if kind in recipe.model.kinds else ", for the times of the labelled frames"
            raise DataError(
                f"{data.folder} was prepared for {', '.join(data.settings.modalities)}; the recipe {recipe.name} needs {kind} too{why}"
            )
    if "voice" in recipe.model.kinds and recipe.model.sample_rate != data.settings.sample_rate:
        raise DataError(
            f"{data.folder} was prepared with sound of {data.settings.sample_rate} Hz; the recipe {recipe.name} wants "
            f"{recipe.model.sample_rate} Hz"
        )


def _spans(
    data: PreparedData, recipe: ClassifierRecipe, rows: np.ndarray, training: bool
) -> Iterator[tuple[Span, int, int]]:
    """The parts of the rows that are samples, each with its target and the number of the frame it is about (-1: all)."""
    table = data.manifest.table
    sampling = recipe.sampling
    whole = [row for row in rows.tolist() if not _annotated(data, row)]
    targets = class_indices(table["label"].to_numpy()[whole], recipe.labels)
    target_of = dict(zip(whole, targets.tolist(), strict=True))
    for row in rows.tolist():
        if row in target_of and not (sampling.by_frame and data.face_count(row)):
            yield Span(row, 0, data.face_count(row), 0.0, _seconds(data, row)), target_of[row], -1
            continue
        labels = _frame_targets(data, row, recipe.labels)
        times = data.frame_times(row)
        if sampling.sequences is not None:
            for first in range(0, len(labels), sampling.sequences):
                last = min(first + sampling.sequences, len(labels))
                if (labels[first:last] != IGNORED).any():
                    yield _span_of(row, first, last, times), IGNORED, -1
        else:
            numbers = data.frame_numbers(row)
            for span, centre in _windows(row, labels, times, sampling, training):
                yield span, int(labels[centre]), int(numbers[centre])


def _annotated(data: PreparedData, row: int) -> bool:
    table = data.manifest.table
    return "frame_labels" in table and table["frame_labels"].iloc[row] is not None


def _frame_targets(data: PreparedData, row: int, labels: Sequence[str]) -> np.ndarray:
    """Of each crop of a row: its frame's own label or the row's, as a position in ``labels``; IGNORED for none. int64."""
    if _annotated(data, row):
        return _in_recipe(data.frame_labels(row), data.manifest.labels, labels)
    target = class_indices([data.manifest.table["label"].iloc[row]], labels)
    return np.full(data.face_count(row), int(target), np.int64)


def _windows(
    row: int, labels: np.ndarray, times: np.ndarray, sampling: SamplingConfig, training: bool
) -> Iterator[tuple[Span, int]]:
    """Windows around labelled frames, each with its middle's position; without any in the recipe, the frames alone."""
    centres = np.flatnonzero(labels != IGNORED)
    for centre in (centres[:: sampling.every] if training else centres).tolist():
        if not sampling.windows:
            yield _span_of(row, centre, centre + 1, times), centre
        for window in sampling.windows:
            first = max(0, centre - window.frames // 2)
            last = min(len(labels), centre + (window.frames + 1) // 2)
            # Of the window's nominal length: what lies beyond the ends of the clip has no label.
            agreeing = (labels[first:last] == labels[centre]).sum() / window.frames
            if not training or agreeing >= window.majority:
                yield _span_of(row, first, last, times), centre


def _span_of(row: int, first: int, last: int, times: np.ndarray) -> Span:
    interval = float(np.median(np.diff(times))) if len(times) > 1 else _FRAME_SECONDS
    return Span(row, first, last, float(times[first]), float(times[last - 1]) + interval)


def _seconds(data: PreparedData, row: int) -> float:
    """Of the row: of its sound, or up to its last face."""
    sound = data.voice_length(row) / data.settings.sample_rate
    if sound > 0 or not data.face_count(row):
        return sound
    return float(data.frame_times(row)[-1]) + _FRAME_SECONDS


def _in_recipe(labels: np.ndarray, names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Positions in the data set's labels, -1 for none -> in the recipe's, IGNORED for none; int64.

    Raises:
        DataError: one of the labels that occur is not among the recipe's.
    """
    index = np.full(len(names) + 1, IGNORED, np.int64)
    for position in np.unique(labels[labels >= 0]).tolist():
        index[position] = class_indices([names[position]], wanted)[0]
    return index[labels]


def _partners(targets: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Each sample's own position, but for a ``share`` of them that of a random sample with another target."""
    random = np.random.default_rng((seed, len(targets)))
    partners = np.arange(len(targets))
    for position in random.permutation(len(targets))[: round(share * len(targets))].tolist():
        others = np.flatnonzero(targets != targets[position])
        if len(others):
            partners[position] = random.choice(others)
    return partners


def _padded(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One tensor, zeros behind the end of the shorter ones, and their lengths."""
    lengths = torch.tensor([len(part) for part in parts])
    return torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True), lengths
