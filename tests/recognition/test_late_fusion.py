from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from synthetic import RATE, SquareDetector, tone, world_model, write_clip, write_image

from pyemo.errors import ConfigError, MediaError, ModelError
from pyemo.recognition import Recogniser
from pyemo.recognition.late_fusion import Relabelling, common_labels
from pyemo.weights import load_any, load_model


@pytest.fixture
def both(tmp_path: Path) -> Recogniser:
    return Recogniser(world_model(tmp_path / "world"), SquareDetector(), device="cpu", every=4)


def test_face_and_voice_are_averaged(both: Recogniser, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * (5 * RATE), tone("sad", 5))
    result = both.predict(clip)
    assert result.used == ("face", "voice")
    assert result.missing == {}
    assert (result.face_label, result.voice_label) == ("happy", "sad")
    for label in result.labels:
        mean = (result.face_scores[label] + result.voice_scores[label]) / 2
        assert result.scores[label] == pytest.approx(mean)
    assert {*result.timeline["face"]} == {-1, 0}
    assert len(result.seen) == 5 * RATE
    assert [face.number for face in result.faces] == [0]
    assert result.votes.total == 5 * RATE
    summary = result.summary()
    assert summary["used"] == ["face", "voice"]
    assert summary["voice"]["label"] == "sad"

    louder = Recogniser(
        world_model(tmp_path / "loud", {"face": 1.0, "voice": 3.0}), SquareDetector(), device="cpu", every=4
    )
    assert louder.predict(clip).label == "sad"
    quieter = Recogniser(
        world_model(tmp_path / "quiet", {"face": 3.0, "voice": 1.0}), SquareDetector(), device="cpu", every=4
    )
    assert quieter.predict(clip).label == "happy"


def test_what_is_missing_is_said_and_the_rest_decides(both: Recogniser, tmp_path: Path) -> None:
    silent = both.predict(write_clip(tmp_path / "silent.avi", [{40: "fear"}] * 30))
    assert (silent.label, silent.used) == ("fear", ("face",))
    assert silent.missing == {"voice": "the file has no sound"}
    quiet = both.predict(write_clip(tmp_path / "quiet.avi", [{40: "fear"}] * 30, 1e-4 * tone("sad", 1)))
    assert (quiet.label, quiet.used) == ("fear", ("face",))
    assert "nobody speaks" in quiet.missing["voice"]
    faceless = both.predict(write_clip(tmp_path / "faceless.avi", [{}] * 30, tone("sad", 1.2)))
    assert (faceless.label, faceless.used) == ("sad", ("voice",))
    assert faceless.missing == {"face": "no face was found"}
    assert faceless.no_face
    neither = both.predict(write_clip(tmp_path / "neither.avi", [{}] * 30))
    assert (neither.label, neither.used, neither.scores) == (None, (), {})
    image = both.predict(write_image(tmp_path / "a.png", {40: "angry"}))
    assert (image.label, image.missing) == ("angry", {"voice": "pictures have no sound"})


def test_a_sound_alone(both: Recogniser, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "voice.wav", tone("disgust", 9), 8000)
    result = both.predict(tmp_path / "voice.wav")
    assert (result.kind, result.label, result.used) == ("audio", "disgust", ("voice",))
    assert result.duration == pytest.approx(9)
    assert result.missing == {"face": "a sound has no pictures"}
    stream = both.listen()
    sound, _ = soundfile.read(tmp_path / "voice.wav", dtype="float32")
    live = [window for chunk in np.array_split(sound, 20) for window in stream.push(chunk)] + stream.flush()
    np.testing.assert_array_equal([window.start for window in live], result.heard["start"])
    np.testing.assert_array_equal([window.probabilities for window in live], result.heard[list(result.labels)])


def test_one_modality_only(both: Recogniser, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 50, tone("sad", 2))
    world = world_model(tmp_path / "world")
    seen = Recogniser(world, SquareDetector(), device="cpu", modalities=["face"]).predict(clip)
    assert (seen.label, seen.used, seen.missing) == ("happy", ("face",), {})
    hearing = Recogniser(world, SquareDetector(), device="cpu", modalities=["voice"])
    heard = hearing.predict(clip)
    assert (heard.label, heard.used, heard.missing) == ("sad", ("voice",), {})
    with pytest.raises(MediaError, match=r"a\.png: no sound; expected a sound or a video"):
        hearing.predict(write_image(tmp_path / "a.png", {40: "angry"}))
    with pytest.raises(ConfigError, match="'voices' cannot be chosen; world has face and voice"):
        Recogniser(world, SquareDetector(), modalities=["voices"])
    with pytest.raises(ConfigError, match="does not hear"):
        Recogniser(world, SquareDetector(), modalities=["face"]).listen()


def test_labels_that_mean_the_same_are_added() -> None:
    relabel = Relabelling(["calm", "happy", "neutral", "contempt"], ["happy", "neutral"])
    given = relabel(np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]], np.float32))
    np.testing.assert_allclose(given, [[0.2 / 0.6, 0.4 / 0.6], [0.5, 0.5]], rtol=1e-6)
    assert common_labels({"a": ["sad", "calm", "happy"], "b": ["Happiness", "sad", "fear"]}) == ("happy", "sad")
    with pytest.raises(ModelError, match="share fewer than two emotions"):
        common_labels({"a": ["happy", "contempt"], "b": ["happy", "sad"]})


def test_a_fusion_is_no_network(tmp_path: Path) -> None:
    folder = tmp_path / "joined"
    folder.mkdir()
    (folder / "config.yaml").write_text("{name: joined, system: late-fusion, members: {face: compact-resnet}}")
    assert load_any(str(folder)).members["face"].recipe.name == "compact-resnet"
    with pytest.raises(ModelError, match="joined joins compact-resnet and has no network of its own"):
        load_model(str(folder))
    (folder / "config.yaml").write_text("{name: joined, system: late-fusion, members: {voice: compact-resnet}}")
    with pytest.raises(ModelError, match=r"members\.voice: compact-resnet needs face"):
        load_any(str(folder))
