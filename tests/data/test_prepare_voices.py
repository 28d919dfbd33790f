from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic import write_clip

from pyemo.contracts import Manifest
from pyemo.data.preparation import prepare
from pyemo.data.prepared import PreparedData
from pyemo.media import read_audio


def voices(folder: Path, paths: list[Path], sample_rate: int = 16000, **columns: Any) -> PreparedData:
    table = pd.DataFrame({"path": [str(path) for path in paths]}, dtype=object)
    table = table.assign(label="happy", subject=None, split=None, start=np.nan, end=np.nan).assign(**columns)
    manifest = Manifest(table, ("happy",), modalities=("voice",))
    return prepare(manifest, folder / "prepared", sample_rate=sample_rate, workers=1).data


def tone(frequency: float, rate: int, seconds: float = 1.0, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def peak(sound: np.ndarray, rate: int) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * rate / len(sound))


def test_16_bit_sound_at_the_right_rate_is_kept_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, 20_000).astype(np.int16)
    paths = [tmp_path / "a.wav", tmp_path / "a.flac"]
    for path in paths:
        soundfile.write(path, samples, 16000, subtype="PCM_16")
    data = voices(tmp_path, paths)
    for row in range(2):
        assert data.voice(row).dtype == np.int16
        np.testing.assert_array_equal(data.voice(row), samples)
        assert data.voice_length(row) == 20_000
        np.testing.assert_array_equal(data.voice(row, 5_000, 12_345), samples[5_000:12_345])
        np.testing.assert_array_equal(data.voice(row, 19_999), samples[19_999:])
        assert data.voice(row, 7, 7).shape == (0,)
    with pytest.raises(ValueError, match="has the samples 0 to 20000, those from 0 to 20001"):
        data.voice(0, 0, 20_001)


def test_stereo_and_other_rates(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "stereo.wav", np.stack((tone(440, 48000), tone(880, 48000)), axis=1), 48000)
    soundfile.write(tmp_path / "telephone.wav", tone(1000, 8000, 2.0), 8000)
    soundfile.write(tmp_path / "opposite.wav", np.stack((tone(440, 16000), -tone(440, 16000)), axis=1), 16000)
    data = voices(tmp_path, [tmp_path / "stereo.wav", tmp_path / "telephone.wav", tmp_path / "opposite.wav"])
    stereo, telephone, opposite = (data.voice(row) for row in range(3))
    assert len(stereo) == pytest.approx(16000, abs=1)
    spectrum = np.abs(np.fft.rfft(stereo * np.hanning(len(stereo)) / 2**15))
    assert spectrum[440] == pytest.approx(0.25 * len(stereo) / 4, rel=0.02)
    assert spectrum[880] == pytest.approx(0.25 * len(stereo) / 4, rel=0.02)
    assert len(telephone) == pytest.approx(32000, abs=1)
    assert peak(telephone, 16000) == pytest.approx(1000, abs=1)
    spectrum = np.abs(np.fft.rfft(telephone[1000:-1000] * np.hanning(len(telephone) - 2000)))
    assert spectrum[len(spectrum) // 2 + 100 :].max() < 1e-3 * spectrum.max()  # nothing above the old Nyquist frequency
    assert np.abs(opposite).max() <= 1


def test_another_sample_rate_and_what_is_too_loud(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", tone(200, 8000, level=1.5), 8000, subtype="FLOAT")
    data = voices(tmp_path, [tmp_path / "loud.wav"], sample_rate=8000)
    assert (data.voice(0).max(), data.voice(0).min()) == (32767, -32768)
    assert len(data.voice(0)) == 8000


def test_parts_of_one_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 4), 44100)
    starts, ends = [2.5, 0.0, 1.0, 1.5, np.nan, 8.0], [np.nan, 1.0, 2.5, 2.0, np.nan, 9.0]
    data = voices(tmp_path, [tmp_path / "long.wav"] * 6, start=starts, end=ends)
    whole = data.voice(4)
    np.testing.assert_array_equal(np.concatenate([data.voice(1), data.voice(2), data.voice(0)]), whole)
    np.testing.assert_array_equal(data.voice(3), whole[24000:32000])
    np.testing.assert_allclose(whole / 2**15, read_audio(tmp_path / "long.wav"), atol=2**-15)
    assert data.voice_length(5) == 0
    assert data.manifest.table["problem"].tolist()[4:] == [None, "voice: no sound from 8 to 9 s"]


def test_sound_in_a_file_of_its_own_and_no_sound_at_all(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 5)
    sound = tmp_path / "clip.wav"
    soundfile.write(sound, tone(500, 16000), 16000)
    data = voices(tmp_path, [clip, clip], voice=[str(sound), None])
    assert peak(data.voice(0), 16000) == pytest.approx(500, abs=1)
    assert data.usable("voice").tolist() == [True, False]
    assert data.manifest.problems == (f"row 1, {clip}: voice: no sound",)


def test_damaged_sound_is_kept_and_said(tmp_path: Path) -> None:
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 160_000), 16000)
    path.write_bytes(path.read_bytes()[:200_000])
    data = voices(tmp_path, [path])
    assert 60_000 < data.voice_length(0) < 155_000
    assert "reading stopped" in data.manifest.problems[0]
