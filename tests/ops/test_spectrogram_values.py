"""Values of spectrogram slices: against librosa, torch.stft and the float64 reference, for every option and instruction set."""

from __future__ import annotations

import doctest
import importlib
import inspect
import warnings
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from spectrogram_inputs import random_options, samples
from torch import Tensor

from pyemo.ops import SpectrogramSlicer, mel, spectrogram_slices, tapers
from pyemo.ops.native import native, tensor_view
from pyemo.ops.reference import spectrogram as reference
from pyemo.ops.spectrogram_settings import checked_options

SLICES: dict[str, Any] = {"slice_frames": 24, "slice_hop": 16}


def cut(rows: np.ndarray, frames: int = 24, hop: int = 16) -> np.ndarray:
    """(..., rows, F) -> the full slices of it."""
    return np.stack([rows[..., s : s + frames] for s in range(0, rows.shape[-1] - frames + 1, hop)], axis=-3)


def assert_within(result: Tensor, expected: Tensor, share: float) -> None:
    """Differences are at most that share of each slice's largest value."""
    assert result.shape == expected.shape
    largest = expected.abs().amax((-2, -1), keepdim=True)
    assert bool(((result.double() - expected.double()).abs() <= share * largest).all())


# Against librosa and torch.stft


@pytest.mark.parametrize(
    "options",
    [
        {"n_mels": 128},
        {"n_mels": 40, "mel_scale": "htk", "norm": None, "f_min": 50.0, "f_max": 7000.0},
        {"n_mels": 80, "n_fft": 400, "hop_length": 160},
        {"n_mels": 64, "n_fft": 1024, "win_length": 800, "hop_length": 256, "window": "hamming"},
        {"n_mels": 20, "n_fft": 256, "pad_mode": "constant", "power": 1.0},
        {"n_mels": 128, "n_fft": 4096, "hop_length": 512, "center": False},
        {"n_mels": 33, "n_fft": 441, "hop_length": 100, "sample_rate": 22050, "window": "blackman"},
    ],
    ids=str,
)
def test_equals_librosa(isa: str, options: dict[str, Any]) -> None:
    waveform = samples(2, 20000)
    plain = {
        "n_fft": options.get("n_fft", 512),
        "hop_length": options.get("hop_length", 64),
        "win_length": options.get("win_length"),
        "window": options.get("window", "hann"),
        "center": options.get("center", True),
        "pad_mode": options.get("pad_mode", "reflect"),
    }
    power = options.get("power", 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of empty filters
        expected = librosa.feature.melspectrogram(
            y=waveform.numpy(),
            sr=options.get("sample_rate", 16000),
            power=power,
            n_mels=options["n_mels"],
            fmin=options.get("f_min", 0.0),
            fmax=options.get("f_max"),
            htk=options.get("mel_scale") == "htk",
            norm=options.get("norm", "slaney"),
            **plain,
        )
    result = spectrogram_slices(waveform, log=None, tail="drop", **options, **SLICES)
    assert_within(result, torch.from_numpy(cut(expected)), 1e-5)

    decibels = librosa.power_to_db if power == 2 else librosa.amplitude_to_db
    result = spectrogram_slices(waveform, tail="drop", **options, **SLICES)
    np.testing.assert_allclose(result, cut(decibels(expected, top_db=None)), rtol=0, atol=1e-2)


@pytest.mark.parametrize("n_fft", [256, 512, 2048, 400, 441, 606])
@pytest.mark.parametrize("center", [True, False])
def test_equals_torch_stft(isa: str, n_fft: int, center: bool) -> None:
    waveform = samples(3, 9001)
    window = torch.hann_window(n_fft - 7)
    stft = torch.stft(waveform, n_fft, 100, n_fft - 7, window, center=center, pad_mode="replicate", return_complex=True)
    for power in (1.0, 2.0):
        options: dict[str, Any] = {"n_fft": n_fft, "hop_length": 100, "window": window, "center": center}
        result = spectrogram_slices(
            waveform, **options, pad_mode="replicate", power=power, log=None, tail="drop", **SLICES
        )
        assert_within(result, torch.from_numpy(cut((stft.abs() ** power).numpy())), 1e-5)


def test_top_db_is_librosas_within_a_slice(isa: str) -> None:
    waveform = samples(6400).numpy()
    power = librosa.feature.melspectrogram(y=waveform, sr=16000, n_fft=512, hop_length=64, pad_mode="reflect")
    expected = np.stack([librosa.power_to_db(part, top_db=20) for part in cut(power)])
    result = spectrogram_slices(waveform, n_mels=128, top_db=20, tail="drop", **SLICES)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-2)
    assert (result.max((-2, -1)) - result.min((-2, -1))).max() <= 20.0001


@pytest.mark.parametrize("scale", mel.SCALES)
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("rate", "n_fft", "n_mels", "f_min", "f_max"),
    [(16000, 512, 128, 0, 8000), (22050, 2048, 80, 30.5, 7600), (8000, 401, 13, 0, 4000)],
)
def test_filters_equal_librosa(
    rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float, norm: str | None, scale: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = librosa.filters.mel(
            sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=scale == "htk", norm=norm, dtype=np.float64
        )
    np.testing.assert_allclose(
        mel.mel_filters(rate, n_fft, n_mels, f_min, f_max, scale, norm), expected, rtol=1e-10, atol=1e-15
    )


@pytest.mark.parametrize(
    "name", ["hann", "hamming", "blackman", "nuttall", "blackmanharris", "flattop", "bartlett", "bohman", "boxcar"]
)
@pytest.mark.parametrize("length", [1, 2, 5, 400, 512])
def test_tapers_equal_scipy(name: str, length: int) -> None:
    np.testing.assert_allclose(tapers.taper(name, length), scipy.signal.get_window(name, length), rtol=0, atol=1e-12)
    assert name in tapers.NAMES


# Against the float64 reference


def test_random_options_in_float64(isa: str) -> None:
    rng = np.random.default_rng()
    for _ in range(30):
        options, count = random_options(rng)
        waveform = torch.randn(2, count, dtype=torch.float64)
        expected = reference.spectrogram_slices(waveform, **options)
        result = spectrogram_slices(waveform, **options)
        # Logarithms and roots of bins that are zero but for rounding are not compared.
        if options["log"] is not None or options["power"] < 1:
            plain = {**options, "log": None, "top_db": None, "power": 1.0}
            large = reference.spectrogram_slices(waveform, **plain) > 1e-6
            result, expected = result[large], expected[large]
        torch.testing.assert_close(result, expected, rtol=1e-8, atol=1e-9, msg=lambda text, o=options: f"{o}: {text}")


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.int16, 2e-6), (torch.float64, 1e-14)], ids=str
)
@pytest.mark.parametrize("n_fft", [256, 512, 1024, 2048, 4096, 320, 997])
def test_error_per_dtype_and_instruction_set(isa: str, n_fft: int, dtype: torch.dtype, tolerance: float) -> None:
    """Largest difference to the float64 reference, as a share of each slice's largest power."""
    wave = samples(2, 9000).double() * 0.3
    waveform = (wave * 32767).to(torch.int16) if dtype == torch.int16 else wave.to(dtype)
    exact = waveform.double() / (32768 if dtype == torch.int16 else 1)
    for n_mels in (None, 64):
        options: dict[str, Any] = {"n_fft": n_fft, "n_mels": n_mels, "log": None, **SLICES}
        result = spectrogram_slices(waveform, **options)
        assert result.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert_within(result, reference.spectrogram_slices(exact, **options), tolerance)


def test_int16_equals_its_floats(isa: str) -> None:
    waveform = torch.randint(-32768, 32768, (2, 5000), dtype=torch.int16)
    floats = waveform.float() / 32768
    assert torch.equal(
        spectrogram_slices(waveform, n_mels=40, **SLICES), spectrogram_slices(floats, n_mels=40, **SLICES)
    )


@pytest.mark.parametrize(
    ("log", "power", "amin", "floor"),
    [
        ("db", 2.0, None, -100),
        ("db", 1.0, None, -100),
        ("db", 2.0, 1e-5, -50),
        ("log", 2.0, None, np.log(1e-10)),
        (None, 2.0, None, 0),
    ],
)
def test_silence_and_the_frames_beyond_the_end(
    isa: str, log: str | None, power: float, amin: float | None, floor: float
) -> None:
    options: dict[str, Any] = {"n_mels": 10, "log": log, "power": power, "amin": amin}
    result = spectrogram_slices(torch.zeros(640), **options, slice_frames=8, slice_hop=8)
    assert result.shape == (2, 10, 8)
    torch.testing.assert_close(result, torch.full_like(result, floor))
    sound = spectrogram_slices(samples(640), **options, slice_frames=8, slice_hop=8)
    assert torch.equal(sound[1, :, 3:], result[1, :, 3:])  # 11 frames
    assert bool((sound[1, :, :3] > floor).all())


# Slices


@pytest.mark.parametrize(("frames", "hop"), [(1, 1), (7, 1), (7, 3), (7, 7), (7, 12), (50, 20), (200, 100)])
@pytest.mark.parametrize("tail", ["pad", "drop"])
def test_every_slice_holds_its_frames(isa: str, frames: int, hop: int, tail: str) -> None:
    """Slices of any overlap hold the same bits as one slice of everything."""
    waveform = samples(2, 64 * 60)
    options: dict[str, Any] = {"n_mels": 12, "log": None}
    (whole,) = spectrogram_slices(waveform, **options, slice_frames=61, slice_hop=61).unbind(-3)
    result = spectrogram_slices(waveform, **options, slice_frames=frames, slice_hop=hop, tail=tail)
    starts = [s for s in range(0, 61, hop) if s + frames <= 61]
    if tail == "pad":
        # until a slice reaches the last frame
        starts = [s for s in range(0, 61, hop) if s == 0 or s - hop + frames < 61]
    assert result.shape == (2, len(starts), 12, frames)
    padded = torch.nn.functional.pad(whole, (0, 400))
    for index, start in enumerate(starts):
        assert torch.equal(result[:, index], padded[..., start : start + frames])


@pytest.mark.parametrize("shape", [(3000,), (1, 3000), (2, 3, 3000), (0, 3000), (2, 0, 3000)])
def test_leading_dimensions(isa: str, shape: tuple[int, ...]) -> None:
    waveform = samples(*shape)
    result = spectrogram_slices(waveform, n_mels=8, **SLICES)
    assert result.shape == (*shape[:-1], 3, 8, 24)
    flat = [spectrogram_slices(one, n_mels=8, **SLICES) for one in waveform.reshape(-1, 3000)]
    for one, expected in zip(result.reshape(-1, 3, 8, 24), flat, strict=True):
        assert torch.equal(one, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.float64])
def test_strides(isa: str, dtype: torch.dtype) -> None:
    base = (samples(6, 8000) * 1000).to(dtype)
    views = {
        "rows": base[::2, 1000:],
        "every second sample": base[:, ::2],
        "interleaved channels": base.T.contiguous().T,
        "expanded": base[:1].expand(4, -1),
        "constant": base[:, :1].expand(-1, 3000),
        "odd start": base.flatten()[1:7001],
    }
    for name, view in views.items():
        before = view.clone()
        result = spectrogram_slices(view, n_mels=8, **SLICES)
        assert torch.equal(result, spectrogram_slices(view.contiguous(), n_mels=8, **SLICES)), name
        assert torch.equal(view, before), "the input is not written to"


def test_numpy(isa: str) -> None:
    wave = samples(2, 5000).numpy()
    expected = spectrogram_slices(torch.from_numpy(wave), n_mels=8, **SLICES).numpy()
    readonly = wave.copy()
    readonly.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for array in (wave, readonly, wave[:, ::-1].copy()[:, ::-1], wave.astype(">f4")):
            result = spectrogram_slices(array, n_mels=8, window=np.hanning(513)[:-1], **SLICES)
            assert isinstance(result, np.ndarray)
            np.testing.assert_allclose(result, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "options",
    [{}, {"n_mels": 30}, {"power": 1.0, "log": None}, {"power": 0.5}, {"n_mels": 30, "top_db": 20.0}],
    ids=str,
)
def test_what_is_not_finite_stays_within_its_frames(isa: str, value: float, options: dict[str, Any]) -> None:
    waveform = samples(2, 8000)
    waveform[1, 4000] = value
    expected = reference.spectrogram_slices(waveform, **options, **SLICES)
    result = spectrogram_slices(waveform, **options, **SLICES)
    assert torch.equal(result.isfinite(), expected.isfinite())
    clean = spectrogram_slices(waveform.nan_to_num(0, 0, 0), **options, **SLICES)
    assert torch.equal(result[0], clean[0])
    if "top_db" not in options:
        finite = result.isfinite()
        assert not bool(finite.all())
        assert torch.equal(result[finite], clean[finite])


@pytest.mark.parametrize("frames", [128, 127])
def test_an_output_that_is_written_past_the_caches(isa: str, frames: int) -> None:
    waveform = samples(20, 64000)
    result = spectrogram_slices(waveform, n_mels=128, slice_frames=frames, slice_hop=64)
    assert result.nbytes > 1 << 24
    for one, alone in zip(result, waveform, strict=True):
        assert torch.equal(one, spectrogram_slices(alone, n_mels=128, slice_frames=frames, slice_hop=64))


def test_results_do_not_depend_on_threads_or_neighbours(isa: str) -> None:
    waveform = samples(5, 20011)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(spectrogram_slices(waveform, n_mels=40, **SLICES))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    late = spectrogram_slices(waveform[:, 64 * 37 :], n_mels=40, center=False, slice_frames=50, slice_hop=50)
    early = spectrogram_slices(waveform, n_mels=40, center=False, slice_frames=50, slice_hop=1)
    assert torch.equal(late[:, 0], early[:, 37])


@pytest.mark.skipif(native is None, reason="pyemo was built without its native module")
@pytest.mark.parametrize("samples_count", [512, 700, 64 * 15, 64 * 16, 64 * 17, 64 * 128, 64 * 129, 12345])
def test_writes_all_of_the_output_and_nothing_else(isa: str, samples_count: int) -> None:
    """Straight at the kernels, into the middle of poisoned memory."""
    from pyemo.ops import spectrogram

    assert native is not None
    for tail in ("pad", "drop"):
        settings, _ = checked_options(n_mels=9, log=None, tail=tail, slice_frames=13, slice_hop=9)
        slices = settings.slice_count(settings.frame_count(samples_count))
        size = 2 * slices * 9 * 13
        memory = torch.full((size + 200,), float("nan"))
        output = memory[100 : 100 + size].view(2, slices, 9, 13)
        waveform, window = samples(2, samples_count), settings.full_window(None)
        arguments = (tensor_view(waveform), tensor_view(window), 13, 9, tensor_view(output), 2)
        native.spectrogram_slices(spectrogram.plan(settings), *arguments)
        assert_within(output, reference.compute(waveform, None, settings), 1e-5)
        assert bool(memory[:100].isnan().all())
        assert bool(memory[100 + size :].isnan().all())


def test_more_samples_than_32_bits_count(isa: str) -> None:
    """Without their memory: one sample, expanded."""
    count = 2**31 + 1000
    waveform = torch.ones(1).expand(count)
    options: dict[str, Any] = {"n_fft": 256, "hop_length": 2**20, "log": None, "slice_frames": 64, "slice_hop": 64}
    result = spectrogram_slices(waveform, **options)
    frames = 1 + count // 2**20
    assert result.shape == (-(-frames // 64), 129, 64)
    expected = spectrogram_slices(torch.ones(256), **{**options, "slice_frames": 1}, center=False)[0]
    for frame in (0, 1, frames - 1):
        torch.testing.assert_close(result[frame // 64, :, frame % 64], expected[:, 0], rtol=1e-5, atol=1e-3)


def test_numbers_of_numpy_are_options_too() -> None:
    waveform = samples(3000)
    sizes = {"n_fft": 256, "win_length": 200, "hop_length": 32, "n_mels": 8, **SLICES}
    result = spectrogram_slices(waveform, **{name: np.int64(size) for name, size in sizes.items()})
    assert torch.equal(result, spectrogram_slices(waveform, **sizes))


def test_defaults_are_the_same_everywhere() -> None:
    def parameters(function: Any) -> dict[str, Any]:
        return {
            name: parameter.default
            for name, parameter in inspect.signature(function).parameters.items()
            if name != "waveform"
        }

    assert parameters(spectrogram_slices) == parameters(checked_options)


@pytest.mark.parametrize("name", ["spectrogram", "spectrogram_slicer"])
def test_the_examples_of_the_documentation(name: str) -> None:
    module = importlib.import_module(f"pyemo.ops.{name}")
    names = {"torch": torch, "spectrogram_slices": spectrogram_slices, "SpectrogramSlicer": SpectrogramSlicer}
    outcome = doctest.testmod(module, globs=names)
    assert outcome.attempted > 0
    assert outcome.failed == 0
