"""Live sound: bit for bit what the whole waveform gives."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from spectrogram_inputs import random_options, samples
from torch import Tensor

from pyemo.ops import SpectrogramSlicer, spectrogram_slices


def stream(slicer: SpectrogramSlicer, waveform: Any, sizes: list[int]) -> list[Any]:
    """What each push and the flush return; the sizes of the chunks repeat."""
    results, start, turn = [], 0, 0
    while start < waveform.shape[-1]:
        size = sizes[turn % len(sizes)]
        results.append(slicer.push(waveform[..., start : start + size]))
        start, turn = start + size, turn + 1
    return [*results, slicer.flush()]


def test_random_options_and_chunks(isa: str) -> None:
    rng = np.random.default_rng()
    for _ in range(40):
        options, count = random_options(rng)
        if options["pad_mode"] == "circular":
            continue
        dtype = (torch.float32, torch.int16, torch.float64)[rng.integers(3)]
        waveform = (samples(2, count) * 1000).to(dtype)
        slicer = SpectrogramSlicer(**options)
        sizes = [int(size) for size in rng.integers(0, rng.choice([2, 70, 700, 5000]), 20)] + [1]
        live = torch.cat(stream(slicer, waveform, sizes), -3)
        assert torch.equal(live, spectrogram_slices(waveform, **options)), (options, count, sizes, dtype)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "replicate"])
def test_sample_by_sample(pad_mode: str) -> None:
    options: dict[str, Any] = {"n_fft": 64, "hop_length": 10, "n_mels": 8, "pad_mode": pad_mode}
    options |= {"slice_frames": 6, "slice_hop": 4, "top_db": 30.0}
    slicer = SpectrogramSlicer(**options)
    for count in (1, 2, 31, 32, 33, 34, 64, 150, 401):
        waveform = samples(count)
        results = stream(slicer, waveform, [1])
        assert torch.equal(torch.cat(results), spectrogram_slices(waveform, **options)), count


def test_slices_come_as_soon_as_their_last_frame() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    # Frame 9 is centred on sample 576 and reaches to 832.
    assert slicer.push(samples(831)).shape == (0, 8, 10)
    assert slicer.push(samples(1)).shape == (1, 8, 10)
    assert slicer.push(samples(5 * 64 - 1)).shape == (0, 8, 10)
    assert slicer.push(samples(1 + 10 * 64)).shape == (3, 8, 10)


def test_memory_is_bounded() -> None:
    slicer = SpectrogramSlicer(n_fft=256, hop_length=64, n_mels=8, slice_frames=20, slice_hop=10)

    def held() -> int:
        tensors = [value for value in vars(slicer).values() if isinstance(value, Tensor)]
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    sizes = []
    for _ in range(200):
        slicer.push(samples(3, 1000))
        sizes.append(held())
    assert max(sizes) < 3 * 4 * (1000 + 512) + 3 * 4 * 8 * 40
    assert max(sizes[100:]) <= max(sizes[:100])


def test_numpy_chunks_give_arrays() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    wave = (samples(2, 5000) * 1000).numpy().astype(np.int16)
    results = stream(slicer, wave, [777])
    assert all(isinstance(result, np.ndarray) for result in results)
    np.testing.assert_array_equal(np.concatenate(results, axis=-3), slicer(wave))


def test_flush_and_reset_start_anew() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    waveform = samples(3000)
    expected = slicer(waveform)
    assert slicer.flush().shape == (0, 8, 10)
    slicer.push(samples(2, 2000))
    slicer.reset()
    for _ in range(2):
        assert torch.equal(torch.cat(stream(slicer, waveform, [500])), expected)
    slicer.push(samples(0))
    assert slicer.flush().shape == (0, 8, 10)
    short = SpectrogramSlicer(n_mels=8, center=False, slice_frames=10, slice_hop=5)
    short.push(samples(2, 100))
    assert short.flush().shape == (2, 0, 8, 10)


def test_forward_leaves_the_stream_alone() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    waveform = samples(3000)
    first = slicer.push(waveform[:2000])
    slicer(samples(4, 4000))
    assert torch.equal(torch.cat([first, slicer.push(waveform[2000:]), slicer.flush()]), slicer(waveform))


def test_pushed_chunks_may_be_overwritten() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    waveform = samples(3000)
    buffer = torch.empty(100)
    results = []
    for chunk in waveform.split(100):
        buffer.copy_(chunk)
        results.append(slicer.push(buffer))
    assert torch.equal(torch.cat([*results, slicer.flush()]), slicer(waveform))


def test_errors() -> None:
    slicer = SpectrogramSlicer(n_mels=8, slice_frames=10, slice_hop=5)
    slicer.push(samples(2, 100))
    with pytest.raises(
        ValueError, match=r"chunk must be torch.float32 of shape \(2, t\).*got torch.float32 of shape \(3, 100\)"
    ):
        slicer.push(samples(3, 100))
    with pytest.raises(ValueError, match=r"got torch.float64 of shape \(2, 100\)"):
        slicer.push(samples(2, 100).double())
    with pytest.raises(TypeError, match=r"float32, float64 or int16, got torch.int64"):
        slicer.push(torch.zeros(2, 100, dtype=torch.int64))
    with pytest.raises(ValueError, match="circular"):
        SpectrogramSlicer(pad_mode="circular", slice_frames=10, slice_hop=5).push(samples(100))
    with pytest.raises(TypeError, match="n_mel"):
        SpectrogramSlicer(n_mel=8, slice_frames=10, slice_hop=5)
    with pytest.raises(ValueError, match="slice_hop"):
        SpectrogramSlicer(slice_frames=10, slice_hop=0)


def test_it_is_a_module() -> None:
    window = torch.hamming_window(400)
    slicer = SpectrogramSlicer(window=window, n_mels=8, slice_frames=10, slice_hop=5)
    assert slicer.state_dict() == {}
    assert "n_mels=8" in repr(slicer)
    waveform = samples(3000)
    expected = spectrogram_slices(waveform, window=window, n_mels=8, slice_frames=10, slice_hop=5)
    model = torch.nn.Sequential(slicer, torch.nn.Flatten())
    for other in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(waveform), expected.flatten(1))
