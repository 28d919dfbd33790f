from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import RATE, SquareDetector, brightness_model, picture, write_clip, write_image

import pyemo
from pyemo.contracts import Face
from pyemo.data.labels import BASIC_EMOTIONS
from pyemo.errors import ConfigError, MediaError, ModelError, PluginError
from pyemo.media import VideoFrame
from pyemo.recognition import Recogniser
from pyemo.recognition.classifier import FaceClassifier
from pyemo.recognition.pipeline import CropPipeline
from pyemo.recognition.stopwatch import Stopwatch


def test_timeline_of_one_face(recogniser: Recogniser, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 12 + [{40: "sad"}] * 8)
    result = recogniser.predict(clip)
    timeline = result.timeline
    assert list(timeline.columns) == ["start", "end", "face", "label", *BASIC_EMOTIONS]
    assert [str(timeline[name].dtype) for name in ("start", "end", "face", "happy")] == [
        "float64",
        "float64",
        "int64",
        "float32",
    ]
    assert timeline["label"].tolist() == ["happy"] * 12 + ["sad"] * 8
    np.testing.assert_allclose(timeline["start"], np.arange(20) / RATE, atol=1e-9)
    np.testing.assert_allclose(timeline["end"], np.arange(1, 21) / RATE, atol=1e-9)
    np.testing.assert_allclose(timeline[list(BASIC_EMOTIONS)].sum(axis=1), 1, rtol=1e-5)
    assert (result.kind, result.label, result.frames, result.no_face) == ("video", "happy", 20, False)
    assert result.duration == pytest.approx(0.8)
    assert result.scores["happy"] == pytest.approx(0.6, abs=0.02)
    assert [(face.number, face.label, face.frames, face.start) for face in result.faces] == [(0, "happy", 20, 0.0)]
    assert {"decode", "detect", "crop", "model", "total"} <= result.timing.keys()
    assert all(seconds >= 0 for seconds in result.timing.values())


def test_intervals_end_where_the_next_frame_begins(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.12, 0.3, 0.31, 0.5, 0.52, 0.6, 0.64]
    frames = [VideoFrame(index, time, picture({40: "happy"})) for index, time in enumerate(times)]
    pipeline = CropPipeline(SquareDetector(), FaceClassifier(brightness_model(tmp_path), "cpu"), Stopwatch())
    analysis = pipeline.video(frames, every=2, last_interval=0.05, progress=None)
    assert analysis.timeline["start"].tolist() == times
    assert analysis.timeline["end"].tolist() == [*times[1:], pytest.approx(0.69)]
    assert analysis.duration == pytest.approx(0.69)


def test_pytorch_keeps_its_threads(recogniser: Recogniser, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    recogniser.predict(write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 5))
    assert torch.get_num_threads() == threads


def test_batches_do_not_change_the_rows(recogniser: Recogniser, tmp_path: Path) -> None:
    emotions = [BASIC_EMOTIONS[(position // 9) % 7] for position in range(150)]
    model = brightness_model(tmp_path / "other")
    result = Recogniser(model, SquareDetector(), every=4).predict(
        write_clip(tmp_path / "clip.avi", [{20: emotion, 120: "neutral"} for emotion in emotions])
    )
    assert model.model.batches == [64, 64, 64, 64, 44]  # type: ignore[comparison-overlap]
    # A jump of brightness is a cut for the tracker, so faces are told apart by frame, not by track.
    by_frame = result.timeline.groupby("start", sort=False)["label"].agg(sorted)
    assert by_frame.tolist() == [sorted([emotion, "neutral"]) for emotion in emotions]
    assert result.timeline["start"].is_monotonic_increasing


def test_votes_of_all_faces_decide(recogniser: Recogniser, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{20: "neutral", 120: "happy" if n < 8 else "neutral"} for n in range(20)])
    assert recogniser.predict(clip).label == "happy"  # 8 of 40
    assert recogniser.predict(clip, threshold=0.21).label == "neutral"
    assert recogniser.predict(clip, threshold=None).label == "neutral"
    assert [face.label for face in recogniser.predict(clip, threshold=0.21).faces] == ["neutral", "happy"]


def test_rows_only_while_the_face_is_there(recogniser: Recogniser, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.avi", [{}] * 10 + [{40: "fear"}] * 15 + [{}] * 25)
    result = recogniser.predict(clip)
    assert result.frames == 50
    assert result.timeline["start"].tolist() == pytest.approx([n / RATE for n in range(10, 25)])
    assert result.faces[0].end == pytest.approx(25 / RATE)


def test_no_face(recogniser: Recogniser, tmp_path: Path) -> None:
    result = recogniser.predict(write_clip(tmp_path / "clip.avi", [{}] * 10))
    assert result.no_face
    assert result.label is None
    assert result.scores == {}
    assert result.faces == []
    assert result.segments.empty
    assert list(result.timeline.columns) == ["start", "end", "face", "label", *BASIC_EMOTIONS]
    csv, *_, json = result.save(tmp_path / "out")
    assert csv.read_text() == "start,end,face,label,angry,disgust,fear,happy,sad,surprise,neutral\n"
    assert '"no_face": true' in json.read_text()


def test_image_and_array_agree(recogniser: Recogniser, tmp_path: Path) -> None:
    faces = {20: "angry", 120: "surprise"}
    from_file = recogniser.predict(write_image(tmp_path / "picture.png", faces))
    from_array = recogniser.predict(picture(faces))
    assert from_file.timeline.equals(from_array.timeline)
    assert from_file.kind == from_array.kind == "image"
    assert sorted(from_file.timeline["label"]) == ["angry", "surprise"]
    assert from_file.timeline[["start", "end"]].isna().all(axis=None)
    assert from_file.duration is None
    assert from_file.faces[0].start is None
    assert len(from_file.segments) == 2
    assert (from_file.source, from_array.source) == (str(tmp_path / "picture.png"), None)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(recogniser: Recogniser, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got"):
        recogniser.predict(array)


def test_a_folder_of_images_is_one_clip_in_natural_order(recogniser: Recogniser, tmp_path: Path) -> None:
    emotions = ["happy"] * 8 + ["sad"] * 4
    for number, emotion in enumerate(emotions, start=1):
        write_image(tmp_path / "clip" / f"frame{number}.png", {40: emotion})
    (tmp_path / "clip" / "frame5b.png").write_bytes(b"not an image")
    write_image(tmp_path / "clip" / "deeper" / "frame0.png", {40: "fear"})
    result = recogniser.predict(tmp_path / "clip")
    assert result.kind == "sequence"
    assert result.timeline["label"].tolist() == emotions
    assert result.timeline["start"].isna().all()
    assert result.frames == 12
    assert "frame5b.png" in result.warnings[0]
    assert [segment["label"] for segment in result.segments.to_dict("records")] == ["happy", "sad"]


def test_bad_inputs_are_named(recogniser: Recogniser, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"x")
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "sound.wav").write_bytes(b"RIFF")
    for name, message in {
        "empty": "no image",
        "bad": "none of its 1 images",
        "text.mp4": "text.mp4",
        "sound.wav": "a sound has no faces",
        "absent.mp4": "no such file",
    }.items():
        with pytest.raises(MediaError, match=message):
            recogniser.predict(tmp_path / name)


def test_bad_settings_are_named(recogniser: Recogniser, tmp_path: Path) -> None:
    model = brightness_model(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"0 to 1, or none, got 1\.5"):
        recogniser.predict(picture({}), threshold=1.5)
    with pytest.raises(ConfigError, match="every must be at least 1, got 0"):
        Recogniser(model, SquareDetector(), every=0)
    with pytest.raises(ConfigError, match="device 'tpu'"):
        Recogniser(model, SquareDetector(), device="tpu")
    with pytest.raises(ConfigError, match="NVIDIA GPUs"):
        Recogniser(model, SquareDetector(), device="cuda:99")
    with pytest.raises(PluginError, match="'dlip'; did you mean 'dlib'"):
        Recogniser(model, "dlip")
    with pytest.raises(PluginError, match="no option 'sise'"):
        Recogniser(model, "dlib", detector_options={"sise": 3})
    with pytest.raises(ModelError, match=r"no model is called 'defualt'.*did you mean 'default'"):
        pyemo.load("defualt")


def test_settings_tell_recognisers_apart(tmp_path: Path) -> None:
    model = brightness_model(tmp_path / "model")
    one = Recogniser(model, SquareDetector()).settings()
    assert one == Recogniser(model, SquareDetector()).settings()
    assert one != Recogniser(model, SquareDetector(), every=1).settings()
    assert one != Recogniser(model, "dlib").settings()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"trained on")
    assert one != Recogniser(model, SquareDetector()).settings()


def test_progress_rises_to_the_number_of_frames(recogniser: Recogniser, tmp_path: Path) -> None:
    shares: list[float] = []
    recogniser.predict(write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 200), progress=shares.append)
    assert shares == [64 / 200, 128 / 200, 192 / 200]


def test_pictures_in_memory_are_bounded(tmp_path: Path) -> None:
    pipeline = CropPipeline(SquareDetector(), FaceClassifier(brightness_model(tmp_path), "cpu"), Stopwatch())
    alive = most = 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def frames() -> Iterator[VideoFrame]:
        nonlocal alive, most
        for index in range(1500):
            image = picture({40: "happy"})
            weakref.finalize(image, gone)
            alive += 1
            most = max(most, alive)
            yield VideoFrame(index, index / RATE, image)

    analysis = pipeline.video(frames(), every=8, last_interval=1 / RATE, progress=None)
    assert analysis.frames == len(analysis.timeline) == 1500
    assert most < 60


def test_an_error_in_a_stage_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(SquareDetector):
        def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
            raise RuntimeError("out of order")

    recogniser = Recogniser(brightness_model(tmp_path / "model"), Broken())
    with pytest.raises(RuntimeError, match="out of order"):
        recogniser.predict(write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 20))
    assert not [thread for thread in threading.enumerate() if thread.name == "pyemo-prefetch"]


def test_real_clips(shared_data: Path, tmp_path: Path) -> None:
    real = Recogniser(brightness_model(tmp_path / "model"), "dlib", every=8)
    single = real.predict(shared_data / "clips" / "single_face.mp4")
    assert [face.frames for face in single.faces] == [single.frames]
    assert real.predict(shared_data / "clips" / "no_face.mp4").no_face
    leaving = real.predict(shared_data / "clips" / "face_noface.mov")
    assert len(leaving.faces) == 1
    assert leaving.faces[0].end is not None
    assert leaving.faces[0].end < 3 < 6 < (leaving.duration or 0)
