from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic import LEVELS, RATE, SIDE, SquareDetector, picture, write_clip, write_image

from pyemo.contracts import Face, Manifest
from pyemo.data.preparation import Preparation, faces, prepare
from pyemo.data.prepared import PreparedData
from pyemo.media import VideoReader, crop_faces, read_image

Prepare = Callable[..., Preparation]


def manifest(paths: Sequence[Path], *, images: np.ndarray | None = None, **columns: Any) -> Manifest:
    table = pd.DataFrame({"path": [str(path) for path in paths]}, dtype=object)
    table = table.assign(label="happy", subject=None, split=None, start=np.nan, end=np.nan)
    return Manifest(table.assign(**columns), ("happy", "sad"), images)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepare:
    """Prepares faces with the synthetic detector; takes changes of the options."""

    def run(given: Manifest, **options: Any) -> Preparation:
        return prepare(
            given, tmp_path / "prepared", **{"detector": SquareDetector, "size": 32, "workers": 2, **options}
        )

    return run


def levels(data: PreparedData, row: int) -> list[int]:
    """Mean intensities of the crops of a row, rounded to tens."""
    crops = data.faces(row).crops
    return [round(float(crop.mean()) / 10) * 10 for crop in crops]


def test_crops_are_those_of_crop_faces(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40 + position: "happy"} for position in range(12)])
    data = prepared(manifest([path]), every=1).data
    found = data.faces(0)
    assert found.crops.shape == (12, 32, 32, 3)
    assert found.crops.dtype == np.uint8
    assert found.frame_numbers.tolist() == list(range(12))
    np.testing.assert_allclose(found.times, np.arange(12) / RATE, atol=1e-6)
    frame = list(VideoReader(path))[6].image
    expected = crop_faces(
        frame, SquareDetector().detect([frame])[0], size=32, channels=3, frame=SquareDetector.crop_frame
    )
    middle = found.crops[6].astype(int)[2:-2, 2:-2]  # tracking smooths the box by some hundredths of a pixel
    assert np.abs(middle - expected[0].transpose(1, 2, 0)[2:-2, 2:-2]).max() <= 6


def test_any_part_can_be_read(tmp_path: Path, prepared: Prepare) -> None:
    changing = [{40: "angry"}] * 10 + [{40: "happy"}] * 10 + [{40: "neutral"}] * 10
    data = prepared(manifest([write_clip(tmp_path / "clip.avi", changing)])).data
    whole = data.faces(0)
    assert levels(data, 0) == [60] * 10 + [150] * 10 + [240] * 10
    for first, last in ((0, 5), (9, 12), (29, 30), (30, 30), (7, None)):
        part = data.faces(0, first, last)
        for every, some in zip(whole, part, strict=True):
            np.testing.assert_array_equal(some, every[first:last])
    scattered = data.faces_at(0, [3, 3, 15, 28])
    np.testing.assert_array_equal(scattered.crops, whole.crops[[3, 3, 15, 28]])
    assert scattered.frame_numbers.tolist() == [3, 3, 15, 28]
    np.testing.assert_array_equal(data.frame_times(0), whole.times)
    with pytest.raises(ValueError, match="has the crops 0 to 30, those from 25 to 31"):
        data.faces(0, 25, 31)
    with pytest.raises(ValueError, match="must ascend"):
        data.faces_at(0, [2, 1])


def test_grey_crops(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 8)
    data = prepared(manifest([path]), channels=1).data
    assert data.faces(0).crops.shape == (8, 32, 32, 1)
    assert levels(data, 0) == [150] * 8


def test_frames_without_the_face_are_absent(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 20 + [{}] * 30 + [{45: "happy"}] * 10)
    data = prepared(manifest([path])).data
    assert data.frame_numbers(0).tolist() == [*range(20), *range(50, 60)]
    row = data.manifest.table.iloc[0]
    assert (row["face_count"], row["source_frames"], row["other_faces"]) == (30, 60, 0)


def test_who_comes_back_elsewhere_is_someone_else(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 20 + [{}] * 30 + [{90: "happy"}] * 10)
    data = prepared(manifest([path])).data
    assert data.frame_numbers(0).tolist() == list(range(20))
    assert data.manifest.table["other_faces"].tolist() == [1]


def test_the_main_face_is_long_and_large(tmp_path: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [{0: "sad", 60: "happy"}] * 20 + [{60: "happy"}] * 20 + [{60: "happy", 130: "angry"}] * 10
    path = write_clip(tmp_path / "clip.avi", frames)
    data = prepared(manifest([path])).data
    assert levels(data, 0) == [LEVELS["happy"]] * 50
    assert data.manifest.table["other_faces"].tolist() == [2]
    # The same from a temporary file as from memory.
    monkeypatch.setattr(faces, "_SPOOLED", 1000)
    again = prepare(manifest([path]), tmp_path / "again", detector=SquareDetector, size=32).data
    np.testing.assert_array_equal(again.faces(0).crops, data.faces(0).crops)


def test_a_clip_without_a_face_stays_in_the_table(tmp_path: Path, prepared: Prepare) -> None:
    paths = [write_clip(tmp_path / "none.avi", [{}] * 10), write_clip(tmp_path / "one.avi", [{40: "sad"}] * 10)]
    done = prepared(manifest(paths))
    assert done.failures == []
    assert done.data.usable("face").tolist() == [False, True]
    assert done.data.manifest.problems == (f"row 0, {paths[0]}: face: no face in its 10 frames",)
    assert (done.data.face_count(0), levels(done.data, 1)) == (0, [180] * 10)
    with pytest.raises(ValueError, match=r"row 0 .*none\.avi\) has no face: face: no face in its 10 frames"):
        done.data.faces(0)


def test_parts_of_one_file(tmp_path: Path, prepared: Prepare) -> None:
    frames = [{40: "angry"}] * 25 + [{40: "happy"}] * 25 + [{40: "neutral"}] * 25
    path = write_clip(tmp_path / "clip.avi", frames)
    starts, ends = [1.0, 0.0, 0.5, 2.0, np.nan, 9.0], [2.0, 1.0, 1.5, np.nan, 1.0, 10.0]
    data = prepared(manifest([path] * 6, start=starts, end=ends)).data
    assert levels(data, 0) == [150] * 25
    assert levels(data, 1) == [60] * 25
    assert levels(data, 2) == [60] * 12 + [150] * 13  # 0.52 s to 1.48 s
    assert levels(data, 3) == [240] * 25
    np.testing.assert_array_equal(data.faces(4).crops, data.faces(1).crops)
    assert data.frame_numbers(0).tolist() == list(range(25, 50))
    np.testing.assert_allclose(data.frame_times(0), np.arange(25) / RATE, atol=1e-6)
    np.testing.assert_allclose(data.frame_times(2)[0], 0.02, atol=1e-6)
    assert data.manifest.table["problem"].iloc[5] == "face: no frame from 9 to 10 s"


def test_frame_rate(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 50)
    for rate, expected in ((5, [0, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48]), (25, range(50)), (100, range(50))):
        assert prepared(manifest([path]), frame_rate=rate).data.frame_numbers(0).tolist() == list(expected)


def test_a_folder_of_images_is_a_clip(tmp_path: Path, prepared: Prepare) -> None:
    for number, emotion in ((2, "angry"), (10, "happy"), (11, "sad")):
        write_image(tmp_path / "clip" / f"f{number}.png", {40: emotion})
    data = prepared(manifest([tmp_path / "clip"])).data
    assert levels(data, 0) == [60, 150, 180]
    assert data.frame_numbers(0).tolist() == [0, 1, 2]


def test_images(tmp_path: Path, prepared: Prepare) -> None:
    paths = [write_image(tmp_path / f"{number}.png", {40: emotion}) for number, emotion in enumerate(LEVELS)]
    paths += [write_image(tmp_path / "none.png", {}), write_image(tmp_path / "two.png", {20: "sad", 120: "happy"})]
    done = prepared(manifest(paths))
    data = done.data
    assert [levels(data, row) for row in range(7)] == [[level] for level in LEVELS.values()]
    assert data.usable("face").tolist() == [True] * 7 + [False, True]
    assert data.manifest.table["other_faces"].tolist() == [0] * 8 + [1]
    assert len({*data.manifest.table["face_file"].dropna()}) == 1  # images share a file
    assert data.frame_numbers(3).tolist() == [0]
    assert data.manifest.table["problem"].iloc[7] == "face: no face in the image"


def jpeg(path: Path, value: int, size: int = 32) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 40, (size, size, 3))
    assert cv2.imwrite(str(path), (value + noise).astype(np.uint8))
    return path


def test_cropped_jpeg_files_are_taken_bit_for_bit(tmp_path: Path, prepared: Prepare) -> None:
    paths = [jpeg(tmp_path / "clip" / f"{number:05}.jpg", 10 * number) for number in (3, 4, 9, 12)]
    single = jpeg(tmp_path / "single.jpg", 50)
    small = jpeg(tmp_path / "small.jpg", 70, size=20)
    data = prepared(manifest([tmp_path / "clip", single, small]), already_cropped=True).data
    np.testing.assert_array_equal(data.faces(0).crops, np.stack([read_image(path) for path in paths]))
    np.testing.assert_array_equal(data.faces(1).crops[0], read_image(single))
    expected = cv2.resize(read_image(small), (32, 32), interpolation=cv2.INTER_LINEAR_EXACT).astype(int)
    assert np.abs(data.faces(2).crops[0].mean() - expected.mean()) < 1
    # From the names, counted from 1.
    assert data.frame_numbers(0).tolist() == [2, 3, 8, 11]
    np.testing.assert_allclose(data.frame_times(0), np.array([2, 3, 8, 11]) / 25)
    grey = prepared(manifest([single]), already_cropped=True, channels=1).data.faces(0).crops[0, ..., 0]
    assert np.abs(grey.astype(int) - cv2.cvtColor(read_image(single), cv2.COLOR_RGB2GRAY)).mean() < 2


def test_labels_of_frames(tmp_path: Path, prepared: Prepare) -> None:
    for number in (1, 2, 5, 6, 7):
        jpeg(tmp_path / "clip" / f"{number:05}.jpg", 20 * number)
    (tmp_path / "clip" / "00006.jpg").write_bytes(b"no image")
    labels = [np.array([0, 1, -1, 1, 0], np.int16)]
    numbers = [np.array([1, 2, 5, 6, 7], np.int32)]
    given = manifest([tmp_path / "clip"], label=None, cropped=True)
    given.table["frame_labels"], given.table["frame_numbers"] = labels, numbers
    done = prepared(given)
    data = done.data
    assert done.failures == []
    assert data.frame_numbers(0).tolist() == [0, 1, 4, 6]
    assert data.frame_labels(0).tolist() == [0, 1, -1, 0]
    assert data.frame_labels(0).dtype == np.int16
    assert "1 of 5 images cannot be read" in data.manifest.table["problem"].iloc[0]
    # Without the numbers the images are the frames.
    plain = prepared(replace(given, table=given.table.drop(columns="frame_numbers"))).data
    assert plain.frame_numbers(0).tolist() == [0, 1, 2, 4]
    assert plain.frame_labels(0).tolist() == [0, 1, -1, 0]


def test_images_keep_step_with_the_video_that_has_their_sound(
    tmp_path: Path, prepared: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 12):
        jpeg(tmp_path / "clip" / f"{number:05}.jpg", 60)
    monkeypatch.setattr(synthetic, "RATE", 10)
    video = write_clip(tmp_path / "clip.avi", [{}] * 12)
    given = manifest([tmp_path / "clip"] * 2, voice=[str(video), None], cropped=True)
    data = prepared(given).data
    np.testing.assert_allclose(data.frame_times(0), [0.0, 0.1, 1.1])
    np.testing.assert_allclose(data.frame_times(1), np.array([0, 1, 11]) / 25)


def test_too_many_labels(tmp_path: Path, prepared: Prepare) -> None:
    paths = [write_clip(tmp_path / f"{number}.avi", [{40: "sad"}] * 10) for number in range(3)]
    given = manifest(paths, label=None)
    given.table["frame_labels"] = [np.arange(12, dtype=np.int16), np.zeros(7, np.int16), None]
    data = prepared(given).data
    assert data.frame_labels(0).tolist() == list(range(10))
    assert data.frame_labels(1).tolist() == [0] * 7 + [-1] * 3
    problems = data.manifest.table["problem"].tolist()
    assert problems[:2] == [
        "face: 12 labels for 10 frames; what has no partner is not used",
        "face: 7 labels for 10 frames; what has no partner is not used",
    ]
    assert problems[2] is None
    with pytest.raises(ValueError, match="has no labels of its frames"):
        data.frame_labels(2)


def test_wrong_number_of_frame_numbers(tmp_path: Path, prepared: Prepare) -> None:
    jpeg(tmp_path / "clip" / "1.jpg", 60)
    given = manifest([tmp_path / "clip"])
    given.table["frame_numbers"] = [np.arange(1, 4, dtype=np.int32)]
    (failure,) = prepared(given, already_cropped=True).failures
    assert "3 frame numbers for its 1 images" in failure.message


def test_decoded_images_are_cropped_already(prepared: Prepare) -> None:
    images = np.stack([np.full((32, 32), value, np.uint8) for value in (30, 90, 210)])
    given = manifest([Path(f"table.csv#{row}") for row in range(3)], images=images)
    data = prepared(given, channels=1).data
    np.testing.assert_array_equal(np.concatenate([data.faces(row).crops for row in range(3)])[..., 0], images)
    colour = prepared(given, size=48).data.faces(1).crops
    assert colour.shape == (1, 48, 48, 3)
    assert np.unique(colour).tolist() == [90]


def test_cropped_videos(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: "happy"}] * 4)
    crops = prepared(manifest([path], cropped=True)).data.faces(0).crops
    squeezed = cv2.resize(picture({40: "happy"}), (32, 32), interpolation=cv2.INTER_AREA)
    assert np.abs(crops[0].astype(int) - squeezed).mean() < 4


class Picky(SquareDetector):
    def _detect(self, frame: np.ndarray) -> list[Face]:
        if frame.max() > 200:
            raise RuntimeError("too bright")
        return super()._detect(frame)


def test_of_one_file_a_part_that_fails_costs_itself_only(tmp_path: Path, prepared: Prepare) -> None:
    path = write_clip(tmp_path / "clip.avi", [{40: name} for name in ("angry", "neutral", "happy") for _ in range(25)])
    done = prepared(manifest([path] * 3, start=[0.0, 1.0, 2.0], end=[1.0, 2.0, 3.0]), detector=Picky)
    assert [(failure.row, failure.error) for failure in done.failures] == [(1, "RuntimeError")]
    assert done.data.usable("face").tolist() == [True, False, True]
    assert levels(done.data, 2) == [150] * 25  # of a pass of its own, from the file's begin


def test_a_detector_that_fails_costs_its_row_only(tmp_path: Path, prepared: Prepare) -> None:
    paths = [write_clip(tmp_path / f"{name}.avi", [{40: name}] * 5) for name in ("neutral", "sad")]
    paths.append(write_image(tmp_path / "bright.png", {40: "neutral"}))
    done = prepared(manifest(paths), detector=Picky)
    assert [(failure.row, failure.error) for failure in done.failures] == [(0, "RuntimeError"), (2, "RuntimeError")]
    assert "too bright" in done.failures[0].message
    assert done.data.usable("face").tolist() == [False, True, False]
    assert SIDE == 48
