"""The options of :func:`pyemo.ops.spectrogram_slices`, checked, and what follows from them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.ops import mel, tapers

PAD_MODES = ("reflect", "constant", "replicate", "circular")

SMALLEST_AMIN = 2.0**-126
"""The smallest normal number of float32."""

# torch's stubs have them return int | SymInt, which is what an int is under a symbolic trace.
_sym_max: Callable[[int, int], int] = torch.sym_max  # type: ignore[assignment]
_sym_min: Callable[[int, int], int] = torch.sym_min  # type: ignore[assignment]


class Settings(NamedTuple):
    """The arguments of :func:`pyemo.ops.spectrogram_slices`, defaults filled in: what the operators take beside tensors, in their order."""

    sample_rate: float
    n_fft: int
    win_length: int
    hop_length: int
    window: str | None
    """None where the window is a tensor."""
    pad_mode: str | None
    """None without ``center``."""
    power: float
    n_mels: int | None
    f_min: float
    f_max: float
    mel_scale: str
    norm: str | None
    log: str | None
    amin: float
    top_db: float | None
    slice_frames: int
    slice_hop: int
    tail: str

    @property
    def padding(self) -> int:
        """Samples that the waveform is continued by at either end."""
        return 0 if self.pad_mode is None else self.n_fft // 2

    @property
    def rows(self) -> int:
        return self.n_mels or self.n_fft // 2 + 1

    @property
    def log_factor(self) -> float:
        """Of the natural logarithm."""
        return 20 / self.power / math.log(10) if self.log == "db" else 1.0

    def frame_count(self, samples: int) -> int:
        if samples == 0:
            return 0
        return _sym_max(0, (samples + 2 * self.padding - self.n_fft) // self.hop_length + 1)

    def slice_count(self, frames: int) -> int:
        missing = frames - self.slice_frames
        if self.tail == "drop":
            return _sym_max(0, missing // self.slice_hop + 1)
        covering = 1 + (_sym_max(0, missing) + self.slice_hop - 1) // self.slice_hop
        return _sym_min(covering, (frames + self.slice_hop - 1) // self.slice_hop)

    def full_window(self, window: Tensor | None) -> Tensor:
        """(n_fft,) float64: the named or the given window, with zeros on both sides."""
        if window is None:
            assert self.window is not None
            return named_window(self.window, self.win_length, self.n_fft)
        return _centred(window, self.n_fft)

    def filters(self) -> np.ndarray | None:
        """(n_mels, n_fft // 2 + 1) float64."""
        if self.n_mels is None:
            return None
        return _filters(self.sample_rate, self.n_fft, self.n_mels, self.f_min, self.f_max, self.mel_scale, self.norm)


_filters = functools.lru_cache(maxsize=16)(mel.mel_filters)
_taper = functools.lru_cache(maxsize=16)(tapers.taper)


def named_window(name: str, win_length: int, n_fft: int) -> Tensor:
    """(n_fft,) float64, zeros on both sides of the window."""
    return _centred(torch.from_numpy(_taper(name, win_length)), n_fft)


def _centred(window: Tensor, n_fft: int) -> Tensor:
    before = (n_fft - len(window)) // 2
    return F.pad(window.to(torch.float64), (before, n_fft - len(window) - before))


def checked_options(
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
) -> tuple[Settings, Tensor | None]:
    """The options, checked, and the window if it is not a name."""
    taper: Tensor | None = None
    if not isinstance(window, str):
        taper = torch.as_tensor(window)
        if taper.ndim != 1 or taper.is_complex() or (win_length is not None and len(taper) != win_length):
            raise ValueError(
                f"window must be a name or real of shape (win_length,), got {taper.dtype} of shape {tuple(taper.shape)}"
                + ("" if win_length is None else f" for win_length={win_length}")
            )
        if taper.requires_grad and torch.is_grad_enabled():
            raise ValueError("window has no gradient: detach it")
        win_length = len(taper)
    if win_length is None:
        win_length = n_fft
    if f_max is None:
        f_max = sample_rate / 2
    if amin is None:
        amin = max(1e-10 ** (power / 2), SMALLEST_AMIN) if power > 0 else SMALLEST_AMIN

    counts = {"n_fft": n_fft, "hop_length": hop_length, "slice_frames": slice_frames, "slice_hop": slice_hop}
    for name, count in counts.items():
        if not _is_integer(count) or count < 1:
            raise ValueError(f"{name} must be a positive integer, got {count!r}")
    if n_fft > 1 << 20:
        raise ValueError(f"n_fft must be at most {1 << 20}, got {n_fft}")
    if not _is_integer(win_length) or not 1 <= win_length <= n_fft:
        raise ValueError(f"win_length must be from 1 to n_fft={n_fft}, got {win_length!r}")
    if not 0 < power < math.inf:
        raise ValueError(f"power must be positive, got {power}")
    if not (SMALLEST_AMIN <= amin < math.inf):
        raise ValueError(f"amin must be positive and at least 2 ** -126, got {amin}")
    if top_db is not None and not top_db >= 0:
        raise ValueError(f"top_db must be None or not negative, got {top_db}")
    if top_db is not None and log is None:
        raise ValueError(f"top_db is a difference of logarithms: log must not be None with top_db={top_db}")
    if n_mels is not None:
        if not _is_integer(n_mels) or n_mels < 1:
            raise ValueError(f"n_mels must be None or a positive integer, got {n_mels!r}")
        if not (sample_rate > 0 and 0 <= f_min < f_max < math.inf):
            raise ValueError(
                f"mel filters need 0 <= f_min < f_max and a positive sample_rate, got f_min={f_min}, f_max={f_max}, "
                f"sample_rate={sample_rate}"
            )
    _check_choice("window", window if taper is None else None, (None, *tapers.NAMES))
    _check_choice("pad_mode", pad_mode, PAD_MODES)
    _check_choice("mel_scale", mel_scale, mel.SCALES)
    _check_choice("norm", norm, ("slaney", None))
    _check_choice("log", log, ("db", "log", None))
    _check_choice("tail", tail, ("pad", "drop"))
    settings = Settings(
        float(sample_rate),
        _plain(n_fft),
        _plain(win_length),
        _plain(hop_length),
        window if isinstance(window, str) else None,
        pad_mode if center else None,
        float(power),
        None if n_mels is None else _plain(n_mels),
        float(f_min),
        float(f_max),
        mel_scale,
        norm,
        log,
        float(amin),
        None if top_db is None else float(top_db),
        _plain(slice_frames),
        _plain(slice_hop),
        tail,
    )
    return settings, taper


def _is_integer(value: object) -> bool:
    return isinstance(value, (int, np.integer, torch.SymInt)) and not isinstance(value, bool)


def _plain(value: int) -> int:
    """Operators do not take NumPy's integers."""
    return int(value) if isinstance(value, np.integer) else value


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}")
