"""Wireframe files: Ahlberg's own, and what can be wrong with one."""

from __future__ import annotations

import numpy as np
import pytest

from pyemo import assets
from pyemo.candide.mesh import FaceMesh
from pyemo.candide.units import ACTION_UNITS, LANDMARKS, SHAPE_UNITS, VERTICES
from pyemo.candide.wfm import read_wfm
from pyemo.cli import main
from pyemo.errors import AssetError

SMALL = """# Blåkulla
# VERTEX LIST:
3
0 0 0
1.5 0 -0.25
0   2e0 1

# FACE LIST:
1
0 1 2
# ANIMATION UNITS LIST:
2

# AUV3  Jaw drop (AU26/27)
# MNS
2
1 0 1 0
1 0 0.5 0.25
# remark

1
0 1 0 0
# SHAPE UNITS LIST:
0
# ANIMATION PARAMETERS:
whatever
"""


def write(path, text):
    path.write_bytes(text.encode("latin-1"))
    return path


def test_small_file(tmp_path):
    wireframe = read_wfm(write(tmp_path / "small.wfm", SMALL))
    assert wireframe.vertices.tolist() == [[0, 0, 0], [1.5, 0, -0.25], [0, 2, 1]]
    assert wireframe.faces.tolist() == [[0, 1, 2]]
    assert list(wireframe.animation_units) == ["Jaw drop", "remark"]
    assert wireframe.animation_units["Jaw drop"].tolist() == [[0, 0, 0], [0, 1.5, 0.25], [0, 0, 0]]
    assert wireframe.animation_units["remark"].tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert wireframe.shape_units == {}
    nameless = read_wfm(write(tmp_path / "nameless.wfm", SMALL.replace("# remark\n", "")))
    assert list(nameless.animation_units) == ["Jaw drop", "animation unit 2"]


@pytest.mark.parametrize(("name", "animation_units"), [("candide3-14auv.wfm", 14), ("candide3-70auv.wfm", 70)])
def test_real_files(wireframes, name, animation_units):
    wireframe = read_wfm(wireframes / name)
    assert wireframe.vertices.shape == (113, 3)
    assert wireframe.faces.shape == (184, 3)
    assert len(wireframe.animation_units) == animation_units
    assert len(wireframe.shape_units) == 38
    assert wireframe.animation_units["Jaw drop"][40].tolist() == [0, -0.26, -0.05]
    assert np.count_nonzero(wireframe.animation_units["Lip stretcher"].any(axis=1)) == 18
    assert wireframe.animation_units["Brow lowerer"][3].tolist() == pytest.approx([0, -0.07, 0.04])  # listed twice


def test_both_files_are_one_face(wireframes):
    small, large = (FaceMesh.load(wireframes / f"candide3-{count}auv.wfm") for count in (14, 70))
    for part in ("vertices", "action_units", "shape_units"):
        np.testing.assert_array_equal(getattr(small, part), getattr(large, part))


def test_mesh_is_in_the_axes_of_a_picture(mesh):
    assert mesh.action_units.shape == (8, 113, 3)
    assert mesh.shape_units.shape == (7, 113, 3)
    chin, nose, forehead = mesh.vertices[10], mesh.vertices[5], mesh.vertices[0]
    assert forehead[1] < nose[1] < chin[1]  # y down
    assert nose[2] < min(chin[2], forehead[2])  # z away from the viewer
    jaw_drop = mesh.action_units[0]
    assert jaw_drop[8, 1] > 0.2  # the lower lip moves down
    assert mesh.vertices[53, 0] < 0 < mesh.vertices[20, 0]  # outer corners of the eyes, as landmarks 36 and 45


def test_the_papers_choice(mesh):
    assert len(LANDMARKS) == len(VERTICES) == len(set(LANDMARKS)) == len(set(VERTICES)) == 35
    assert (len(ACTION_UNITS), len(SHAPE_UNITS)) == (8, 7)
    # Mirrored landmarks belong to mirrored vertices.
    mirror = {
        36: 45,
        37: 44,
        38: 43,
        39: 42,
        40: 47,
        41: 46,
        17: 26,
        19: 24,
        21: 22,
        31: 35,
        48: 54,
        49: 53,
        59: 55,
        60: 64,
    }
    vertex = dict(zip(LANDMARKS.tolist(), VERTICES.tolist(), strict=True))
    for right, left in mirror.items():
        np.testing.assert_allclose(mesh.vertices[vertex[right]] * (-1, 1, 1), mesh.vertices[vertex[left]], atol=1e-9)
    # Each unit moves at least one of the points that are seen.
    assert (np.abs(mesh.action_units[:, VERTICES]).sum(axis=(1, 2)) > 0).all()
    assert (np.abs(mesh.shape_units[:, VERTICES]).sum(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1.5 0 -0.25", "1.5 0", r"line 5: expected x, y and z of vertex 1, got '1.5 0'"),
        ("1.5 0 -0.25", "1.5 zero -0.25", r"line 5: expected x, y and z of vertex 1"),
        ("1.5 0 -0.25", "1.5 nan -0.25", r"line 5: expected x, y and z of vertex 1"),
        ("# VERTEX LIST:\n3", "# VERTEX LIST:\nthree", r"line 3: expected the number of vertices, got 'three'"),
        ("# VERTEX LIST:\n3", "# VERTEX LIST:\n4", r"line 9: expected x, y and z of vertex 3, got '1'"),
        ("# FACE LIST:\n1\n0 1 2", "# FACE LIST:\n0", r"has vertices and faces, got 3 and 0"),
        ("0 1 2\n", "0 1 3\n", r"line 10: expected a vertex number from 0 to 2, got '3'"),
        ("0 1 2\n", "0 1 -1\n", r"expected a vertex number from 0 to 2, got '-1'"),
        ("0 1 2\n", "0 1 1.5\n", r"expected a vertex number from 0 to 2, got '1.5'"),
        ("1 0 1 0\n", "7 0 1 0\n", r"line 17: expected a vertex number from 0 to 2, got '7'"),
        ("1 0 1 0\n", "1 0 1 0 0\n", r"line 17: expected vertex number, x, y and z of animation unit 'Jaw drop'"),
        ("# SHAPE UNITS LIST:\n0", "# Jaw drop\n1", r"expected the number of vertices of shape unit 1, got 'whatever'"),
        ("# remark", "# Jaw drop", r"a second animation unit is called 'Jaw drop'"),
    ],
)
def test_malformed(tmp_path, old, new, message):
    assert SMALL.count(old) == 1
    with pytest.raises(AssetError, match=f"bad.wfm.*{message}"):
        read_wfm(write(tmp_path / "bad.wfm", SMALL.replace(old, new)))


def test_cut_off(tmp_path):
    path = write(tmp_path / "bad.wfm", SMALL[: SMALL.index("# remark")])
    with pytest.raises(
        AssetError, match=r"bad.wfm ends after line 18, expected the number of vertices of animation unit 2"
    ):
        read_wfm(path)
    with pytest.raises(AssetError, match=r"bad.wfm ends after line 0, expected the number of vertices"):
        read_wfm(write(path, ""))
    with pytest.raises(AssetError, match=r"cannot read .*absent.wfm: No such file"):
        read_wfm(tmp_path / "absent.wfm")


def test_another_mesh(tmp_path, wireframes):
    with pytest.raises(AssetError, match=r"small.wfm is not Candide-3: 3 vertices, expected at least 111"):
        FaceMesh.load(write(tmp_path / "small.wfm", SMALL))
    text = (wireframes / "candide3-14auv.wfm").read_text("latin-1").replace("# Jaw drop", "# Jaw opening")
    with pytest.raises(
        AssetError, match=r"other.wfm is not Candide-3 as this fit needs it: no animation unit is called Jaw drop"
    ):
        FaceMesh.load(write(tmp_path / "other.wfm", text))


def test_asset(wireframes, tmp_path, monkeypatch, capsys, mesh):
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path))
    with pytest.raises(
        AssetError, match=r"'candide3' .* is not on this machine\. Bring the file from http.*assets import candide3"
    ):
        FaceMesh.load()
    large, small = (str(wireframes / f"candide3-{count}auv.wfm") for count in (70, 14))
    assert main(["assets", "import", "candide3", large]) == 1
    assert "is not candide3 but candide3-70auv" in capsys.readouterr().err
    assert main(["assets", "import", "candide3-70auv", large]) == 0
    np.testing.assert_array_equal(FaceMesh.load().vertices, mesh.vertices)
    assert main(["assets", "import", "candide3", small]) == 0
    assert "free for research" in capsys.readouterr().out
    np.testing.assert_array_equal(FaceMesh.load().faces, mesh.faces)
    (assets.path("candide3")).write_text("spoiled")
    with pytest.raises(AssetError, match="was changed"):
        FaceMesh.load()
