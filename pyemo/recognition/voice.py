"""Emotions in sound, window by window, from files and live."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyemo.data.loudness import Levels
from pyemo.data.voices import join_slices, normalise_slices, slice_steps, voice_slicer
from pyemo.errors import ConfigError, ModelError
from pyemo.recognition.classifier import choose_device
from pyemo.recognition.late_fusion import Relabelling
from pyemo.weights import LoadedModel

WINDOW_SECONDS = 4.0
"""About the length of the clips that voice models are trained on."""
STEP_SECONDS = 2.0
SILENCE_DB = -45.0
"""A window whose loudest hundredth of a second lies below it, in decibels to full scale (root mean square), is silence: nobody speaks in it."""


class VoiceWindow(NamedTuple):
    """What was heard in a stretch of sound."""

    start: float
    end: float
    """Seconds."""
    probabilities: np.ndarray
    """(labels,) float32, sum 1."""


class VoiceClassifier:
    """A voice model on windows of sound.

    Args:
        loaded: a model with one modality, which hears.
        device: ``auto`` (an NVIDIA GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        labels: of the probabilities, if not the model's own (:class:`~pyemo.recognition.late_fusion.Relabelling`).

    Raises:
        ModelError: the model has other modalities.
        ConfigError: no such device.
    """

    def __init__(self, loaded: LoadedModel, device: str = "auto", labels: Sequence[str] | None = None) -> None:
        inputs = loaded.recipe.model.voice_inputs
        if len(loaded.recipe.model.modalities) != 1 or len(inputs) != 1:
            raise ModelError(
                f"model {loaded.recipe.name} has the modalities {', '.join(loaded.recipe.model.modalities)}; expected one, of a voice"
            )
        self.labels = tuple(labels or loaded.recipe.labels)
        self._relabel = Relabelling(loaded.recipe.labels, self.labels)
        self._modality, self.voice_input = next(iter(inputs.items()))
        self.trim_db = loaded.recipe.sampling.trim_db
        """Of what a window is, the beginning and the end that lie so far below its loudest are left out, as in training; None: nothing is."""
        self.device = choose_device(device)
        self._model = loaded.model.to(self.device)

    @property
    def sample_rate(self) -> int:
        """Of the sound that is classified, Hz."""
        return self.voice_input.sample_rate

    def stream(self, window: float = WINDOW_SECONDS, step: float = STEP_SECONDS) -> VoiceStream:
        """Sound that arrives in chunks; see :class:`VoiceStream`."""
        return VoiceStream(self, window, step)

    def windows(self, sound: Iterable[np.ndarray] | np.ndarray) -> list[VoiceWindow]:
        """All windows of a sound, float32 or int16 (T,), whole or in chunks: what :class:`VoiceStream` gives for it."""
        stream = self.stream()
        found = []
        for chunk in [sound] if isinstance(sound, np.ndarray) else sound:
            found += stream.push(chunk)
        return found + stream.flush()

    @torch.inference_mode()
    def classify(self, slices: Tensor, first: int, last: int) -> np.ndarray:
        """Slices (T, bins, frames) and the frames of theirs, ``first`` to ``last`` (exclusive), that count -> probabilities (labels,) float32."""
        batch = join_slices([slices.to(self.device)], [(first, last)], self.voice_input)
        batch = normalise_slices(batch, self.voice_input)
        inputs = {self._modality: slice_steps(batch, self.voice_input)}
        logits = self._model(inputs, {self._modality: batch.mask}).logits
        return self._relabel(logits[0].float().softmax(dim=0).cpu().numpy())


class VoiceStream:
    """Emotions of sound while it arrives.

    Windows of ``window`` seconds begin every ``step`` seconds, both rounded to whole slices of the model's spectrogram; the last one ends
    with the sound. A sound shorter than a window is one. Windows in which nobody speaks (:data:`SILENCE_DB`) are left out. Whatever the
    sizes of the chunks, the windows and their probabilities are the same, and those of a file. Memory is bounded by the window.

    >>> stream = pyemo.load().listen()                     # doctest: +SKIP
    >>> for chunk in microphone:                           # doctest: +SKIP
    ...     for window in stream.push(chunk):
    ...         print(window.start, window.end, window.probabilities)

    Raises:
        ConfigError: ``window`` or ``step`` is not positive.
    """

    def __init__(self, classifier: VoiceClassifier, window: float = WINDOW_SECONDS, step: float = STEP_SECONDS) -> None:
        if not (window > 0 and step > 0):
            raise ConfigError(f"window and step must be positive, got {window} and {step} seconds")
        self._classifier = classifier
        voice = classifier.voice_input
        per_second = voice.sample_rate / voice.hop_length
        self._length = max(1, 1 + round((window * per_second - voice.slice_frames) / voice.slice_hop))
        self._step = max(1, round(step * per_second / voice.slice_hop))
        self._reset()

    def push(self, chunk: np.ndarray) -> list[VoiceWindow]:
        """The next samples, float32 in [-1, 1] or int16, (t,) mono at the classifier's sample rate -> the windows that they complete."""
        samples = np.asarray(chunk)
        if samples.ndim != 1 or samples.dtype not in (np.float32, np.int16):
            raise ValueError(f"expected mono sound, float32 or int16 (t,), got {samples.dtype} {samples.shape}")
        if samples.dtype == np.int16:
            samples = samples.astype(np.float32) / 2**15
        self._received += len(samples)
        self._levels.add(samples)
        self._slices += list(self._slicer.push(torch.from_numpy(np.ascontiguousarray(samples))))
        found = []
        while self._first + len(self._slices) >= self._next + self._length:
            found += self._window(self._next, self._length)
            self._next += self._step
            self._forget(self._next)
        return found

    def flush(self) -> list[VoiceWindow]:
        """End the sound and start anew; the windows not yet given."""
        if not self._received:
            return []
        self._levels.end()
        self._slices += list(torch.as_tensor(self._slicer.flush()))
        found = []
        total = self._first + len(self._slices)
        while total >= self._next + self._length:
            found += self._window(self._next, self._length)
            self._next += self._step
        # What no window has reached yet; of a sound shorter than a window, all.
        if total and (self._next == 0 or self._next - self._step + self._length < total):
            first = max(self._first, total - self._length)
            found += self._window(first, total - first)
        self._reset()
        return found

    def _reset(self) -> None:
        self._slicer = voice_slicer(self._classifier.voice_input)
        self._slices: list[Tensor] = []
        self._first = 0  # number of the first slice kept
        self._next = 0  # slice that the next window begins with
        self._received = 0  # samples
        self._levels = Levels(self._classifier.sample_rate, SILENCE_DB)

    def _forget(self, first: int) -> None:
        """Drops the slices, and the levels, before those that a window may still need: at the end, one that ends with the sound."""
        needed = max(self._first, min(first, self._first + len(self._slices) - self._length))
        del self._slices[: needed - self._first]
        self._first = needed
        self._levels.forget(self._seconds(needed))

    def _window(self, first: int, count: int) -> list[VoiceWindow]:
        voice, settings = self._classifier.voice_input, self._slicer.settings
        frames = (count - 1) * voice.slice_hop + voice.slice_frames
        there = min(frames, settings.frame_count(self._received) - first * voice.slice_hop)
        per_second = voice.sample_rate / voice.hop_length
        start = self._seconds(first)
        # The samples of its frames, which have all come, however small the chunks.
        heard = ((there - 1) * voice.hop_length + settings.n_fft - settings.padding) / voice.sample_rate
        loud = self._levels.loud_part(start, start + heard, self._classifier.trim_db)
        if loud is None:
            return []
        position = first - self._first
        slices = torch.stack(self._slices[position : position + count])
        from_frame = min(there - 1, max(0, round((loud[0] - start) * per_second)))
        to_frame = min(there, max(from_frame + 1, round((loud[1] - start) * per_second)))
        end = min(start + there / per_second, self._received / voice.sample_rate)
        return [VoiceWindow(start, end, self._classifier.classify(slices, from_frame, to_frame))]

    def _seconds(self, slice_number: int) -> float:
        voice = self._classifier.voice_input
        return slice_number * voice.slice_hop * voice.hop_length / voice.sample_rate
