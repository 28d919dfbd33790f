"""The 68 landmarks: where they are, whichever detector found the face, and what can be missing."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from pyemo_detectors import dlib_68 as module
from pyemo_detectors.dlib_68 import Dlib68Detector

from pyemo import plugins
from pyemo.contracts import CONTRACT_VERSION, CropFrame, Detector, Face, LandmarkDetector
from pyemo.errors import AssetError, PyemoError
from pyemo.media import crop_faces, read_image
from pyemo.media.landmarks import eye_centres


@pytest.fixture
def photograph(shared_data):
    return read_image(shared_data / "clips" / "single_face.jpg")


@pytest.fixture
def yunet_options(shared_data):
    return {"weights": str(shared_data / "weights" / "face_detection_yunet_2026may.onnx")}


def test_contract(dlib_68):
    assert isinstance(dlib_68, Detector)
    assert isinstance(dlib_68, LandmarkDetector)
    assert not isinstance(plugins.create("detectors", "dlib"), LandmarkDetector)
    assert dlib_68.contract_version == CONTRACT_VERSION
    assert "face_recognition_models" not in sys.modules  # its file is read, it is not imported


def test_landmarks_are_where_the_face_is(dlib_68, photograph):
    face = dlib_68.detect([photograph])[0][0]
    points = face.landmarks
    assert points.shape == (68, 2)
    assert points.dtype == np.float32
    right_eye, left_eye = eye_centres(points)
    nose, chin, mouth = points[30], points[8], points[48:].mean(axis=0)
    assert right_eye[0] < nose[0] < left_eye[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < mouth[1] < chin[1]
    assert points[0, 0] < points[17, 0] < points[26, 0] < points[16, 0]


def test_eyes_agree_with_yunet(dlib_68, photograph, yunet_options):
    ours = dlib_68.detect([photograph])[0][0]
    theirs = plugins.create("detectors", "yunet", **yunet_options).detect([photograph])[0][0]
    apart = np.linalg.norm(np.subtract(*eye_centres(ours.landmarks)))
    np.testing.assert_allclose(eye_centres(ours.landmarks), eye_centres(theirs.landmarks), atol=0.12 * apart)


def test_faces_of_another_detector(dlib_68, photograph, yunet_options):
    """YuNet's box is another; converted, it gives nearly the same points."""
    other = plugins.create("detectors", "dlib-68", detector="yunet", detector_options=yunet_options)
    assert other.crop_frame == plugins.create("detectors", "yunet", **yunet_options).crop_frame != dlib_68.crop_frame
    ours, theirs = (detector.detect([photograph])[0][0] for detector in (dlib_68, other))
    assert ours.box != theirs.box
    assert np.abs(ours.landmarks - theirs.landmarks).mean() < 0.02 * ours.box[2]


def test_marks_a_known_face_in_another_frame(dlib_68, photograph):
    face = dlib_68.detect([photograph])[0][0]
    moved = np.roll(photograph, (7, 11), axis=(0, 1))
    x, y, width, height = face.box
    (found,) = dlib_68.mark(moved, [Face((x + 11, y + 7, width, height), 0.5)])
    np.testing.assert_allclose(found.landmarks, face.landmarks + np.array((11, 7)), atol=1)
    assert found.score == 0.5
    assert dlib_68.mark(moved, []) == []


def test_marked_faces_agree_with_the_reference_points_of_the_photographs(dlib_68, shared_data):
    """Which dlib's own model made at full resolution, in the faces' own boxes: this shows that boxes and coordinates are handled as dlib
    does, not how near the points are to marks by hand."""
    import xml.etree.ElementTree as ElementTree

    folder = shared_data / "landmarks68"
    errors = []
    for image in ElementTree.parse(folder / "training_with_face_landmarks.xml").iter("image"):
        picture = read_image(folder / image.get("file"))
        for box in image.iter("box"):
            left, top, width, height = (float(box.get(name)) for name in ("left", "top", "width", "height"))
            parts = sorted(box.iter("part"), key=lambda part: int(part.get("name")))
            marked = np.array([(float(part.get("x")), float(part.get("y"))) for part in parts])
            (face,) = dlib_68.mark(picture, [Face((left, top, width, height), 1.0)])
            eyes = np.linalg.norm(np.subtract(*eye_centres(marked)))
            errors.append(np.linalg.norm(face.landmarks - marked, axis=1).mean() / eyes)
    assert len(errors) == 18
    assert np.median(errors) < 0.06


def test_small_faces_have_no_landmarks(dlib_68, photograph, monkeypatch):
    faces = [Face((100.0, 100.0, side, side), 1.0) for side in (31.0, 40.0, 0.0)]
    assert [face.landmarks is not None for face in dlib_68.mark(photograph, faces)] == [False, True, False]
    monkeypatch.setattr(dlib_68, "min_marked", 10.0)
    assert [face.landmarks is not None for face in dlib_68.mark(photograph, faces)] == [True, True, False]


def test_face_beyond_the_frame(dlib_68, photograph):
    (face,) = dlib_68.mark(photograph, [Face((-60.0, -40.0, 120.0, 120.0), 1.0)])
    assert np.isfinite(face.landmarks).all()


def test_crops_are_turned_upright_by_68_points_too():
    """As by five: the roll of the line between the eyes."""
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (80, 90), 5, (255, 255, 255), -1)
    cv2.circle(image, (120, 110), 5, (255, 255, 255), -1)
    five = np.array([(80, 90), (120, 110), (100, 120), (90, 130), (110, 140)], np.float32)
    many = np.zeros((68, 2), np.float32)
    many[36:42], many[42:48] = five[0], five[1]
    crops = [
        crop_faces(image, [Face((50.0, 50.0, 100.0, 100.0), 1.0, points)], size=64, frame=CropFrame())
        for points in (five, many)
    ]
    np.testing.assert_array_equal(*crops)
    rows = np.argwhere(crops[1][0, 0] > 128)[:, 0]
    assert np.ptp(rows) < 10  # level
    with pytest.raises(ValueError, match=r"\(5, 2\) or \(68, 2\), got \(4, 2\)"):
        eye_centres(five[:4])


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(AssetError, match=r"pip install 'pyemo\[landmarks\]'"):
        Dlib68Detector()


def test_wrong_weights(tmp_path):
    with pytest.raises(AssetError, match=r"absent.dat: no such file"):
        Dlib68Detector(weights=tmp_path / "absent.dat")
    other = tmp_path / "other.dat"
    other.write_bytes(b"no trees at all")
    with pytest.raises(AssetError, match=r"other.dat: not a shape predictor"):
        Dlib68Detector(weights=other)


def test_bad_options(dlib_68, photograph):
    with pytest.raises(PyemoError, match="min_marked must be 0 or more"):
        plugins.create("detectors", "dlib-68", min_marked=-1.0)
    with pytest.raises(PyemoError, match="detector must be another one"):
        plugins.create("detectors", "dlib-68", detector="dlib-68")
    with pytest.raises(ValueError, match="uint8"):
        dlib_68.mark(photograph.astype(np.float32), [])
