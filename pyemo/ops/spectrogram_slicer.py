"""Spectrogram slices of live sound."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pyemo.ops import spectrogram
from pyemo.ops.reference import spectrogram as reference
from pyemo.ops.spectrogram_settings import Settings, checked_options

Array = TypeVar("Array", Tensor, np.ndarray)


class SpectrogramSlicer(nn.Module):
    """:func:`pyemo.ops.spectrogram_slices` as a module, for whole waveforms and for sound that arrives in chunks.

    ``slicer(waveform)`` is the function. ``slicer.push(chunk)`` takes the next samples and returns the slices that are now complete;
    ``slicer.flush()`` ends the sound, returns the rest and starts anew. Joined along the slices, they are bit for bit what the function
    gives for the whole, whatever the sizes of the chunks (given pyemo's native module), ``top_db`` included, because its reference is
    the largest value of each slice. Only samples and frames that a later slice needs are kept. Pushing records no gradients.

    Args:
        **options: the keyword arguments of :func:`pyemo.ops.spectrogram_slices`. ``pad_mode="circular"`` cannot be streamed.

    >>> slicer = SpectrogramSlicer(n_mels=128, slice_frames=128, slice_hop=64)
    >>> sound = torch.randn(40000)
    >>> live = [slicer.push(chunk) for chunk in sound.split(1000)] + [slicer.flush()]
    >>> torch.equal(torch.cat(live), slicer(sound))
    True
    """

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.settings: Settings
        self.settings, window = checked_options(**options)
        self.window: Tensor | None
        self.register_buffer("window", window, persistent=False)
        self.reset()

    def forward(self, waveform: Array) -> Array:
        """(..., T) -> (..., slices, bins, slice_frames). Has nothing to do with what has been pushed."""
        return spectrogram.slices_of(waveform, self.window, self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings._asdict().items())

    def reset(self) -> None:
        """Forget what has been pushed."""
        self._samples: Tensor | None = None
        self._is_numpy = False
        self._origin = 0  # where _samples starts, in the sound as it is continued to the left
        self._received = 0
        self._started = self.settings.padding == 0  # whether the sound is continued to the left already
        self._frames: Tensor | None = None  # those that a later slice needs
        self._first_frame = 0  # of _frames
        self._next_frame = 0
        self._next_slice = 0

    @torch.no_grad()
    def push(self, chunk: Array) -> Array:
        """Take the next samples.

        Args:
            chunk: (..., t), t from 0; dtype and leading dimensions stay the same until :meth:`flush`.

        Returns:
            (..., slices, bins, slice_frames): the slices that became complete, often none.

        Raises:
            TypeError, ValueError: the chunk is not of the kind that the function takes, or of another dtype or other leading dimensions
                than those before.
        """
        if self.settings.pad_mode == "circular":
            raise ValueError('pad_mode="circular" starts with the end of the sound, which live sound does not have yet')
        samples: Tensor = spectrogram.from_numpy(chunk) if isinstance(chunk, np.ndarray) else chunk
        spectrogram.check_waveform(samples)
        if self._samples is None:
            self._is_numpy = isinstance(chunk, np.ndarray)
            self._samples = samples[..., :0]
        _check_same(samples, self._samples)
        self._samples = torch.cat([self._samples, samples], -1)
        self._received += samples.shape[-1]
        padding = self.settings.padding
        if not self._started and self._received > padding:
            self._samples = torch.cat([self._beyond(self._samples[..., : padding + 1]), self._samples], -1)
            self._started = True
        if self._started:
            self._transform((padding + self._received - self.settings.n_fft) // self.settings.hop_length + 1)
        return self._returned(self._complete_slices())

    @torch.no_grad()
    def flush(self) -> Tensor | np.ndarray:
        """End the sound and start anew.

        Returns:
            (..., slices, bins, slice_frames): the slices not yet returned. None if the sound was too short for a frame, where the
            function raises an error.
        """
        settings, padding = self.settings, self.settings.padding
        if self._samples is None:
            return torch.empty(0, settings.rows, settings.slice_frames)
        if self._started:
            end = self._beyond(self._samples[..., -padding - 1 :].flip(-1)).flip(-1)
            self._samples = torch.cat([self._samples, end], -1)
            frames = settings.frame_count(self._received)
            self._transform(frames)
            rest = self._complete_slices(settings.slice_count(frames))
        else:
            rest = spectrogram.run(self._samples, self.window, settings)
        result = self._returned(rest)
        self.reset()
        return result

    def _beyond(self, nearest: Tensor) -> Tensor:
        """What comes before the sound, given its first padding + 1 samples."""
        if self.settings.pad_mode == "reflect":
            return nearest[..., 1:].flip(-1)
        if self.settings.pad_mode == "replicate":
            return nearest[..., :1].expand_as(nearest[..., 1:])
        return torch.zeros_like(nearest[..., 1:])

    def _transform(self, frames: int) -> None:
        """Bring the frames to that number, and drop the samples that have become needless."""
        assert self._samples is not None
        hop = self.settings.hop_length
        if frames > self._next_frame:
            begin, end = self._next_frame * hop, (frames - 1) * hop + self.settings.n_fft
            new = self._spectrogram(
                self._samples[..., begin - self._origin : end - self._origin], frames - self._next_frame
            )
            self._frames = new if self._frames is None else torch.cat([self._frames, new], -1)
            self._next_frame = frames
        # At the end, the last padding + 1 samples are mirrored.
        origin = max(self._origin, min(self._next_frame * hop, self._received - 1))
        if origin > self._origin:
            self._samples = self._samples[..., origin - self._origin :].clone()
            self._origin = origin

    def _spectrogram(self, samples: Tensor, frames: int) -> Tensor:
        """(..., bins, frames) of samples as they are."""
        settings = self.settings._replace(
            pad_mode=None, top_db=None, slice_frames=frames, slice_hop=frames, tail="drop"
        )
        return spectrogram.run(samples, self.window, settings).squeeze(-3)

    def _complete_slices(self, count: int | None = None) -> Tensor:
        """The slices whose frames are all there; at the end of the sound up to ``count``, the last continued with silence."""
        assert self._samples is not None
        settings = self.settings
        length, hop = settings.slice_frames, settings.slice_hop
        if self._frames is None:
            shape = (*self._samples.shape[:-1], 0, settings.rows, length)
            return self._samples.new_empty(shape, dtype=spectrogram.output_dtype(self._samples))
        if count is None:
            count = max(self._next_slice, (self._next_frame - length) // hop + 1)
        elif (missing := (count - 1) * hop + length - self._next_frame) > 0:
            silence = self._spectrogram(self._samples.new_zeros(settings.n_fft), 1)
            self._frames = torch.cat([self._frames, silence.expand(*self._frames.shape[:-1], missing)], -1)
        new = count - self._next_slice
        start = self._next_slice * hop - self._first_frame
        slices = self._frames.new_empty(*self._frames.shape[:-2], new, settings.rows, length)
        for i in range(new):
            slices[..., i, :, :] = self._frames[..., start + i * hop : start + i * hop + length]
        self._next_slice = count
        needless = min(start + new * hop, self._frames.shape[-1])
        if needless > 0:
            self._frames = self._frames[..., needless:].clone()
            self._first_frame += needless
        return reference.limited(slices, settings.top_db)

    def _returned(self, slices: Tensor) -> Any:
        return slices.numpy() if self._is_numpy else slices


def _check_same(chunk: Tensor, before: Tensor) -> None:
    if chunk.dtype != before.dtype or chunk.shape[:-1] != before.shape[:-1]:
        shape = ", ".join([*map(str, before.shape[:-1]), "t"])
        raise ValueError(
            f"chunk must be {before.dtype} of shape ({shape}) like those before, got {chunk.dtype} of shape {tuple(chunk.shape)}; "
            "flush() or reset() starts another sound"
        )
