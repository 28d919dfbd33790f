"""Spectrograms of a waveform, cut into overlapping slices, as recognisers of emotion in speech take them."""

from __future__ import annotations

import functools
import math
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pyemo.ops import cuda
from pyemo.ops.native import array_view, as_tensor, code_of, library, native, tensor_view, warn_of_fallback
from pyemo.ops.reference import spectrogram as reference
from pyemo.ops.spectrogram_settings import Settings, checked_options, named_window

Array = TypeVar("Array", Tensor, np.ndarray)

_DTYPES = (torch.float32, torch.float64, torch.int16)


def spectrogram_slices(
    waveform: Array,
    *,
    sample_rate: float = 16000,
    n_fft: int = 512,
    win_length: int | None = None,
    hop_length: int = 64,
    window: str | Tensor | np.ndarray = "hann",
    center: bool = True,
    pad_mode: str = "reflect",
    power: float = 2.0,
    n_mels: int | None = None,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel_scale: str = "slaney",
    norm: str | None = "slaney",
    log: str | None = "db",
    amin: float | None = None,
    top_db: float | None = None,
    slice_frames: int,
    slice_hop: int,
    tail: str = "pad",
) -> Array:
    """Spectrogram, mel spectrogram or their logarithm, cut into slices of ``slice_frames`` frames every ``slice_hop`` frames.

    Equals ``librosa.feature.melspectrogram`` (or the magnitude of ``librosa.stft`` and ``torch.stft``) followed by
    ``librosa.power_to_db(..., top_db=None)`` and a cut along time. Each frame is transformed once, however much slices overlap.

    Args:
        waveform: (..., T) samples: float32, float64, or int16, which counts as its value / 32768; any strides. NumPy arrays are
            accepted too, and then returned.
        sample_rate: samples per second; the mel filters depend on it.
        n_fft: samples of a frame, any number from 1; powers of two are fastest, then products of 2, 3 and 5.
        win_length: samples of the window, which stands in the middle of the frame; ``n_fft`` by default.
        hop_length: samples from one frame to the next.
        window: a name (hann, hamming, blackman, nuttall, blackmanharris, flattop, bartlett, bohman, boxcar), periodic, or a
            (win_length,) tensor or array.
        center: continue the waveform by ``n_fft // 2`` samples at either end, so that frame t is centred on sample t * hop_length.
        pad_mode: with what: "reflect" (a waveform shorter than that is reflected more than once, as NumPy does), "constant"
            (zeros), "replicate" or "circular".
        power: of the magnitude; 2 for power, 1 for magnitude.
        n_mels: mel filters; None for the plain spectrogram of ``n_fft // 2 + 1`` bins.
        f_min: lower edge of the first filter, in Hz.
        f_max: upper edge of the last filter, in Hz; half the sample rate by default.
        mel_scale: "slaney" or "htk".
        norm: "slaney" for filters of equal area, None for filters of height 1.
        log: "db" for decibels, ``20 / power * log10(max(value, amin))``; "log" for the natural logarithm, ``log(max(value, amin))``;
            None for the value itself.
        amin: floor of the logarithm, ``1e-10 ** (power / 2)`` by default, which is librosa's: -100 dB.
        top_db: raise values to that many units of the logarithm below the largest value *of their slice*, so that live sound gives what
            a file does. (librosa takes the largest of the whole array.) None for no limit.
        slice_frames: frames of a slice.
        slice_hop: frames from the start of one slice to that of the next.
        tail: "pad" fills the last slice, if the sound ends within it, with frames of silence (power 0), so that every frame is in a slice
            (unless ``slice_hop`` leaves some out); "drop" leaves out a slice that is not full.

    Returns:
        (..., slices, bins, slice_frames) float32; float64 for float64. Gradients flow to a floating waveform tensor, and of the second
        order too. A frame's values depend on its own samples alone, bit for bit, and on neither the number of threads nor its
        neighbours.

    Raises:
        TypeError: the waveform is no tensor or array, or of another dtype.
        ValueError: an option is out of range or unknown; the waveform is empty, or shorter than a frame and not continued.

    >>> speech = torch.randn(2, 64000)
    >>> spectrogram_slices(speech, n_mels=128, slice_frames=128, slice_hop=64).shape
    torch.Size([2, 15, 128, 128])
    """
    settings, taper = checked_options(
        sample_rate=sample_rate,
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop_length,
        window=window,
        center=center,
        pad_mode=pad_mode,
        power=power,
        n_mels=n_mels,
        f_min=f_min,
        f_max=f_max,
        mel_scale=mel_scale,
        norm=norm,
        log=log,
        amin=amin,
        top_db=top_db,
        slice_frames=slice_frames,
        slice_hop=slice_hop,
        tail=tail,
    )
    return slices_of(waveform, taper, settings)


def slices_of(waveform: Array, window: Tensor | None, settings: Settings) -> Array:
    """:func:`spectrogram_slices`, its options checked."""
    if isinstance(waveform, np.ndarray):
        return slices_of(from_numpy(waveform), window, settings).numpy()
    check_waveform(waveform)
    samples = waveform.shape[-1]
    if samples == 0 or samples + 2 * settings.padding < settings.n_fft:
        raise ValueError(
            f"waveform of shape {tuple(waveform.shape)} is too short for a frame of n_fft={settings.n_fft} samples"
            + ("; center=True continues it" if samples > 0 else "")
        )
    return run(waveform, window, settings)


def run(waveform: Tensor, window: Tensor | None, settings: Settings) -> Tensor:
    """The operator; no slices if the waveform is too short for a frame."""
    wants_grad = waveform.requires_grad and torch.is_grad_enabled()
    return (_forward if wants_grad else _forward_without_grad)(waveform, window, *settings)


def from_numpy(array: np.ndarray) -> Tensor:
    if array.dtype.name not in ("float32", "float64", "int16"):
        raise TypeError(_dtype_message(array.dtype.name, array.shape))
    return as_tensor(array)


def _dtype_message(dtype: object, shape: tuple[int, ...]) -> str:
    return f"waveform must be of dtype float32, float64 or int16, got {dtype} of shape {tuple(shape)}"


def output_dtype(waveform: Tensor) -> torch.dtype:
    return torch.float64 if waveform.dtype == torch.float64 else torch.float32


def check_waveform(waveform: Tensor) -> None:
    if not isinstance(waveform, Tensor):
        raise TypeError(f"waveform must be a torch.Tensor or a numpy.ndarray, got {type(waveform).__name__}")
    if waveform.dtype not in _DTYPES:
        raise TypeError(_dtype_message(waveform.dtype, waveform.shape))
    if waveform.ndim == 0:
        raise ValueError("waveform must have the shape (..., T), got ()")


_OPTIONS = (
    "float sample_rate, int n_fft, int win_length, int hop_length, str? window_name, str? pad_mode, float power, int? n_mels, "
    "float f_min, float f_max, str mel_scale, str? norm, str? log, float amin, float? top_db, int slice_frames, int slice_hop, str tail"
)  # Settings

# Each is defined twice: one has gradients, which take a second passage through Python even where none is wanted; the other spares it.
for _name in ("spectrogram_slices", "spectrogram_slices_without_grad"):
    library.define(f"{_name}(Tensor waveform, Tensor? window, {_OPTIONS}) -> Tensor")
library.define(
    f"spectrogram_slices_backward(Tensor grad, Tensor? output, Tensor waveform, Tensor? window, {_OPTIONS}) -> Tensor"
)


def _fake(waveform: Tensor, window: Tensor | None, *options: Any) -> Tensor:
    settings = Settings(*options)
    slices = settings.slice_count(settings.frame_count(waveform.shape[-1]))
    shape = (*waveform.shape[:-1], slices, settings.rows, settings.slice_frames)
    return waveform.new_empty(shape, dtype=output_dtype(waveform))


def _run_reference(waveform: Tensor, window: Tensor | None, *options: Any) -> Tensor:
    if waveform.is_cuda and cuda.kernels is None:
        cuda.warn_of_fallback()
    elif native is None:
        warn_of_fallback()
    return reference.compute(waveform, window, Settings(*options))


def _run_native(waveform: Tensor, window: Tensor | None, *options: Any) -> Tensor:
    assert native is not None
    settings = Settings(*options)
    output = _fake(waveform, window, *options)
    taper = settings.full_window(window)
    native.spectrogram_slices(
        plan(settings),
        tensor_view(waveform),
        tensor_view(taper),
        settings.slice_frames,
        settings.slice_hop,
        tensor_view(output),
        torch.get_num_threads(),
    )
    return output


def _run_cuda(waveform: Tensor, window: Tensor | None, *options: Any) -> Tensor:
    module = cuda.require_built()
    settings = Settings(*options)
    device_plan = _device_plan(settings, waveform)
    if device_plan is None:
        return reference.compute(waveform, window, settings)
    output = _fake(waveform, window, *options)
    taper = _device_window(settings, window, waveform)
    module.spectrogram_slices(
        cuda.queue_of(waveform),
        device_plan[0],
        tensor_view(device_plan[1]),
        tensor_view(waveform),
        tensor_view(taper),
        settings.slice_frames,
        settings.slice_hop,
        tensor_view(output),
    )
    return output


def plan(settings: Settings) -> Any:
    """The kernels' tables, which do not depend on window and slices."""
    return _cached_plan(_essential(settings))


def _essential(settings: Settings) -> Settings:
    return settings._replace(window=None, win_length=0, slice_frames=0, slice_hop=0, tail="")


@functools.lru_cache(maxsize=32)
def _cached_plan(settings: Settings) -> Any:
    assert native is not None
    return native.SpectrogramPlan(**_plan_options(settings))


def _plan_options(settings: Settings) -> dict[str, Any]:
    filters = settings.filters()
    return {
        "n_fft": settings.n_fft,
        "hop_length": settings.hop_length,
        "padding": settings.pad_mode or "none",
        "power": settings.power,
        "log_scale": 0.0 if settings.log is None else settings.log_factor * math.log(2),
        "amin": settings.amin,
        "top_db": settings.top_db,
        "filters": None if filters is None else array_view(filters),
    }


def _device_plan(settings: Settings, waveform: Tensor) -> tuple[Any, Tensor] | None:
    """The CUDA kernels' plan and its tables on the waveform's device; None for frames that they do not take."""
    index, _ = cuda.queue_of(waveform)
    return _cached_device_plan(_essential(settings), index, waveform.device, output_dtype(waveform))


@functools.lru_cache(maxsize=32)
def _cached_device_plan(
    settings: Settings, index: int, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Tensor] | None:
    found = cuda.require_built().SpectrogramPlan(**_plan_options(settings), dtype=code_of(dtype))
    if not found.is_supported(index):
        return None
    cuda.check_capturing("the table of spectrogram_slices")
    return found, torch.frombuffer(bytearray(found.tables()), dtype=torch.uint8).to(device)


def _device_window(settings: Settings, window: Tensor | None, waveform: Tensor) -> Tensor:
    if window is None:
        assert settings.window is not None
        return _named_window(
            settings.window, settings.win_length, settings.n_fft, waveform.device, output_dtype(waveform)
        )
    return settings.full_window(window).to(waveform.device, output_dtype(waveform))


@functools.lru_cache(maxsize=32)
def _named_window(name: str, win_length: int, n_fft: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    cuda.check_capturing("the window of spectrogram_slices")
    return named_window(name, win_length, n_fft).to(device, dtype)


def _fake_backward(
    grad: Tensor, output: Tensor | None, waveform: Tensor, window: Tensor | None, *options: Any
) -> Tensor:
    return torch.empty_like(waveform, memory_format=torch.contiguous_format)


def _run_reference_backward(
    grad: Tensor, output: Tensor | None, waveform: Tensor, window: Tensor | None, *options: Any
) -> Tensor:
    return reference.backward(grad, waveform, window, Settings(*options)).contiguous()


def _run_native_backward(
    grad: Tensor, output: Tensor | None, waveform: Tensor, window: Tensor | None, *options: Any
) -> Tensor:
    assert native is not None
    settings = Settings(*options)
    if output is not None and settings.top_db is not None:
        grad = reference.range_backward(grad, output, settings.top_db)
    grad = grad.contiguous()
    grad_waveform = torch.empty_like(waveform, memory_format=torch.contiguous_format)
    taper = settings.full_window(window)
    native.spectrogram_slices_backward(
        plan(settings),
        tensor_view(grad),
        tensor_view(waveform),
        tensor_view(taper),
        settings.slice_frames,
        settings.slice_hop,
        tensor_view(grad_waveform),
        torch.get_num_threads(),
    )
    return grad_waveform


def _run_cuda_backward(
    grad: Tensor, output: Tensor | None, waveform: Tensor, window: Tensor | None, *options: Any
) -> Tensor:
    module = cuda.require_built()
    settings = Settings(*options)
    device_plan = _device_plan(settings, waveform)
    if device_plan is None:
        return _run_reference_backward(grad, output, waveform, window, *options)
    if output is not None and settings.top_db is not None:
        grad = reference.range_backward(grad, output, settings.top_db)
    grad = grad.contiguous()
    grad_waveform = torch.empty_like(waveform, memory_format=torch.contiguous_format)
    edges = waveform.new_empty((*waveform.shape[:-1], 2 * settings.padding))
    taper = _device_window(settings, window, waveform)
    module.spectrogram_slices_backward(
        cuda.queue_of(waveform),
        device_plan[0],
        tensor_view(device_plan[1]),
        tensor_view(grad),
        tensor_view(waveform),
        tensor_view(taper),
        settings.slice_frames,
        settings.slice_hop,
        tensor_view(grad_waveform),
        tensor_view(edges),
    )
    return grad_waveform


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    waveform, window, *options = inputs
    ctx.settings = Settings(*options)
    limited = ctx.settings.top_db is not None
    ctx.save_for_backward(waveform, window, output if limited else None)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    waveform, window, output = ctx.saved_tensors
    if torch.is_grad_enabled():  # second derivatives are wanted
        grad_waveform = reference.backward(grad, waveform, window, ctx.settings)
    else:
        grad_waveform = _backward(grad, output, waveform, window, *ctx.settings)
    return grad_waveform, None, *(None for _ in ctx.settings)


for _name in ("spectrogram_slices", "spectrogram_slices_without_grad"):
    # Every backend runs the reference but those that have a kernel.
    library.impl(_name, _run_reference, "CompositeExplicitAutograd")
    if native is not None:
        library.impl(_name, _run_native, "CPU")
    if cuda.kernels is not None:
        library.impl(_name, _run_cuda, "CUDA")
    torch.library.register_fake(f"pyemo::{_name}", _fake, lib=library)
library.impl("spectrogram_slices_backward", _run_reference_backward, "CompositeExplicitAutograd")
if native is not None:
    library.impl("spectrogram_slices_backward", _run_native_backward, "CPU")
if cuda.kernels is not None:
    library.impl("spectrogram_slices_backward", _run_cuda_backward, "CUDA")
torch.library.register_fake("pyemo::spectrogram_slices_backward", _fake_backward, lib=library)
torch.library.register_autograd(
    "pyemo::spectrogram_slices", _differentiate, setup_context=_save_for_backward, lib=library
)
_forward = torch.ops.pyemo.spectrogram_slices.default
_forward_without_grad = torch.ops.pyemo.spectrogram_slices_without_grad.default
_backward = torch.ops.pyemo.spectrogram_slices_backward.default
