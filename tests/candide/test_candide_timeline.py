"""Action units of a timeline's rows."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_faces import pose_of, project

from pyemo import plugins
from pyemo.candide.timeline import COLUMNS, FaceLandmarks, action_unit_table, fit_tracks, landmark_detector
from pyemo.contracts import CropFrame, Face
from pyemo.errors import PluginError
from pyemo.media import VideoReader, read_image, track_faces


class Marker:
    """Marks what it was told to."""

    contract_version = 1
    crop_frame = CropFrame()

    def __init__(self, points):
        self.points = points

    def detect(self, frames):
        return [[] for _ in frames]

    def mark(self, frame, faces):
        return [Face(face.box, face.score, self.points) for face in faces]


IMAGE = np.zeros((8, 8, 3), np.uint8)
FACE = Face((0.0, 0.0, 4.0, 4.0), 1.0)


def test_two_people_and_a_gap(mesh):
    """Each track has its own shape, from its own first frames; a frame without landmarks is NaN."""
    random = np.random.default_rng(0)
    shapes = [random.uniform(-1, 1, 7) for _ in range(2)]
    jaw = np.linspace(0, 1, 30)
    tracks, points = [], []
    for frame, drop in enumerate(np.concatenate((np.zeros(10), jaw))):
        for person, yaw in ((0, -10), (3, 15)):
            units = (drop if person == 0 else 0.5 * drop, *(0,) * 7)
            tracks.append(person)
            points.append(project(mesh, pose_of(mesh, yaw, frame / 10), shapes[person > 0], units))
    points[25] = np.full((68, 2), np.nan)
    table = action_unit_table(fit_tracks(mesh, np.array(tracks), np.stack(points)))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 80
    assert np.flatnonzero(table.isna().all(axis=1)).tolist() == [25]
    assert table.drop(25).notna().all(axis=None)
    assert (table.dtypes == np.float32).all()
    found = table["au26_jaw_drop"].to_numpy()
    np.testing.assert_allclose(found[20::2], jaw, atol=0.03)
    kept = np.arange(21, 80, 2) != 25
    np.testing.assert_allclose(found[21::2][kept], 0.5 * jaw[kept], atol=0.03)
    np.testing.assert_allclose(table["yaw"][::2], -10, atol=0.5)
    assert (table["fit_error"].drop(25) < 0.01).all()


def test_gathering(mesh):
    points = project(mesh, pose_of(mesh)).astype(np.float32)
    gathered = FaceLandmarks(Marker(points))
    gathered.add(IMAGE, [], [])
    gathered.add(IMAGE, [2, 5], [FACE, FACE])
    assert gathered.tracks.tolist() == [2, 5]
    np.testing.assert_array_equal(gathered.landmarks, np.stack((points, points)))
    nothing = FaceLandmarks(Marker(None))
    assert nothing.landmarks.shape == (0, 68, 2)
    assert action_unit_table(fit_tracks(mesh, nothing.tracks, nothing.landmarks)).shape == (0, len(COLUMNS))
    nothing.add(IMAGE, [0], [FACE])
    assert np.isnan(nothing.landmarks).all()
    assert fit_tracks(mesh, nothing.tracks, nothing.landmarks) == [None]


def test_a_detector_without_68_landmarks():
    with pytest.raises(PluginError, match=r"'dlib-68'.*a DlibDetector marks none"):
        landmark_detector(plugins.create("detectors", "dlib"))
    five = FaceLandmarks(Marker(np.zeros((5, 2), np.float32)))
    with pytest.raises(PluginError, match=r"Marker: expected landmarks \(68, 2\), got \(5, 2\)"):
        five.add(IMAGE, [0], [FACE])


def test_a_real_clip(mesh, dlib_68, shared_data):
    """Jaw drop follows the opening of the mouth, eyes closed and tightened the lids, and the curves are smooth."""
    gathered = FaceLandmarks(landmark_detector(dlib_68))
    with VideoReader(shared_data / "clips" / "single_face.mp4") as reader:
        for tracked in track_faces(reader, dlib_68):
            faces = tracked.faces
            gathered.add(tracked.frame.image, [face.track for face in faces], [face.face for face in faces])
    points = gathered.landmarks
    assert len(points) == 72
    table = action_unit_table(fit_tracks(mesh, gathered.tracks, points)).astype(np.float64)
    eyes = np.linalg.norm(points[:, 36:42].mean(axis=1) - points[:, 42:48].mean(axis=1), axis=1)
    mouth = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / eyes
    lids = np.linalg.norm(points[:, [37, 44]] - points[:, [41, 46]], axis=2).mean(axis=1) / eyes
    assert np.corrcoef(table["au26_jaw_drop"], mouth)[0, 1] > 0.95
    assert np.corrcoef(table["au43_eyes_closed"] + table["au7_lid_tightener"], lids)[0, 1] < -0.9
    assert (table["fit_error"] < 0.06).all()
    for name in COLUMNS[:8]:
        curve = table[name].to_numpy()
        mean_of_five = np.convolve(np.pad(curve, 2, mode="edge"), np.ones(5) / 5, "valid")
        assert (curve - mean_of_five).std() < 0.08, name


def test_a_still_image(mesh, dlib_68, shared_data):
    """One face, personalised on itself."""
    image = read_image(shared_data / "clips" / "single_face.jpg")
    faces = dlib_68.detect([image])[0]
    gathered = FaceLandmarks(dlib_68)
    gathered.add(image, list(range(len(faces))), faces)
    table = action_unit_table(fit_tracks(mesh, gathered.tracks, gathered.landmarks))
    assert len(table) == 1
    assert table["fit_error"][0] < 0.06
    assert abs(table["yaw"][0]) < 20
