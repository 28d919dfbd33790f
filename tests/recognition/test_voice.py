from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic import VOICE_RATE, pitch_model, tone

from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.errors import ConfigError, ModelError
from pyemo.recognition.voice import VoiceClassifier, VoiceWindow


@pytest.fixture
def voice(tmp_path: Path) -> VoiceClassifier:
    return VoiceClassifier(pitch_model(tmp_path / "pitch"), "cpu", BASIC_EMOTIONS)


def labels(voice: VoiceClassifier, windows: list[VoiceWindow]) -> list[str]:
    return [voice.labels[window.probabilities.argmax()] for window in windows]


def test_windows_hear_what_is_said_when(voice: VoiceClassifier) -> None:
    sound = np.concatenate([tone("happy", 6), tone("sad", 6)])
    windows = voice.windows(sound)
    assert labels(voice, windows)[0] == "happy"
    assert labels(voice, windows)[-1] == "sad"
    assert windows[0].start == 0
    assert windows[-1].end == pytest.approx(12, abs=0.01)
    for window in windows:
        assert window.end - window.start == pytest.approx(4, abs=0.1)
        assert window.probabilities.sum() == pytest.approx(1, abs=1e-5)
        if window.end < 6:
            assert labels(voice, [window]) == ["happy"]
        if window.start > 6:
            assert labels(voice, [window]) == ["sad"]


@pytest.mark.parametrize("seconds", [0.001, 0.1, 3.0, 4.2, 5.0, 11.37])
def test_live_sound_in_any_chunks_gives_what_the_file_gives(voice: VoiceClassifier, seconds: float) -> None:
    random = np.random.default_rng(int(1000 * seconds))
    sound = random.normal(0, 0.1, round(seconds * VOICE_RATE)).astype(np.float32)
    whole = voice.windows(sound)
    for pieces in (1, 7, 50):
        live = voice.windows(np.split(sound, np.sort(random.integers(0, len(sound) + 1, pieces))))
        assert [window[:2] for window in live] == [window[:2] for window in whole]
        for one, other in zip(live, whole, strict=True):
            np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_windows_come_while_the_sound_arrives(voice: VoiceClassifier) -> None:
    stream = voice.stream()
    given = [len(stream.push(tone("fear", 1))) for _ in range(9)]
    assert given == [0, 0, 0, 0, 1, 0, 1, 0, 1]
    assert len(stream.flush()) == 1
    assert stream.flush() == []
    assert labels(voice, voice.windows(tone("angry", 2))) == ["angry"]


def test_integers_count_as_their_share_of_full_scale(voice: VoiceClassifier) -> None:
    sound = np.rint(tone("surprise", 3) * 2**15).astype(np.int16)
    np.testing.assert_array_equal(
        voice.windows(sound)[0].probabilities, voice.windows(sound.astype(np.float32) / 2**15)[0].probabilities
    )


def test_nobody_speaks_in_silence(voice: VoiceClassifier) -> None:
    assert voice.windows(np.zeros(10 * VOICE_RATE, np.float32)) == []
    assert voice.windows(np.full(10 * VOICE_RATE, 1e-3, np.float32)) == []
    sound = np.concatenate([np.zeros(9 * VOICE_RATE, np.float32), tone("happy", 4)])
    assert all(window.end > 9 for window in voice.windows(sound))
    assert labels(voice, voice.windows(sound))[-1] == "happy"


def test_what_is_no_sound_or_no_voice_model(voice: VoiceClassifier, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"float32 or int16 \(t,\), got float64 \(8,\)"):
        voice.stream().push(np.zeros(8))
    with pytest.raises(ValueError, match=r"got float32 \(2, 8\)"):
        voice.stream().push(np.zeros((2, 8), np.float32))
    with pytest.raises(ConfigError, match="must be positive, got 0 and 2"):
        voice.stream(0)
    from synthetic import brightness_model

    with pytest.raises(ModelError, match="has the modalities face; expected one, of a voice"):
        VoiceClassifier(brightness_model(tmp_path / "face"))
