from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pyemo import plugins
from pyemo.candide.mesh import FaceMesh


@pytest.fixture(scope="session")
def wireframes(shared_data: Path) -> Path:
    """The folder with both files of Candide-3."""
    return shared_data / "candide3"


@pytest.fixture(scope="session")
def mesh(wireframes: Path) -> FaceMesh:
    return FaceMesh.load(wireframes / "candide3-14auv.wfm")


@pytest.fixture(scope="session")
def dlib_68():
    if find_spec("face_recognition_models") is None:
        pytest.skip("the extra 'landmarks' is not installed")
    return plugins.create("detectors", "dlib-68")
