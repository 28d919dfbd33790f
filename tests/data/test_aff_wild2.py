from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layouts import touch
from pyemo_datasets.aff_wild2 import AffWild2

from pyemo.contracts import Manifest
from pyemo.data.folds import assign_folds, check_disjoint
from pyemo.data.labels import to_common
from pyemo.data.sources import read_data
from pyemo.errors import DataError

HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
CHALLENGE = "Third ABAW Annotations/EXPR_Classification_Challenge"


def annotate(root: Path, video: str, labels: str, split: str = "Train_Set", header: str = HEADER) -> None:
    folder = root / CHALLENGE / split
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{video}.txt").write_text("\n".join([header, *labels.split()]) + "\n")


def images(root: Path, video: str, *numbers: int) -> None:
    touch(root / "cropped_aligned" / video, *(f"{number:05d}.jpg" for number in numbers))


def rows(manifest: Manifest) -> dict[str, list[str | None]]:
    return {
        Path(row.path).name: [manifest.labels[label] if label >= 0 else None for label in row.frame_labels]
        for row in manifest.table.itertuples()
    }


def test_each_image_has_the_label_of_its_frame(tmp_path: Path) -> None:
    annotate(tmp_path, "1-30-1280x720", "0 4 4 -1 7 6")
    images(tmp_path, "1-30-1280x720", 1, 2, 4, 5, 6)  # no face was found in frame 3
    annotate(tmp_path, "video2", "1 2", "Validation_Set")
    images(tmp_path, "video2", 1, 2)
    touch(tmp_path, "batch1/1-30-1280x720.mp4", "batch2/video2.avi", "batch2/unused.mp4")
    _, manifest = read_data(f"aff-wild2:{tmp_path}")
    assert manifest.labels == ("neutral", "angry", "disgust", "fear", "happy", "sad", "surprise", "other")
    assert rows(manifest) == {
        "1-30-1280x720": ["neutral", "happy", None, "other", "surprise"],
        "video2": ["angry", "disgust"],
    }
    table = manifest.table
    assert table["label"].tolist() == [None, None]
    assert table["split"].tolist() == ["train", "validation"]
    assert table["frame_labels"].iloc[0].dtype == np.int16
    assert table["frame_numbers"].iloc[0].tolist() == [1, 2, 4, 5, 6]
    assert [Path(voice).name for voice in table["voice"]] == ["1-30-1280x720.mp4", "video2.avi"]
    assert manifest.modalities == ("face", "voice")
    assert manifest.problems == (
        "1-30-1280x720: 1 labels are of frames without an image (no face found there) and are left out",
    )


def test_an_annotation_that_is_longer_or_shorter_than_its_images(tmp_path: Path) -> None:
    annotate(tmp_path, "long", "0 0 1 1 -1 1")
    images(tmp_path, "long", 1, 2, 3)
    annotate(tmp_path, "short", "0 0")
    images(tmp_path, "short", 1, 2, 3, 4)
    annotate(tmp_path, "exact", "0 0")
    images(tmp_path, "exact", 1, 2)
    manifest = AffWild2().read(tmp_path)
    assert rows(manifest) == {
        "exact": ["neutral"] * 2,
        "long": ["neutral", "neutral", "angry"],
        "short": ["neutral", "neutral", None, None],
    }
    assert manifest.problems[:2] == (
        "long: 6 frames are annotated, the last image is that of frame 3: 2 labels beyond it are left out",
        "short: 2 frames are annotated, the last image is that of frame 4: the 2 images beyond the annotation have no label",
    )
    assert manifest.problems[2:] == ("3 videos without a file for their sound: exact, long, short",)
    assert manifest.modalities == ("face",)


def test_two_people_in_one_video_are_one_subject(tmp_path: Path) -> None:
    for video, split in (("video5_left", "Train_Set"), ("video5_right", "Validation_Set"), ("video6", "Train_Set")):
        annotate(tmp_path, video, "0 4", split)
        images(tmp_path, video, 1, 2)
    touch(tmp_path, "batch1/video5.mp4", "batch1/video6.mp4")
    manifest = AffWild2().read(tmp_path)
    table = manifest.table
    assert table["subject"].tolist() == ["video5", "video5", "video6"]
    assert table["person"].tolist() == ["left", "right", None]
    assert [Path(voice).name for voice in table["voice"]] == ["video5.mp4", "video5.mp4", "video6.mp4"]
    assert manifest.problems == (
        "video5: video5_left and video5_right share one video and its sound; they count as one subject",
    )
    with pytest.raises(DataError, match=r"1 subject is in the training rows and in the held-out rows \(video5\)"):
        check_disjoint(manifest, table["split"] == "train", table["split"] == "validation")


def test_bad_annotations_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    annotate(tmp_path, "a", "0 9 x 1")
    images(tmp_path, "a", 1, 2, 3, 4)
    annotate(tmp_path, "valence", "0.1,0.2", header="valence,arousal")
    images(tmp_path, "valence", 1)
    annotate(tmp_path, "faceless", "0")
    annotate(tmp_path, "mixed", "0")
    images(tmp_path, "mixed", 1)
    touch(tmp_path, "cropped_aligned/mixed/thumbs.db.jpg")
    annotate(tmp_path, "empty", "0")
    (tmp_path / "cropped_aligned" / "empty").mkdir()
    touch(tmp_path, f"{CHALLENGE} again/Train_Set/nothing.md")
    manifest = AffWild2().read(tmp_path)
    assert rows(manifest) == {"a": ["neutral", None, None, "angry"]}
    text = "\n".join(manifest.problems)
    assert "a.txt: 2 frames whose label is not -1 to 7 (the first in line 3: '9') count as not labelled" in text
    assert (
        "valence.txt: expected a line with the names of the classes (Neutral,Anger,...), got 'valence,arousal'; left out"
        in text
    )
    assert "faceless.txt: no folder of images cropped_aligned/faceless; left out" in text
    assert "mixed: files that are not images named by their frame: thumbs.db.jpg; left out" in text
    assert "empty: no images named by their frame, such as 00001.jpg; left out" in text


def test_an_annotation_of_the_first_challenges_has_seven_classes(tmp_path: Path) -> None:
    annotate(tmp_path, "a", "6 0", header=HEADER.removesuffix(",Other"))
    images(tmp_path, "a", 1, 2)
    assert rows(AffWild2().read(tmp_path)) == {"a": ["surprise", "neutral"]}


def test_common_labels_unlabel_the_frames_of_other(tmp_path: Path) -> None:
    annotate(tmp_path, "a", "7 4 7 -1")
    images(tmp_path, "a", 1, 2, 3, 4)
    annotate(tmp_path, "b", "7 7 -1")
    images(tmp_path, "b", 1, 2, 3)
    manifest = to_common(AffWild2().read(tmp_path))
    assert manifest.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert rows(manifest) == {"a": [None, "happy", None, None]}
    assert manifest.table["frame_labels"].iloc[0].dtype == np.int16
    assert manifest.problems[-1] == "label 'other': 4 frames left out (any expression but the seven)"
    assert (
        manifest.problems[-2]
        == f"{tmp_path / 'cropped_aligned' / 'b'}: none of its frames has one of the common labels; left out"
    )


def test_folds_keep_a_video_together_and_count_its_most_frequent_label(tmp_path: Path) -> None:
    for number in range(12):
        for person in ("left", "right"):
            annotate(tmp_path, f"v{number:02d}_{person}", f"-1 0 {4 if number % 2 else 0} {4 if number % 2 else 0}")
            images(tmp_path, f"v{number:02d}_{person}", 1, 2, 3, 4)
    manifest = AffWild2().read(tmp_path)
    folds = assign_folds(manifest, count=3)
    assert (np.diff(folds.reshape(12, 2)) == 0).all()
    assert [sorted({n % 2 for n in np.flatnonzero(folds[::2] == fold)}) for fold in range(3)] == [[0, 1]] * 3


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no EXPR_\*/Train_Set"):
        AffWild2().read(tmp_path)
    annotate(tmp_path, "a", "0")
    with pytest.raises(DataError, match=r"no annotated video has images; .*no folder of images"):
        AffWild2().read(tmp_path)
