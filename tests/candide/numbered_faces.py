"""Pictures whose intensity is the number of a face with known landmarks."""

from __future__ import annotations

import numpy as np
from synthetic_faces import pose_of, project

from pyemo.candide.mesh import FaceMesh
from pyemo.contracts import CropFrame, Face

LABELS = ["happy", "surprise", "neutral"]
UNITS = {  # of the synthetic expressions
    "happy": (0.1, 0, -0.7, 0.6, 0.8, 0, 0.2, 0),
    "surprise": (0.9, -0.6, 0, 0, 0, 0, 0, 0),
    "neutral": (0,) * 8,
}


class Numbered:
    """A picture of one intensity; that is the number of the face whose landmarks are given. 250: no landmarks."""

    contract_version = 1
    crop_frame = CropFrame()

    def __init__(self, landmarks):
        self.landmarks = landmarks
        self.calls = 0

    def detect(self, frames):
        return [self.mark(frame, [Face((0.0, 0.0, 10.0, 10.0), 1.0)]) for frame in frames]

    def mark(self, frame, faces):
        self.calls += 1
        number = int(frame[0, 0, 0])
        return [Face(face.box, face.score, None if number >= 250 else self.landmarks[number]) for face in faces]


def people(mesh: FaceMesh, count: int) -> tuple[Numbered, list[dict[str, str]]]:
    """Six faces of each of ``count`` people, who have shapes of their own: the detector that knows them, and their label and subject."""
    random = np.random.default_rng(0)
    landmarks, rows = [], []
    for person in range(count):
        shape = random.uniform(-1, 1, 7)
        for label in LABELS * 2:
            units = np.array(UNITS[label]) + 0.1 * random.normal(size=8)
            marked = project(mesh, pose_of(mesh, *random.uniform(-10, 10, 3)), shape, units)
            landmarks.append((marked + random.normal(size=marked.shape)).astype(np.float32))
            rows.append({"label": label, "subject": f"person {person}"})
    return Numbered(np.stack(landmarks)), rows
