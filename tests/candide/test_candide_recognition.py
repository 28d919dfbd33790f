"""``--features au``, and predicting with models of landmarks."""

from __future__ import annotations

import json

import numpy as np
import pytest
from marked_squares import JAW, MarkedSquares
from pyemo_detectors.dlib_68 import Dlib68Detector
from synthetic import SquareDetector, brightness_model, picture, pitch_model, tone, world_model, write_clip

from pyemo import assets, plugins
from pyemo.candide.timeline import COLUMNS
from pyemo.candide_au.features import landmark_features
from pyemo.candide_au.model import save_candide_au, train_model
from pyemo.config import CandideAuRecipe
from pyemo.errors import AssetError, ConfigError, ModelError, PluginError
from pyemo.recognition import Recogniser, load
from pyemo.recognition.action_units import marking_detector
from pyemo.recognition.saved import read_result
from pyemo.weights import LoadedCandideAu, load_any, load_model

EMOTIONS = ["happy", "surprise", "neutral"]


@pytest.fixture
def home(wireframes, tmp_path, monkeypatch):
    """With the mesh imported."""
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    assets.import_file(wireframes / "candide3-14auv.wfm")


@pytest.fixture
def squares(mesh):
    return MarkedSquares(mesh)


@pytest.fixture
def clip(tmp_path):
    """One face at rest, then happy; beside it one that is too far right to be marked."""
    frames = [{10: "neutral", 130: "sad"}] * 15 + [{10: "happy", 130: "sad"}] * 15
    return write_clip(tmp_path / "clip.avi", frames, tone("sad", 1.2))


def test_columns_of_action_units(home, squares, clip, tmp_path):
    plain = Recogniser(brightness_model(tmp_path / "model"), SquareDetector(), device="cpu", every=4)
    measuring = Recogniser(brightness_model(tmp_path / "model"), squares, device="cpu", every=4, features=["au", "au"])
    assert (plain.settings()["features"], measuring.settings()["features"]) == ([], ["au"])
    result = measuring.predict(clip)
    without = plain.predict(clip).timeline
    assert list(result.timeline.columns) == [*without.columns, *COLUMNS]
    assert result.timeline[list(without.columns)].equals(without)  # emotions are the same
    assert (result.timeline[list(COLUMNS)].dtypes == np.float32).all()
    marked = result.timeline[result.timeline["face"] == 0]
    jaw = marked["au26_jaw_drop"].to_numpy()
    np.testing.assert_allclose(jaw[:15], 0, atol=0.05)
    np.testing.assert_allclose(jaw[16:], JAW["happy"], atol=0.05)
    other = result.timeline[result.timeline["face"] == 1]
    assert len(marked) == len(other) == 30
    assert other[list(COLUMNS)].isna().all(axis=None)
    assert result.timing["landmarks"] > 0
    happy = result.segments.query("face == 0 and label == 'happy'")
    np.testing.assert_allclose(happy["au26_jaw_drop"], JAW["happy"], atol=0.1)
    again, _ = read_result(result.save(tmp_path / "out")[-1])
    np.testing.assert_allclose(again.timeline[list(COLUMNS)], result.timeline[list(COLUMNS)], atol=1e-5)


def test_an_image_and_a_voice(home, squares, clip, tmp_path):
    both = Recogniser(world_model(tmp_path / "model"), squares, device="cpu", features=["au"])
    timeline = both.predict(clip).timeline
    heard = timeline["face"] == -1
    assert heard.any()
    assert timeline.loc[heard, list(COLUMNS)].isna().all(axis=None)
    assert timeline.loc[timeline["face"] == 0, list(COLUMNS)].notna().all(axis=None)
    assert timeline.loc[timeline["face"] == 1, list(COLUMNS)].isna().all(axis=None)
    assert (timeline[list(COLUMNS)].dtypes == np.float32).all()
    still = both.predict(picture({10: "happy"})).timeline
    assert still[list(COLUMNS)].notna().all(axis=None)
    assert list(both.predict(picture({})).timeline.columns) == list(timeline.columns)


def test_what_cannot_be_measured(squares, tmp_path, monkeypatch):
    faces, voices = brightness_model(tmp_path / "faces"), pitch_model(tmp_path / "voices")
    with pytest.raises(ConfigError, match="features: expected 'au', got 'fp5'"):
        Recogniser(faces, squares, device="cpu", features=["fp5"])
    with pytest.raises(ConfigError, match="'au' is measured in each face of each frame, and pitch does not look"):
        Recogniser(voices, squares, device="cpu", features=["au"])
    with pytest.raises(PluginError, match="a SquareDetector marks none"):
        Recogniser(faces, SquareDetector(), device="cpu", features=["au"])
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "empty"))
    with pytest.raises(AssetError, match="pyemo assets import"):
        Recogniser(faces, squares, device="cpu", features=["au"])


def test_the_chosen_detector_is_wrapped(home, dlib_68, shared_data, tmp_path):
    found = marking_detector(plugins.create("detectors", "dlib"), "dlib", {"max_side": 320})
    assert isinstance(found, Dlib68Detector)
    assert marking_detector(dlib_68, "dlib-68", {}) is dlib_68
    photograph = shared_data / "clips" / "single_face.jpg"
    plain, measured = (
        load("compact-resnet", device="cpu", features=features).predict(photograph).timeline
        for features in ((), ["au"])
    )
    assert measured[list(plain.columns)].equals(plain)
    assert measured["fit_error"][0] < 0.06


def model_folder(mesh, folder, features, **options):
    """Trained on what MarkedSquares shows."""
    recipe = CandideAuRecipe(
        name="jaws",
        system="candide-au",
        labels=EMOTIONS,
        features=features,
        classifier={"name": "svm-linear", "c": [1.0], "folds": 2},
        **options,
    )
    random = np.random.default_rng(0)
    labels = EMOTIONS * 20
    if features == "au":
        samples = np.zeros((60, 8), np.float32)
        samples[:, 0] = [JAW[label] for label in labels]
        noise = 0.03
    else:
        from synthetic_faces import pose_of, project

        units = [(JAW[label], *(0,) * 7) for label in labels]
        samples = landmark_features(np.stack([project(mesh, pose_of(mesh), units=one) for one in units]))
        noise = 0.005
    samples += (noise * random.normal(size=samples.shape)).astype(np.float32)
    targets = np.array([EMOTIONS.index(label) for label in labels])
    model = train_model(recipe, samples, targets, [None] * 60, (samples[:0], targets[:0]))
    return save_candide_au(folder, model, "# jaws\n")


@pytest.mark.parametrize(("features", "personalise"), [("au", "neutral"), ("au", "none"), ("fp68", "neutral")])
def test_a_model_of_landmarks(home, mesh, squares, tmp_path, features, personalise):
    folder = model_folder(mesh, tmp_path / "model", features, personalise=personalise)
    loaded = load_any(folder)
    assert isinstance(loaded, LoadedCandideAu)
    assert (loaded.card, loaded.recipe.features) == ("# jaws\n", features)
    frames = [{10: "neutral", 130: "sad"}] * 15 + [{10: "surprise"}] * 20 + [{}] * 5
    clip = write_clip(tmp_path / "clip.avi", frames)
    recogniser = load(folder, detector=squares, every=4, features=["au"])
    result = recogniser.predict(clip)
    assert result.labels == tuple(EMOTIONS)
    assert (result.frames, len(result.timeline)) == (40, 35)  # the face without landmarks has no row
    assert result.timeline["label"].tolist() == ["neutral"] * 15 + ["surprise"] * 20
    np.testing.assert_allclose(result.timeline[EMOTIONS].sum(axis=1), 1, atol=1e-5)
    assert result.timeline[list(COLUMNS)].notna().all(axis=None)
    assert result.timeline["start"].iloc[34] == pytest.approx(34 / 25)
    assert {thumbnail.label for thumbnail in result.thumbnails} == {"neutral", "surprise"}
    assert (result.label, result.card) == ("surprise", "# jaws\n")
    summary = json.loads(result.save(tmp_path / "out", extra={"settings": recogniser.settings()})[-1].read_text())
    assert summary["settings"]["model"] == "jaws"
    assert (tmp_path / "out" / "clip.avi.html").is_file()
    nobody = recogniser.predict(picture({130: "sad"}))
    assert (nobody.label, nobody.no_face) == (None, True)


def test_views_of_a_long_clip_are_thinned():
    from pyemo.recognition.landmarks import _VIEWS, _Views

    views = _Views()
    for row in range(1000):
        views.add(row, row % 2, float(row), np.full(1, row))
    for track in (0, 1):
        kept = [row for row, of, _, _ in views if of == track]
        assert _VIEWS / 2 <= len(kept) <= _VIEWS
        assert kept[0] == track
        assert set(np.diff(kept)) == {32}
    assert [row for row, *_ in views] == sorted(row for row, *_ in views)


def test_where_a_network_is_needed(home, mesh, tmp_path):
    folder = model_folder(mesh, tmp_path / "model", "fp68")
    with pytest.raises(ModelError, match=r"jaws \(candide-au\) decides from landmarks and is no network"):
        load_model(folder)
    with pytest.raises(PluginError, match="a SquareDetector marks none"):
        load(folder, detector=SquareDetector())
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"not a complete model folder: model\.safetensors"):
        load_any(folder)
