"""The two stages of the fit: what a person's face is like at rest, then what it does in each frame.

Chang (2021), section 4.1. Both stages start in closed form (equations 17 to 20) and minimise the reprojection error (equation 21) by
Levenberg-Marquardt over scale, rotation, translation and coefficients. The first finds seven shape units from frames with a neutral face;
the second keeps them and finds eight action units in each frame, starting from the frame before.

Eyes closed (AU 43) and lid tightener (AU 7) move the four paired points of the lids alike: what tells them apart is less than 1 % of the
face's width, so that from one frame with errors of a pixel they are known to +-0.5 only, and with opposite signs (their sum, how far the
eyes are shut, to +-0.1). Equation 21 alone would make the two mirror noise. Therefore each coefficient counts as a further residual,
:data:`PRIOR` of the distance between the eyes for a coefficient of 1; what landmarks do determine moves by less than a hundredth. A prior of
0 is the paper's own objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyemo.candide.mesh import FaceMesh
from pyemo.candide.pose import Pose
from pyemo.candide.problem import LandmarkProblem, Solution, initial_pose
from pyemo.candide.units import ACTION_UNITS, LANDMARKS, SHAPE_UNITS, VERTICES
from pyemo.media.landmarks import eye_centres

PRIOR = 0.03
"""Of the distance between the eyes."""
NEUTRAL_FRAMES = 10
"""How many of the first frames show a person at rest, where nothing else is known."""
_LOST = 0.15  # of the distance between the eyes: a fit with a larger error is tried again from the closed form


@dataclass(frozen=True)
class PersonalFace:
    """The mesh of one person at rest."""

    mesh: FaceMesh
    shape: np.ndarray
    """(7,) float64, coefficients of :data:`~pyemo.candide.units.SHAPE_UNITS`."""
    vertices: np.ndarray
    """(V, 3) float64, in the axes and lengths of the mesh."""
    error: float
    """Mean distance of the projected points from the landmarks it was made from, in distances between the eyes."""
    iterations: int
    """Of Levenberg-Marquardt."""

    @classmethod
    def average(cls, mesh: FaceMesh) -> PersonalFace:
        """Nobody's: Candide-3 as it is, for where no frame can be taken for neutral."""
        return cls(mesh, np.zeros(len(SHAPE_UNITS)), mesh.vertices, np.nan, 0)


@dataclass(frozen=True)
class Expression:
    """What a face does in one frame."""

    pose: Pose
    action_units: np.ndarray
    """(8,) float64, coefficients of :data:`~pyemo.candide.units.ACTION_UNITS`."""
    error: float
    """Mean distance of the 35 projected points from their landmarks, in distances between the eyes."""
    iterations: int
    """Of Levenberg-Marquardt."""
    converged: bool

    def vertices(self, face: PersonalFace) -> np.ndarray:
        """(V, 3): the mesh of ``face`` with this expression, before it is turned and scaled."""
        return face.vertices + np.tensordot(self.action_units, face.mesh.action_units, axes=1)


def personalise(mesh: FaceMesh, landmarks: np.ndarray, *, prior: float = PRIOR) -> PersonalFace:
    """Stage one: the shape that explains the landmarks of neutral frames best, with a pose for each of them.

    Args:
        mesh: Candide-3.
        landmarks: (F, 68, 2) pixels, of one person with a neutral face.
        prior: see the module.

    Raises:
        ValueError: another shape, no frame, landmarks that are not finite, or eyes that coincide.
    """
    _check(landmarks)
    rest, marked = mesh.vertices[VERTICES], landmarks[:, LANDMARKS].astype(np.float64)
    problem = LandmarkProblem(
        rest, mesh.shape_units[:, VERTICES], marked, prior * float(_eye_distances(landmarks).mean())
    )
    start = problem.start([initial_pose(rest, points) for points in marked], np.zeros(len(SHAPE_UNITS)))
    solution = problem.solve(start)
    error = float(_errors(solution, landmarks).mean())
    return PersonalFace(mesh, solution.coefficients, mesh.shaped(solution.coefficients), error, solution.iterations)


def fit_expression(
    face: PersonalFace, landmarks: np.ndarray, *, start: Expression | None = None, prior: float = PRIOR
) -> Expression:
    """Stage two, for one frame.

    Args:
        face: of the person in the frame.
        landmarks: (68, 2) pixels.
        start: the frame before, if there is one; if the search ends far off from there, it begins again in closed form.
        prior: see the module.

    Raises:
        ValueError: as :func:`personalise`.
    """
    _check(landmarks[None])
    rest, marked = face.vertices[VERTICES], landmarks[LANDMARKS].astype(np.float64)
    eyes = float(_eye_distances(landmarks[None])[0])
    problem = LandmarkProblem(rest, face.mesh.action_units[:, VERTICES], marked[None], prior * eyes)
    starts = [] if start is None else [problem.start([start.pose], start.action_units)]
    starts.append(problem.start([initial_pose(rest, marked)], np.zeros(len(ACTION_UNITS))))
    best: Expression | None = None
    for parameters in starts:
        solution = problem.solve(parameters)
        error = float(_errors(solution, landmarks[None])[0])
        if best is None or error < best.error:
            best = Expression(solution.poses[0], solution.coefficients, error, solution.iterations, solution.converged)
        if best.converged and best.error < _LOST:
            break
    assert best is not None
    return best


def track_expressions(face: PersonalFace, landmarks: np.ndarray, *, prior: float = PRIOR) -> list[Expression | None]:
    """Stage two for the frames (T, 68, 2) of a clip in order of time; None where landmarks are NaN (a frame without them)."""
    found: list[Expression | None] = []
    last: Expression | None = None
    for points in landmarks:
        if np.isnan(points).any():
            found.append(None)
        else:
            last = fit_expression(face, points, start=last, prior=prior)
            found.append(last)
    return found


def _check(landmarks: np.ndarray) -> None:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (68, 2) or not len(landmarks):
        raise ValueError(f"landmarks must be (frames, 68, 2) with at least one frame, got {landmarks.shape}")
    if not np.isfinite(landmarks).all():
        raise ValueError("landmarks must be finite")
    if not _eye_distances(landmarks).min() > 0:
        raise ValueError("landmarks must have the eyes apart")


def _eye_distances(landmarks: np.ndarray) -> np.ndarray:
    """(F,) pixels between the centres of the eyes."""
    right, left = np.stack([eye_centres(points) for points in landmarks], axis=1)
    return np.linalg.norm(left - right, axis=-1)


def _errors(solution: Solution, landmarks: np.ndarray) -> np.ndarray:
    """(F,) mean distance of the points, in distances between the eyes."""
    return np.linalg.norm(solution.residuals, axis=-1).mean(axis=1) / _eye_distances(landmarks)
