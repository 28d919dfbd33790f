"""The fit against synthetic truth, its own Cramer-Rao bound, and real faces."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from synthetic_faces import pose_of, project, turn_between

from pyemo.candide.fit import PRIOR, PersonalFace, fit_expression, personalise, track_expressions
from pyemo.candide.overlay import FITTED, MARKED, MESH, draw_fit
from pyemo.candide.pose import Pose
from pyemo.candide.problem import LandmarkProblem, initial_pose
from pyemo.candide.units import ACTION_UNITS, LANDMARKS, VERTICES

NAMES = [unit.name for unit in ACTION_UNITS]
LIDS = [NAMES.index("au7_lid_tightener"), NAMES.index("au43_eyes_closed")]
OTHERS = [index for index in range(8) if index not in LIDS]


def moved_by_a_pixel(random, shape):
    angle = random.uniform(0, 2 * np.pi, shape[:-1])
    return np.stack((np.cos(angle), np.sin(angle)), axis=-1)


def test_rodrigues_is_the_papers_formula():
    rotation = np.array((0.3, -0.5, 0.2))
    alpha = np.linalg.norm(rotation)
    x, y, z = axis = rotation / alpha
    cross = np.array(((0, -z, y), (z, 0, -x), (-y, x, 0)))
    matrix = np.cos(alpha) * np.eye(3) + (1 - np.cos(alpha)) * np.outer(axis, axis) + np.sin(alpha) * cross  # eq. 22
    found = Pose(1.0, rotation, np.zeros(2)).matrix
    np.testing.assert_allclose(found, matrix, atol=1e-12)
    assert np.trace(found) == pytest.approx(2 * np.cos(alpha) + 1)  # eq. 23
    np.testing.assert_allclose(found - found.T, 2 * np.sin(alpha) * cross, atol=1e-12)


@pytest.mark.parametrize("turn", [(20, 0, 0), (0, 20, 0), (0, 0, 20), (-35, 12, 7)])
def test_angles(mesh, turn):
    pose = pose_of(mesh, *turn)
    assert pose.angles == pytest.approx(turn)
    straight = pose_of(mesh)
    nose = mesh.vertices[5] - mesh.vertices[[10, 0, 29, 62]].mean(axis=0)
    moved = pose.project(nose) - straight.project(nose)
    if turn == (20, 0, 0):
        assert moved[0] < -5  # to the picture's left
    if turn == (0, 20, 0):
        assert moved[1] > 5  # down
    if turn == (0, 0, 20):
        eyes = pose.project(mesh.vertices[[53, 20]])
        assert eyes[1, 1] > eyes[0, 1]  # clockwise


def test_closed_form_start_is_the_best_scale_and_translation():
    random = np.random.default_rng(0)
    rest, marked = random.normal(size=(35, 3)), random.normal(size=(35, 2)) * 50 + 200
    pose = initial_pose(rest, marked)
    # The normal equations of equations 18 and 20, solved by NumPy: x = s X + tx, y = s Y + ty.
    columns = np.zeros((70, 3))
    columns[:, 0] = rest[:, :2].ravel()
    columns[0::2, 1] = columns[1::2, 2] = 1
    expected = np.linalg.lstsq(columns, marked.ravel(), rcond=None)[0]
    assert (pose.scale, *pose.translation) == pytest.approx(tuple(expected))
    assert pose.rotation.tolist() == [0, 0, 0]


@pytest.mark.parametrize("prior", [0.0, 3.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_derivatives(prior, frames):
    random = np.random.default_rng(frames)
    problem = LandmarkProblem(
        random.normal(size=(35, 3)), random.normal(size=(4, 35, 3)), random.normal(size=(frames, 35, 2)), prior
    )
    for scale in (1.0, 1e-9):  # also next to the identity rotation, where the formula divides by the angle
        parameters = random.normal(size=6 * frames + 4) * np.tile(1.0, 6 * frames + 4)
        parameters[1:4] *= scale
        numeric = approx_fprime(parameters, problem.residuals, 1e-7)
        np.testing.assert_allclose(problem.jacobian(parameters), numeric, atol=1e-5)


def test_exact_landmarks_give_the_truth(mesh):
    """Without noise and prior everything comes back, from a start at the identity, at 30 degrees of yaw."""
    random = np.random.default_rng(1)
    for yaw in (-30, 0, 30):
        shape, units = random.uniform(-1, 1, 7), random.uniform(0, 1, 8)
        neutral = project(mesh, pose_of(mesh, yaw / 2, 5), shape)
        face = personalise(mesh, neutral[None], prior=0)
        np.testing.assert_allclose(face.shape, shape, atol=1e-4)
        pose = pose_of(mesh, yaw, -8, 5)
        fit = fit_expression(face, project(mesh, pose, shape, units), prior=0)
        assert fit.converged
        assert fit.iterations <= 8
        assert fit.error < 1e-5
        np.testing.assert_allclose(fit.action_units, units, atol=1e-3)
        assert turn_between(fit.pose, pose) < 0.01
        assert fit.pose.scale == pytest.approx(pose.scale, rel=1e-4)


def test_perturbed_landmarks(mesh):
    """Each landmark moved by 1 pixel, 200 pixels of face: both stages, from 5 neutral frames.

    Lid tightener and eyes closed cannot be told apart by anybody: their bound is 0.4. Their sum can.
    """
    random = np.random.default_rng(2)
    errors, turns = [], []
    for trial in range(30):
        shape, units = random.uniform(-0.5, 0.5, 7), random.uniform(0, 1, 8)
        turn = (-30, 0, 30)[trial % 3], *random.uniform(-10, 10, 2)
        neutral = np.stack([project(mesh, pose_of(mesh, *random.uniform(-10, 10, 3)), shape) for _ in range(5)])
        face = personalise(mesh, neutral + moved_by_a_pixel(random, neutral.shape))
        marked = project(mesh, pose_of(mesh, *turn), shape, units)
        fit = fit_expression(face, marked + moved_by_a_pixel(random, marked.shape))
        assert fit.converged
        errors.append(fit.action_units - units)
        turns.append(turn_between(fit.pose, pose_of(mesh, *turn)))
    found = np.array(errors)
    assert np.mean(turns) < 1.0
    assert (np.sqrt((found[:, OTHERS] ** 2).mean(axis=0)) < 0.06).all()
    assert (np.abs(found[:, OTHERS].mean(axis=0)) < 0.02).all()
    assert np.sqrt((found[:, LIDS].sum(axis=1) ** 2).mean()) < 0.12


def test_no_unbiased_fit_could_be_better(mesh):
    """Errors of the paper's own objective (prior 0) against the Cramer-Rao bound, with Gaussian errors of 1 pixel."""
    random = np.random.default_rng(3)
    face, pose, units = PersonalFace.average(mesh), pose_of(mesh, 15, 5), np.full(8, 0.5)
    problem = LandmarkProblem(mesh.vertices[VERTICES], mesh.action_units[:, VERTICES], np.zeros((1, 35, 2)))
    jacobian = problem.jacobian(problem.start([pose], units))
    bound = np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))[6:]
    assert (bound[LIDS] > 0.4).all()  # why there is a prior
    marked = project(mesh, pose, units=units)
    fits = [fit_expression(face, marked + random.normal(size=marked.shape), prior=0) for _ in range(100)]
    found = np.array([fit.action_units for fit in fits]) - units
    np.testing.assert_allclose(np.sqrt((found**2).mean(axis=0)) / bound, 1, atol=0.3)
    assert (np.abs(found.mean(axis=0)) < 4 * bound / np.sqrt(100)).all()
    with_prior = [fit_expression(face, marked + random.normal(size=marked.shape)) for _ in range(50)]
    spread = np.std([fit.action_units for fit in with_prior], axis=0)
    assert (spread[LIDS] < 0.5 * bound[LIDS]).all()
    assert (spread[OTHERS] > 0.7 * bound[OTHERS]).all()


def test_prior_hardly_moves_what_the_landmarks_determine(mesh):
    units = np.array((0.8, 0.3, 0.5, 0.6, 0.4, 0.0, 0.7, 0.0))
    fit = fit_expression(PersonalFace.average(mesh), project(mesh, pose_of(mesh, 20), units=units), prior=PRIOR)
    np.testing.assert_allclose(fit.action_units, units, atol=0.02)


def test_more_neutral_frames_give_a_better_shape(mesh):
    random = np.random.default_rng(4)
    errors = {1: [], 10: []}
    for _ in range(8):
        shape = random.uniform(-1, 1, 7)
        poses = [pose_of(mesh, *random.uniform(-15, 15, 3)) for _ in range(10)]
        points = np.stack([project(mesh, pose, shape) for pose in poses]) + random.normal(size=(10, 68, 2))
        for count, found in errors.items():
            found.append(personalise(mesh, points[:count]).shape - shape)
    one, ten = (np.sqrt(np.mean(np.square(found))) for found in errors.values())
    assert ten < 0.5 * one


def test_tracking_starts_from_the_frame_before(mesh):
    """A face that turns and opens its mouth: fewer iterations than from the closed form, the same result; gaps are None."""
    phase = np.linspace(0, 1, 25)
    points = np.stack([project(mesh, pose_of(mesh, 40 * p - 20), units=(p, *(0.2,) * 7)) for p in phase])
    points[12] = np.nan
    face = PersonalFace.average(mesh)
    tracked = track_expressions(face, points)
    assert [position for position, fit in enumerate(tracked) if fit is None] == [12]
    alone = [None if fit is None else fit_expression(face, point) for fit, point in zip(tracked, points, strict=True)]
    for one, other in zip(tracked, alone, strict=True):
        if one is not None and other is not None:
            np.testing.assert_allclose(one.action_units, other.action_units, atol=1e-3)
    warm, cold = (sum(fit.iterations for fit in fits if fit) for fits in (tracked, alone))
    assert warm < cold
    jaw = np.array([fit.action_units[0] for fit in tracked if fit])
    assert (np.diff(jaw) > 0).all()


def test_a_bad_start_does_not_matter(mesh):
    face = PersonalFace.average(mesh)
    marked = project(mesh, pose_of(mesh, 10), units=(0.5, *(0,) * 7))
    good = fit_expression(face, marked)
    lost = dataclasses.replace(
        good, pose=Pose(2.0, np.array((0.0, np.pi, 0.0)), np.array((-5000.0, 9000.0))), action_units=np.full(8, 40.0)
    )
    again = fit_expression(face, marked, start=lost)
    np.testing.assert_allclose(again.action_units, good.action_units, atol=1e-3)
    assert again.error == pytest.approx(good.error, abs=1e-4)


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (np.zeros((2, 5, 2)), r"must be \(frames, 68, 2\) with at least one frame, got \(2, 5, 2\)"),
        (np.zeros((0, 68, 2)), r"at least one frame"),
        (np.full((1, 68, 2), np.nan), "finite"),
        (np.zeros((1, 68, 2)), "eyes apart"),
    ],
)
def test_bad_landmarks(mesh, landmarks, message):
    with pytest.raises(ValueError, match=message):
        personalise(mesh, landmarks)
    if len(landmarks) == 1:
        with pytest.raises(ValueError, match=message):
            fit_expression(PersonalFace.average(mesh), landmarks[0])


def test_marked_photographs(mesh, shared_data):
    """Reprojection errors of 18 faces, over the distance between the eyes. The points are those of dlib's own model, not marked by hand."""
    errors = []
    for box in ElementTree.parse(shared_data / "landmarks68" / "training_with_face_landmarks.xml").iter("box"):
        parts = sorted(box.iter("part"), key=lambda part: int(part.get("name")))
        marked = np.array([(float(part.get("x")), float(part.get("y"))) for part in parts])
        face = personalise(mesh, marked[None])
        fit = fit_expression(face, marked)
        assert fit.converged
        assert fit.error <= face.error + 1e-3  # the second stage explains more
        assert fit.error < 0.1
        missed = fit.pose.project(fit.vertices(face)[VERTICES]) - marked[LANDMARKS]
        eyes = np.linalg.norm(marked[36:42].mean(axis=0) - marked[42:48].mean(axis=0))
        assert np.linalg.norm(missed, axis=1).mean() / eyes == pytest.approx(fit.error)
        errors.append(fit.error)
    assert len(errors) == 18
    assert np.mean(errors) < 0.06


def test_overlay(mesh):
    marked = project(mesh, pose_of(mesh, 25), units=(0.5, *(0.1,) * 7))
    face = PersonalFace.average(mesh)
    fit = fit_expression(face, marked)
    image = np.full((480, 640, 3), 90, np.uint8)
    drawn = draw_fit(image, face, fit, marked)
    assert (image == 90).all()
    assert drawn.shape == image.shape
    for x, y in np.round(marked[LANDMARKS]).astype(int):
        patch = drawn[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3).tolist()
        assert list(MARKED) in patch or list(FITTED) in patch
    changed = np.argwhere((drawn != image).any(axis=2))
    corners = fit.pose.project(fit.vertices(face))[:, ::-1]
    assert (changed.min(axis=0) > corners.min(axis=0) - 6).all()
    assert (changed.max(axis=0) < corners.max(axis=0) + 6).all()
    assert (drawn == MESH).all(axis=2).sum() > 500
    assert not (draw_fit(image, face, fit) == MARKED).all(axis=2).any()
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got uint8 \(480, 640\)"):
        draw_fit(image[..., 0], face, fit)
