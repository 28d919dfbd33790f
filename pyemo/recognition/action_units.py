"""Action units of Candide-3 beside the emotions (``--features au``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pyemo import plugins
from pyemo.candide.mesh import FaceMesh
from pyemo.candide.timeline import COLUMNS, FaceLandmarks, action_unit_table, fit_tracks, landmark_detector
from pyemo.contracts import Detector, LandmarkDetector


def marking_detector(detector: Detector, name: str | None, options: Mapping[str, Any]) -> LandmarkDetector:
    """What marks 68 points in the faces of ``detector``: itself, if it can, else ``dlib-68``.

    Args:
        detector: finds the faces.
        name: the plug-in that it is, if it is one.
        options: what the plug-in was created with.

    Raises:
        PluginError: the detector is no plug-in and marks none.
        AssetError: the model of ``dlib-68`` is absent (the message says how to install it).
    """
    if name is None or isinstance(detector, LandmarkDetector):
        return landmark_detector(detector)
    return landmark_detector(plugins.create("detectors", "dlib-68", detector=name, detector_options=dict(options)))


class ActionUnits:
    """Fits the mesh to the faces of an input, once all its landmarks are gathered.

    Raises :class:`~pyemo.errors.AssetError` if the mesh has not been imported; the message says how to.
    """

    columns = COLUMNS

    def __init__(self) -> None:
        self._mesh = FaceMesh.load()

    def table(self, gathered: FaceLandmarks) -> pd.DataFrame:
        """A row for each face that was added to ``gathered``, as :func:`~pyemo.candide.timeline.action_unit_table` gives it."""
        return action_unit_table(fit_tracks(self._mesh, gathered.tracks, gathered.landmarks))
