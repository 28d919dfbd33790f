from __future__ import annotations

import cv2
import numpy as np
import pytest
from pyemo_detectors.dlib_hog import DlibDetector
from pyemo_detectors.yunet import YuNetDetector

from pyemo import plugins
from pyemo.contracts import CONTRACT_VERSION, Detector
from pyemo.errors import AssetError, PyemoError
from pyemo.media import crop_faces, read_image


@pytest.fixture
def yunet_weights(shared_data):
    return shared_data / "weights" / "face_detection_yunet_2026may.onnx"


@pytest.fixture(params=["dlib", "yunet"])
def make_detector(request):
    """``make_detector(**options)`` for each of the built-in detectors, through the registry."""

    def make(**options):
        if request.param == "yunet":
            options["weights"] = request.getfixturevalue("yunet_weights")
        return plugins.create("detectors", request.param, **options)

    return make


@pytest.fixture
def photograph(shared_data):
    """572 x 562 pixels with one face."""
    return read_image(shared_data / "clips" / "single_face.jpg")


def box_of(faces):
    assert len(faces) == 1
    return np.array(faces[0].box)


def test_contract(make_detector):
    detector = make_detector()
    assert isinstance(detector, Detector)
    assert detector.contract_version == CONTRACT_VERSION


def test_empty_and_faceless_frames(make_detector):
    detector = make_detector()
    assert detector.detect([]) == []
    assert detector.detect([np.zeros((64, 80, 3), np.uint8), np.full((64, 80, 3), 200, np.uint8)]) == [[], []]
    assert detector.detect([np.zeros((1, 1, 3), np.uint8)]) == [[]]


def test_box_is_where_the_face_is(make_detector, photograph):
    """The same face in a larger, shifted frame: the box moves with it; in an enlarged one it grows with it."""
    detector = make_detector()
    box = box_of(detector.detect([photograph])[0])
    height, width = photograph.shape[:2]
    canvas = np.full((height + 100, width + 60, 3), 128, np.uint8)
    canvas[70 : 70 + height, 40 : 40 + width] = photograph
    size = np.sqrt(box[2] * box[3])
    moved = box_of(detector.detect([canvas])[0])
    np.testing.assert_allclose(moved[:2] + moved[2:] / 2, box[:2] + box[2:] / 2 + (40, 70), atol=0.12 * size)
    doubled = box_of(detector.detect([cv2.resize(photograph, None, fx=2, fy=2)])[0])
    np.testing.assert_allclose(doubled, 2 * box, atol=0.25 * size)


def test_frames_are_shrunk_to_max_side_and_boxes_come_back_at_full_size(make_detector, photograph):
    full = box_of(make_detector(max_side=None).detect([photograph])[0])
    shrunken = box_of(make_detector(max_side=320).detect([photograph])[0])
    np.testing.assert_allclose(shrunken, full, atol=0.25 * np.sqrt(full[2] * full[3]))


def test_min_face(make_detector, photograph):
    width = box_of(make_detector().detect([photograph])[0])[2]
    assert make_detector(min_face=width + 1).detect([photograph]) == [[]]
    assert len(make_detector(min_face=width - 1).detect([photograph])[0]) == 1


def test_best_face_comes_first(make_detector, shared_data):
    image = read_image(shared_data / "landmarks68" / "2009_004587.jpg")
    scores = [face.score for face in make_detector().detect([image])[0]]
    assert len(scores) >= 2
    assert scores == sorted(scores, reverse=True)


def test_each_frame_has_its_own_faces(make_detector, photograph):
    blank = np.zeros_like(photograph)
    assert [len(faces) for faces in make_detector().detect([blank, photograph, blank, photograph])] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([np.zeros((10, 10), np.uint8)], r"uint8 \(H, W, 3\), got uint8 \(10, 10\)"),
        ([np.zeros((10, 10, 3), np.float32)], "float32"),
        ([np.zeros((10, 10, 3), np.uint8), np.zeros((10, 12, 3), np.uint8)], "one size"),
    ],
)
def test_bad_frames(make_detector, frames, message):
    with pytest.raises(ValueError, match=message):
        make_detector().detect(frames)


@pytest.mark.parametrize("options", [{"max_side": 0}, {"upsample": -1}])
def test_bad_options(options):
    with pytest.raises(PyemoError, match=next(iter(options))):
        plugins.create("detectors", "dlib", **options)


def test_dlib_upsampling_finds_smaller_faces(photograph):
    small = cv2.resize(photograph, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA)
    assert DlibDetector().detect([small]) == [[]]
    assert len(DlibDetector(upsample=1).detect([small])[0]) == 1


def test_dlib_threshold(photograph):
    score = DlibDetector().detect([photograph])[0][0].score
    assert DlibDetector(threshold=score + 0.1).detect([photograph]) == [[]]


def test_yunet_landmarks(yunet_weights, photograph):
    face = YuNetDetector(weights=yunet_weights).detect([photograph])[0][0]
    assert 0.8 <= face.score <= 1
    assert face.landmarks.shape == (5, 2)
    assert face.landmarks.dtype == np.float32
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    x, y, width, height = face.box
    assert x < right_eye[0] < nose[0] < left_eye[0] < x + width
    assert right_mouth[0] < left_mouth[0]
    assert y < max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1]) < y + height


def test_yunet_without_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path))
    with pytest.raises(AssetError, match="pyemo assets"):
        YuNetDetector()
    with pytest.raises(AssetError, match=r"absent\.onnx"):
        YuNetDetector(weights=tmp_path / "absent.onnx")


def test_yunet_with_something_else_for_weights(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no network at all")
    with pytest.raises(AssetError, match=r"other\.onnx"):
        YuNetDetector(weights=path)


def test_crops_are_framed_as_fer2013_frames_them(shared_data, make_detector, yunet_weights):
    """Where the eyes and the mouth of faces in photographs come to lie in the crops, against where they are in FER2013.

    YuNet finds landmarks in 879 of 1,000 training images of FER2013 (enlarged to 96 to 320 pixels, the border repeated around them). In
    the median the eyes are 0.355 of the side apart and 0.388 from the top, the mouth 0.752.
    """
    detector, judge = make_detector(), YuNetDetector(weights=yunet_weights, max_side=None)
    measured = []
    for path in [*sorted((shared_data / "landmarks68").glob("*.jpg")), shared_data / "clips" / "single_face.jpg"]:
        image = read_image(path)
        marked = [face for face in judge.detect([image])[0] if face.box[2] > 60]
        for face in detector.detect([image])[0]:
            x, y, width, height = face.box
            for landmarks in (other.landmarks for other in marked):
                if np.linalg.norm(landmarks.mean(axis=0) - (x + width / 2, y + height / 2)) < 0.3 * width:
                    # Right eye, left eye and mouth as dots of one colour each, cut out as the face would be.
                    dots = np.zeros_like(image)
                    for channel, point in enumerate((landmarks[0], landmarks[1], landmarks[3:].mean(axis=0))):
                        plane = np.zeros(image.shape[:2], np.uint8)
                        cv2.circle(plane, [round(float(value)) for value in point], round(width / 25), 255, -1)
                        dots[..., channel] = plane
                    crop = crop_faces(dots, [face], size=96, channels=3, frame=detector.crop_frame)[0].astype(float)
                    rows, columns = np.mgrid[:96, :96] / 96
                    right, left, mouth = (np.array([(p * columns).sum(), (p * rows).sum()]) / p.sum() for p in crop)
                    measured.append((np.linalg.norm(left - right), (left[1] + right[1]) / 2, mouth[1]))
    assert len(measured) >= 20
    assert np.median(measured, axis=0) == pytest.approx((0.355, 0.388, 0.752), abs=0.03)
