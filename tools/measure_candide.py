"""Measures the fit of Candide-3: on synthetic truth, on marked faces, on a clip, and its speed. Needs the asset ``candide3`` or ``--mesh FILE``.

    python tools/measure_candide.py synthetic
    python tools/measure_candide.py faces landmarks68/training_with_face_landmarks.xml --out faces/
    python tools/measure_candide.py clip single_face.mp4 --out clip/
    python tools/measure_candide.py speed

``synthetic``: faces of known shape, turn and action units are projected (200 pixels wide) and each landmark is perturbed; the table compares what
the two stages find with the truth and with the Cramer-Rao bound, below which no unbiased method can get from one frame. ``faces``: landmarks in
dlib's XML format (the file named above has the points of dlib's own model, not marks by hand); errors are mean distances between mesh and
landmarks over the distance between the eyes. ``clip``: needs the extra ``landmarks``.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

from pyemo import plugins
from pyemo.candide.fit import PRIOR, Expression, PersonalFace, fit_expression, personalise, track_expressions
from pyemo.candide.mesh import FaceMesh
from pyemo.candide.overlay import draw_fit
from pyemo.candide.pose import Pose
from pyemo.candide.problem import LandmarkProblem
from pyemo.candide.timeline import action_unit_table
from pyemo.candide.units import ACTION_UNITS, LANDMARKS, SHAPE_UNITS, VERTICES
from pyemo.cli.table import format_table
from pyemo.files import written_whole
from pyemo.media import VideoReader, read_image, track_faces
from pyemo.media.landmarks import eye_centres

_FACE_WIDTH = 200.0  # pixels between the outermost vertices
_YAWS = 0.0, 15.0, 30.0
_SHORT = [unit.name.split("_")[0] for unit in ACTION_UNITS]


def perturbation(random: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """(..., 2) pixels. ``moved``: a length of 1 in a random direction; ``gaussian``: a deviation of 1 of each coordinate; ``none``."""
    if kind == "none":
        return np.zeros(shape)
    if kind == "gaussian":
        return random.normal(size=shape)
    angle = random.uniform(0, 2 * np.pi, shape[:-1])
    return np.stack((np.cos(angle), np.sin(angle)), axis=-1)


def landmarks_of(pose: Pose, vertices: np.ndarray) -> np.ndarray:
    """(68, 2): those that have no vertex are at the origin; the fit does not look at them."""
    points = np.zeros((68, 2))
    points[LANDMARKS] = pose.project(vertices[VERTICES])
    return points


def random_pose(random: np.random.Generator, mesh: FaceMesh, yaw: float) -> Pose:
    """Turned by ``yaw`` degrees to either side, up to 10 degrees up or down and to the side."""
    turn = random.choice((-yaw, yaw)), *random.uniform(-10, 10, 2)
    scale = _FACE_WIDTH / np.ptp(mesh.vertices[:, 0])
    return Pose(scale, Rotation.from_euler("YXZ", turn, degrees=True).as_rotvec(), random.uniform(200, 400, 2))


def bound(face: PersonalFace, pose: Pose, units: np.ndarray, deviation: float) -> np.ndarray:
    """(8,) least standard deviation of each action unit, with landmarks that err by ``deviation`` pixels a coordinate."""
    rest, basis = face.vertices[VERTICES], face.mesh.action_units[:, VERTICES]
    problem = LandmarkProblem(rest, basis, np.zeros((1, len(VERTICES), 2)))
    jacobian = problem.jacobian(problem.start([pose], units))
    return deviation * np.sqrt(np.diag(np.linalg.inv(jacobian.T @ jacobian)))[-len(ACTION_UNITS) :]


def synthetic(mesh: FaceMesh, trials: int, prior: float, neutral_frames: int) -> None:
    print(
        f"{trials} faces a row, {_FACE_WIDTH:g} pixels wide; shape units U(-0.5, 0.5), action units U(0, 1); yaw as named, to either side, pitch and "
        f"roll U(-10, 10) degrees;\nshape from {neutral_frames} neutral frames with the same perturbation, prior {prior:g}\n"
    )
    rows = []
    for noise, deviation in (("none", 0.0), ("moved", np.sqrt(0.5)), ("gaussian", 1.0)):
        for yaw in _YAWS:
            random = np.random.default_rng(0)
            errors, bounds, turns, residuals, fits = [], [], [], [], []
            for _ in range(trials):
                shape, units = random.uniform(-0.5, 0.5, len(SHAPE_UNITS)), random.uniform(0, 1, len(ACTION_UNITS))
                true_face = dataclasses.replace(PersonalFace.average(mesh), vertices=mesh.shaped(shape))
                neutral = [
                    landmarks_of(random_pose(random, mesh, 10), true_face.vertices) for _ in range(neutral_frames)
                ]
                face = personalise(
                    mesh, np.stack(neutral) + perturbation(random, (neutral_frames, 68, 2), noise), prior=prior
                )
                pose = random_pose(random, mesh, yaw)
                deformed = true_face.vertices + np.tensordot(units, mesh.action_units, axes=1)
                marked = landmarks_of(pose, deformed) + perturbation(random, (68, 2), noise)
                fit = fit_expression(face, marked, prior=prior)
                fits.append(fit)
                errors.append(fit.action_units - units)
                bounds.append(bound(true_face, pose, units, deviation))
                turns.append(np.degrees((Rotation.from_matrix(fit.pose.matrix @ pose.matrix.T)).magnitude()))
                missed = fit.pose.project(fit.vertices(face)[VERTICES]) - marked[LANDMARKS]
                residuals.append(np.linalg.norm(missed, axis=1).mean())
            found = np.array(errors)
            lids = found[:, _SHORT.index("au7")] + found[:, _SHORT.index("au43")]
            iterations = [fit.iterations for fit in fits]
            common = [noise, f"{yaw:g}"]
            quality = [
                f"{np.mean(turns):.2f}",
                f"{np.mean(residuals):.2f}",
                f"{np.mean(iterations):.1f}",
                str(max(iterations)),
                f"{np.mean([fit.converged for fit in fits]):.0%}",
            ]
            for what, values, last in (
                ("mean error", found.mean(axis=0), lids.mean()),
                ("rms error", np.sqrt((found**2).mean(axis=0)), np.sqrt((lids**2).mean())),
                ("bound", np.sqrt((np.array(bounds) ** 2).mean(axis=0)), np.nan),
            ):
                cells = [f"{value:.3f}" for value in (*values, last)]
                rows.append([*common, what, *cells, *(quality if what == "rms error" else [""] * len(quality))])
    print(
        format_table(
            ["noise", "yaw", "of", *_SHORT, "au7+au43", "turn deg", "residual px", "iterations", "most", "converged"],
            rows,
        )
    )


def faces(mesh: FaceMesh, xml: Path, out: Path, prior: float) -> None:
    rows, errors = [], []
    for image in ElementTree.parse(xml).iter("image"):
        for number, box in enumerate(image.iter("box")):
            parts = sorted(box.iter("part"), key=lambda part: int(part.get("name", "")))
            marked = np.array([(float(part.get("x", "")), float(part.get("y", ""))) for part in parts])
            face = personalise(mesh, marked[None], prior=prior)
            fit = fit_expression(face, marked, prior=prior)
            eyes = float(np.linalg.norm(np.subtract(*eye_centres(marked))))
            rows.append(
                [
                    image.get("file", ""),
                    str(number),
                    f"{eyes:.1f}",
                    *(f"{angle:.0f}" for angle in fit.pose.angles),
                    f"{face.error:.4f}",
                    f"{fit.error:.4f}",
                    str(face.iterations + fit.iterations),
                ]
            )
            errors.append((face.error, fit.error))
            name = f"{Path(image.get('file', '')).stem}-{number}.png"
            _write(out / name, _enlarged(read_image(xml.parent / image.get("file", "")), face, fit, marked))
    print(
        format_table(["image", "face", "eyes px", "yaw", "pitch", "roll", "after stage 1", "error", "iterations"], rows)
    )
    first, second = np.mean(errors, axis=0)
    print(f"mean of {len(errors)} faces: {first:.4f} after stage one, {second:.4f} in the end; overlays: {out}")


def clip(mesh: FaceMesh, path: Path, out: Path, prior: float) -> None:
    detector = plugins.create("detectors", "dlib-68")
    times, marks, frames = [], [], []
    with VideoReader(path) as reader:
        for tracked in track_faces(reader, detector):
            main = [face.face for face in tracked.faces if face.track == 0]
            for face in detector.mark(tracked.frame.image, main):
                if face.landmarks is not None:
                    times.append(tracked.frame.time)
                    marks.append(face.landmarks)
                    frames.append(tracked.frame.image)
    if not marks:
        raise SystemExit(f"{path}: no face")
    points = np.stack(marks)
    face = personalise(mesh, points[:10], prior=prior)
    fits = track_expressions(face, points, prior=prior)
    table = action_unit_table(fits)
    eyes = np.array([np.linalg.norm(np.subtract(*eye_centres(mark))) for mark in points])
    opening = np.linalg.norm(points[:, 62] - points[:, 66], axis=1) / eyes
    lids = (np.linalg.norm(points[:, [37, 44]] - points[:, [41, 46]], axis=2)).mean(axis=1) / eyes
    rows = []
    for unit in ACTION_UNITS:
        curve = table[unit.name].to_numpy(np.float64)
        smooth = np.convolve(np.pad(curve, 2, mode="edge"), np.ones(5) / 5, "valid")
        rows.append(
            [
                unit.name,
                f"{curve.min():.2f}",
                f"{curve.max():.2f}",
                f"{np.abs(np.diff(curve)).mean():.3f}",
                f"{(curve - smooth).std():.3f}",
                f"{np.corrcoef(curve, smooth)[0, 1]:.3f}",
            ]
        )
    print(format_table(["unit", "least", "most", "mean step", "off 5-frame mean", "correlation with it"], rows))
    shut = table["au7_lid_tightener"] + table["au43_eyes_closed"]
    print(
        f"{len(fits)} frames, mean error {table['fit_error'].mean():.4f} of the distance between the eyes ({eyes.mean():.0f} px)\n"
        f"jaw drop and the opening of the mouth (landmarks 62, 66): correlation {np.corrcoef(table['au26_jaw_drop'], opening)[0, 1]:.4f}\n"
        f"lid tightener + eyes closed and how far the eyes are open: correlation {np.corrcoef(shut, lids)[0, 1]:.4f}"
    )
    _plot(out / "action-units.png", np.array(times), table, opening)
    for position in np.linspace(0, len(fits) - 1, 4).astype(int):
        fit = fits[position]
        assert fit is not None
        _write(out / f"frame-{position:04d}.png", _enlarged(frames[position], face, fit, points[position]))
    print(f"written: {out}")


def speed(mesh: FaceMesh, prior: float) -> None:
    """A minute at 25 frames a second of a face that moves all the time."""
    random, count = np.random.default_rng(0), 1500
    phase = np.linspace(0, 60, count)[:, None] * random.uniform(0.5, 3, len(ACTION_UNITS) + 3)
    waves = (1 + np.sin(phase)) / 2
    scale = _FACE_WIDTH / np.ptp(mesh.vertices[:, 0])
    marked = np.empty((count, 68, 2))
    for frame, wave in enumerate(waves):
        turn = Rotation.from_euler("YXZ", 40 * (wave[-3:] - 0.5), degrees=True).as_rotvec()
        deformed = mesh.vertices + np.tensordot(wave[:-3], mesh.action_units, axes=1)
        marked[frame] = landmarks_of(Pose(scale, turn, np.array((300.0, 200.0))), deformed)
    marked += perturbation(random, marked.shape, "gaussian")
    wall, cpu = time.perf_counter(), time.process_time()
    face = personalise(mesh, marked[:10], prior=prior)
    fits = track_expressions(face, marked, prior=prior)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    iterations = [fit.iterations for fit in fits if fit]
    print(
        f"{count} frames, both stages: {wall:.2f} s on the clock, {cpu:.2f} s of one core; {np.mean(iterations):.1f} iterations a frame"
    )


def _enlarged(
    image: np.ndarray, face: PersonalFace, fit: Expression, marked: np.ndarray, height: int = 640
) -> np.ndarray:
    """The face with its fit, cut out and ``height`` pixels high."""
    size = 2.2 * np.ptp(marked[:, 1])
    left, top = np.maximum(marked.mean(axis=0) - (size / 2, 0.6 * size), 0).astype(int)
    cut = image[top : top + int(size), left : left + int(size)]
    zoom = height / cut.shape[0]
    large = cv2.resize(cut, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)

    def moved(points: np.ndarray) -> np.ndarray:
        return np.asarray((points - (left, top) + 0.5) * zoom - 0.5)

    pose = dataclasses.replace(fit.pose, scale=fit.pose.scale * zoom, translation=moved(fit.pose.translation))
    return draw_fit(large, face, dataclasses.replace(fit, pose=pose), moved(marked))


def _plot(path: Path, times: np.ndarray, table: object, opening: np.ndarray) -> None:
    figure = Figure(figsize=(9, 12), layout="constrained")
    panels = figure.subplots(len(ACTION_UNITS) + 1, 1, sharex=True)
    for panel, unit in zip(panels, ACTION_UNITS, strict=False):
        panel.plot(times, table[unit.name], color="#0072b2")  # type: ignore[index]
        panel.set_title(unit.meaning, fontsize=9, loc="left")
    panels[-1].plot(times, opening, color="#d55e00")
    panels[-1].set_title(
        "opening of the mouth by landmarks 62 and 66, in distances between the eyes", fontsize=9, loc="left"
    )
    panels[-1].set_xlabel("seconds")
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _write(path: Path, image: np.ndarray) -> None:
    with written_whole(path) as temporary:
        cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("synthetic", "faces", "clip", "speed"))
    parser.add_argument("file", nargs="?", type=Path, help="the XML file of faces, or the clip")
    parser.add_argument("--mesh", type=Path, help="a wireframe file (default: the asset candide3)")
    parser.add_argument("--out", type=Path, default=Path("candide"), help="folder for pictures (default: %(default)s)")
    parser.add_argument(
        "--prior", type=float, default=PRIOR, help="of the fit (default: %(default)s); 0: equation 21 alone"
    )
    parser.add_argument("--trials", type=int, default=300, help="synthetic: faces a row (default: %(default)s)")
    parser.add_argument(
        "--neutral-frames", type=int, default=10, help="synthetic: frames that make the shape (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if (arguments.what in ("faces", "clip")) != (arguments.file is not None):
        parser.error("faces and clip take a FILE, synthetic and speed none")
    mesh = FaceMesh.load(arguments.mesh)
    if arguments.what == "synthetic":
        synthetic(mesh, arguments.trials, arguments.prior, arguments.neutral_frames)
    elif arguments.what == "speed":
        speed(mesh, arguments.prior)
    elif arguments.what == "faces":
        faces(mesh, arguments.file, arguments.out, arguments.prior)
    else:
        clip(mesh, arguments.file, arguments.out, arguments.prior)


if __name__ == "__main__":
    main()
