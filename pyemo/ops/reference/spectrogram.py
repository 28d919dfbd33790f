"""Spectrograms of a waveform, cut into slices, in plain PyTorch."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.ops.spectrogram_settings import Settings, checked_options


def spectrogram_slices(waveform: Tensor, **options: Any) -> Tensor:
    """See :func:`pyemo.ops.spectrogram_slices`."""
    settings, window = checked_options(**options)
    return compute(waveform, window, settings)


def compute(waveform: Tensor, window: Tensor | None, settings: Settings) -> Tensor:
    """The operator."""
    with torch.autocast(waveform.device.type, enabled=False):
        _, _, values = _values(waveform, window, settings)
        return limited(_slices(_logarithm(values, settings), settings), settings.top_db).contiguous()


def backward(grad: Tensor, waveform: Tensor, window: Tensor | None, settings: Settings) -> Tensor:
    """Gradient of :func:`compute` to the waveform; differentiable in turn."""
    with torch.autocast(waveform.device.type, enabled=False):
        spectrum, squares, values = _values(waveform, window, settings)
        if settings.top_db is not None:
            slices = _slices(_logarithm(values, settings), settings)
            grad = range_backward(grad, slices, settings.top_db)
        grad = _join(grad, values.shape[-1], settings)
        if settings.log is not None:
            factor = settings.log_factor / values.clamp(min=settings.amin)
            grad = torch.where(values >= settings.amin, grad * factor, 0)
        grad = grad.transpose(-1, -2)
        filters = settings.filters()
        if filters is not None:
            grad = grad @ torch.from_numpy(filters).to(grad)
        grad = torch.where(squares > 0, grad * _power(squares, settings.power - 2), 0) * settings.power
        return _frames_backward(grad * spectrum, waveform, window, settings)


def range_backward(grad: Tensor, values: Tensor, top_db: float) -> Tensor:
    """Gradient of the limit that ``top_db`` sets, given values before or after it: what is held is held by the largest."""
    largest = values.amax((-2, -1), keepdim=True)
    held = values <= largest - top_db
    is_largest = values == largest
    shares = torch.where(held, grad, 0).sum((-2, -1), keepdim=True) / is_largest.sum((-2, -1), keepdim=True)
    return torch.where(held, 0, grad) + torch.where(is_largest, shares, 0)


def _values(waveform: Tensor, window: Tensor | None, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Spectrum and its squared magnitude (..., frames, bins); what the logarithm is taken of, (..., rows, frames)."""
    samples = waveform.to(torch.float32) / 32768 if waveform.dtype == torch.int16 else waveform
    taper = settings.full_window(window).to(samples)
    count = settings.frame_count(samples.shape[-1])
    if count == 0:
        frames = samples.new_zeros(*samples.shape[:-1], 0, settings.n_fft)
    else:
        frames = _padded(samples, settings).unfold(-1, settings.n_fft, settings.hop_length)
    spectrum = _rfft(frames * taper)
    squares = spectrum.real.square() + spectrum.imag.square()
    values = squares if settings.power == 2 else torch.where(squares > 0, _power(squares, settings.power), squares * 0)
    filters = settings.filters()
    if filters is not None:
        values = values @ torch.from_numpy(filters).to(values).T
    return spectrum, squares, values.transpose(-1, -2)


# Of nothing, PyTorch 2.14's transforms on MKL are an error.
def _rfft(frames: Tensor) -> Tensor:
    if frames.numel() > 0:
        return torch.fft.rfft(frames)
    nothing = frames[..., : frames.shape[-1] // 2 + 1]
    return torch.complex(nothing, nothing)


def _irfft(spectrum: Tensor, n_fft: int) -> Tensor:
    if spectrum.numel() > 0:
        return torch.fft.irfft(spectrum, n_fft, norm="forward")
    return spectrum.real.new_zeros(*spectrum.shape[:-1], n_fft)


def _power(squares: Tensor, power: float) -> Tensor:
    """From |X|^2 to |X|^power; 1 for 0, where powers have no finite derivatives."""
    return torch.where(squares > 0, squares, 1) ** (power / 2)


def _logarithm(values: Tensor, settings: Settings) -> Tensor:
    return values if settings.log is None else values.clamp(min=settings.amin).log() * settings.log_factor


def _slices(rows: Tensor, settings: Settings) -> Tensor:
    """(..., rows, frames) -> (..., slices, rows, slice_frames); silence beyond the last frame."""
    frames = rows.shape[-1]
    slices = settings.slice_count(frames)
    if slices == 0:
        return rows.new_zeros(*rows.shape[:-2], 0, rows.shape[-2], settings.slice_frames)
    needed = (slices - 1) * settings.slice_hop + settings.slice_frames
    silence = _logarithm(rows.new_zeros(()), settings).item() if settings.log is not None else 0.0
    filled = F.pad(rows, (0, max(0, needed - frames)), value=silence)[..., :needed]
    return filled.unfold(-1, settings.slice_frames, settings.slice_hop).movedim(-2, -3)


def _join(grad: Tensor, frames: int, settings: Settings) -> Tensor:
    """The adjoint of :func:`_slices`."""
    slices = grad.shape[-3]
    starts = torch.arange(slices, device=grad.device) * settings.slice_hop
    index = (starts[:, None] + torch.arange(settings.slice_frames, device=grad.device)).flatten()
    needed = max(frames, (slices - 1) * settings.slice_hop + settings.slice_frames)
    sums = grad.new_zeros(*grad.shape[:-3], grad.shape[-2], needed)
    return sums.index_add(-1, index, grad.movedim(-3, -2).flatten(-2))[..., :frames]


def limited(slices: Tensor, top_db: float | None) -> Tensor:
    """Values of each slice raised to ``top_db`` below its largest."""
    if top_db is None:
        return slices
    return torch.maximum(slices, slices.amax((-2, -1), keepdim=True) - top_db)


def _padded(samples: Tensor, settings: Settings) -> Tensor:
    origin = _origin(samples, settings)
    padded = samples[..., origin.clamp(min=0)]
    return torch.where(origin >= 0, padded, 0)


def _origin(samples: Tensor, settings: Settings) -> Tensor:
    """For each place of the padded waveform, which sample stands there; -1 for zero."""
    count = samples.shape[-1]
    place = torch.arange(-settings.padding, count + settings.padding, device=samples.device)
    if settings.pad_mode == "reflect":
        period = max(2 * (count - 1), 1)
        phase = place % period
        return torch.where(phase < count, phase, period - phase)
    if settings.pad_mode == "replicate":
        return place.clamp(0, count - 1)
    if settings.pad_mode == "circular":
        return place % count
    return torch.where((place >= 0) & (place < count), place, -1)


def _frames_backward(grad: Tensor, waveform: Tensor, window: Tensor | None, settings: Settings) -> Tensor:
    """The adjoint of framing, window and transform, of the gradient of the spectrum."""
    n_fft, frames, count = settings.n_fft, grad.shape[-2], waveform.shape[-1]
    if frames == 0:
        return torch.zeros_like(waveform)
    weights = grad.real.new_full((settings.n_fft // 2 + 1,), 0.5)  # irfft counts the bins between twice
    weights[0] = 1
    if n_fft % 2 == 0:
        weights[-1] = 1
    samples = _irfft(grad * weights, n_fft) * settings.full_window(window).to(waveform)
    starts = torch.arange(frames, device=grad.device) * settings.hop_length
    index = (starts[:, None] + torch.arange(n_fft, device=grad.device)).flatten()
    padded = samples.new_zeros(*waveform.shape[:-1], count + 2 * settings.padding)
    padded = padded.index_add(-1, index, samples.flatten(-2))
    origin = _origin(waveform, settings)
    padded = torch.where(origin >= 0, padded, 0)
    return torch.zeros_like(waveform).index_add(-1, origin.clamp(min=0), padded)
