from __future__ import annotations

import av
import numpy as np
import pytest
import soundfile

from pyemo.errors import MediaError
from pyemo.media import AudioReader, has_audio, read_audio, to_int16


def tone(frequency, rate, seconds=1.0):
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


def peak_frequency(sound, rate):
    return np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * rate / len(sound)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3"])
def test_sound_files(tmp_path, extension):
    path = tmp_path / f"tone.{extension}"
    soundfile.write(path, np.stack((tone(440, 44100), tone(880, 44100)), axis=1), 44100)
    mono, both = read_audio(path), read_audio(path, mono=False)
    assert mono.dtype == both.dtype == np.float32
    assert mono.ndim == 1
    assert both.shape == (2, len(mono))
    assert len(mono) == pytest.approx(16000, abs=1200 if extension == "mp3" else 1)
    assert [peak_frequency(channel, 16000) for channel in both] == pytest.approx([440, 880], abs=2)
    np.testing.assert_allclose(both.mean(axis=0), mono, atol=1e-4)
    assert np.abs(both).max() == pytest.approx(0.5, abs=0.05)


def test_without_resampling_samples_are_the_files_own(tmp_path):
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (200_001, 2), np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", mono=False), samples.T / np.float32(2**15))


def test_resampling_removes_what_would_alias(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(12_000, 48000), 48000)
    assert np.abs(read_audio(tmp_path / "a.wav", 16000)[500:-500]).max() < 1e-3


def test_sound_of_a_video(make_video):
    sound = read_audio(make_video(25, tone=440), 22050)
    assert len(sound) == pytest.approx(22050, abs=1200)
    assert peak_frequency(sound, 22050) == pytest.approx(440, abs=2)


def test_sample_0_is_the_start_of_the_video(make_video):
    sound = read_audio(make_video(50, tone=440, tone_start=1000, name="late.mkv"))
    assert np.abs(sound[:15000]).max() < 0.01
    assert np.abs(sound[17000:31000]).max() > 0.4
    assert len(sound) == pytest.approx(32000, abs=1200)


def test_no_audio_stream(make_video):
    with pytest.raises(MediaError, match=r"clip\.mp4: no audio stream"):
        read_audio(make_video(3))


@pytest.mark.parametrize("extension", ["wav", "mp3", "mp4"])
def test_bad_files_are_named(tmp_path, extension, capfd):
    path = tmp_path / f"fake.{extension}"
    path.write_text("only text\n" * 100)
    with pytest.raises(MediaError, match=rf"fake\.{extension}: cannot be read"):
        read_audio(path)
    path.write_bytes(b"")
    with pytest.raises(MediaError, match=rf"fake\.{extension}: the file is empty"):
        read_audio(path)
    assert capfd.readouterr().err == ""  # the message is in the error and nowhere else


def test_absent_file(tmp_path):
    with pytest.raises(MediaError, match="no such file"):
        read_audio(tmp_path / "absent.wav")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16000)
    with pytest.raises(MediaError, match=r"nothing\.wav: no sound"):
        read_audio(tmp_path / "nothing.wav")


def test_what_precedes_damage_is_kept(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 160_000), 16000)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.warns(UserWarning, match=r"cut\.flac: reading stopped"):
        sound = read_audio(path)
    assert 60_000 < len(sound) < 155_000


def test_damage_in_the_middle_is_silence_and_time_goes_on(make_video):
    path = make_video(25, tone=440)
    whole = read_audio(path)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[15:25]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"clip\.mp4: \d+ damaged packets"):
        sound = read_audio(path)
    assert len(sound) == pytest.approx(len(whole), abs=100)
    samples = 1024 * 16000 // 44100  # of a packet
    assert np.abs(sound[18 * samples : 22 * samples]).max() < 0.01
    np.testing.assert_allclose(sound[30 * samples : 40 * samples], whole[30 * samples : 40 * samples], atol=0.02)


def test_sample_rate_is_checked(tmp_path):
    with pytest.raises(ValueError, match="sample_rate"):
        read_audio(tmp_path / "a.wav", 0)


def test_blocks_are_the_whole(tmp_path, make_video):
    soundfile.write(tmp_path / "a.wav", np.stack((tone(440, 44100, 5.0), tone(880, 44100, 5.0)), axis=1), 44100)
    for path in (tmp_path / "a.wav", make_video(25, tone=440)):
        for mono in (True, False):
            reader = AudioReader(path, mono=mono)
            for _ in range(2):  # each iteration starts at the beginning
                blocks = list(reader)
                assert min(block.shape[-1] for block in blocks) >= 1
                assert max(block.shape[-1] for block in blocks) <= 1 << 16
                assert reader.warning is None
                np.testing.assert_array_equal(np.concatenate(blocks, axis=-1), read_audio(path, mono=mono))


def test_int16(tmp_path):
    samples = np.array([-(2**15), -1, 0, 1, 2**15 - 1], np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", dtype=np.int16), samples)
    assert to_int16(np.float32([-1.5, 1.5, 0.4 / 2**15, 0.6 / 2**15])).tolist() == [-(2**15), 2**15 - 1, 0, 1]


def test_too_short_for_a_sample(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.zeros(1), 192000)
    with pytest.raises(MediaError, match=r"short\.wav: its sound is shorter than one sample at 8000 Hz"):
        read_audio(tmp_path / "short.wav", 8000)


def test_which_files_have_sound(tmp_path, make_video):
    assert has_audio(make_video(5, tone=440))
    assert not has_audio(make_video(5, name="silent.mp4"))
    assert has_audio(tmp_path / "any.wav")
    assert not has_audio(tmp_path / "any.png")
    assert not has_audio(tmp_path)
    with pytest.raises(MediaError, match="no such file"):
        has_audio(tmp_path / "absent.mp4")
