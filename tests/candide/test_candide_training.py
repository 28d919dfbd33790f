"""``candide-au`` on data sets: measuring, personalising, training, scoring."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from numbered_faces import LABELS, UNITS, people

from pyemo import assets, plugins
from pyemo.candide_au.measuring import NO_FACE, TOO_SMALL, Input, measure
from pyemo.candide_au.model import read_candide_au
from pyemo.candide_au.samples import class_indices, read_samples
from pyemo.candide_au.training import cross_validate_candide_au, evaluate_candide_au, train_candide_au
from pyemo.config import CandideAuRecipe, load_recipe
from pyemo.contracts import Face, Manifest
from pyemo.errors import AssetError, DataError, PluginError
from pyemo.media import crop_faces, read_image
from pyemo.media.landmarks import eye_centres


@pytest.fixture
def world(mesh, wireframes, tmp_path, monkeypatch):
    """60 decoded images of 10 people, who have shapes of their own, with the detector that knows their landmarks."""
    detector, rows = people(mesh, 10)
    splits = ["train"] * 36 + ["validation"] * 12 + ["test"] * 12
    rows = [
        {"path": f"image-{n}", **row, "split": split} for n, (row, split) in enumerate(zip(rows, splits, strict=True))
    ]
    monkeypatch.setattr(plugins, "create", lambda group, name, **options: detector)
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    assets.import_file(wireframes / "candide3-14auv.wfm")
    images = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None, None], (60, 48, 48)).copy()
    manifest = Manifest(pd.DataFrame(rows), tuple(LABELS), images, licence="made up")
    return manifest, detector


def recipe(**options):
    return CandideAuRecipe(name="t", system="candide-au", labels=LABELS, description="a test", **options)


def svm(**options):
    return recipe(classifier={"name": "svm-linear", "c": [1.0], "folds": 3}, **options)


def test_packaged_recipe():
    parsed = load_recipe("candide-au")
    assert isinstance(parsed, CandideAuRecipe)
    assert (parsed.name, parsed.features, parsed.classifier.name, len(parsed.labels)) == (
        "candide-au",
        "au",
        "dense",
        7,
    )


@pytest.mark.parametrize("features", ["au", "fp68"])
def test_train_evaluate_and_read_again(world, tmp_path, features):
    manifest, detector = world
    out = tmp_path / "run"
    folder = train_candide_au(svm(features=features), manifest, out, data="synthetic", command="pyemo train t")
    assert detector.calls == 60
    validation = json.loads((out / "validation.json").read_text())
    assert validation["rows"] == 12
    assert validation["rows_without_face"] == 0
    assert (out / "validation-confusion.png").stat().st_size > 1000
    card = (folder / "card.md").read_text()
    for part in ("made up", "pyemo train t", "iBUG 300-W", "(36 rows)", "linear support vector"):
        assert part in card
    model = read_candide_au(folder)
    test = (manifest.table["split"] == "test").to_numpy()
    result = evaluate_candide_au(model, manifest, test, file=out / "landmarks.safetensors")
    assert detector.calls == 60  # the landmarks were kept
    assert result.scores.accuracy > (0.9 if features == "au" else 0.7)
    assert result.evaluation.decisions["row"].tolist() == list(range(48, 60))
    np.testing.assert_allclose(result.evaluation.probabilities.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(DataError, match="none of the 0 rows"):
        evaluate_candide_au(model, manifest, np.zeros(60, bool))


def test_a_neutral_image_of_the_person_is_worth_something(world):
    """Action units from the subject's neutral rows, or from a named image, are nearer to the truth than from the face itself."""
    manifest, _ = world
    truth = np.array([UNITS[label] for label in manifest.table["label"]])
    errors = {}
    for how in ("neutral", "first-frames", "none"):
        samples = read_samples(manifest, recipe(personalise=how))
        assert samples.features.shape == (60, 8)
        assert samples.rows.tolist() == list(range(60))
        errors[how] = np.abs(samples.features - truth)[:, :5].mean()
    assert errors["neutral"] < 0.5 * min(errors["first-frames"], errors["none"])


def test_neutral_column(world, tmp_path):
    """The image that a row names is measured too, once, and its shape used."""
    manifest, detector = world
    table = manifest.table.copy()
    paths = [str(tmp_path / f"{6 * person + 2}.png") for person in range(10)]  # each person's first neutral image
    for person, path in enumerate(paths):
        cv2.imwrite(path, np.full((48, 48, 3), 6 * person + 2, np.uint8))
    table["neutral"] = [paths[row // 6] for row in range(60)]
    table["label"] = "happy"  # no neutral rows to learn from
    samples = read_samples(Manifest(table, tuple(LABELS), manifest.images), recipe())
    assert detector.calls == 70
    truth = np.array([UNITS[label] for label in manifest.table["label"]])
    assert np.abs(samples.features - truth)[:, :5].mean() < 0.2


def test_a_data_set_without_splits(world, tmp_path):
    """The first fold of subjects validates, or nothing does."""
    manifest, _ = world
    whole = Manifest(manifest.table.assign(split=None), tuple(LABELS), manifest.images)
    folder = train_candide_au(svm(), whole, tmp_path / "fold", data="d", command="c")
    card = (folder / "card.md").read_text()
    assert "d, without fold 1 (48 rows)" in card
    assert "On the 12 rows of fold 1 (which chose nothing)" in card
    folder = train_candide_au(svm(validation_splits=[]), whole, tmp_path / "all", data="d", command="c")
    assert "d, all rows (60 rows)" in (folder / "card.md").read_text()
    assert not (tmp_path / "all" / "validation.json").exists()
    nobody = Manifest(whole.table.assign(subject=None), tuple(LABELS), manifest.images)
    with pytest.raises(DataError, match="does not say who its subjects are"):
        train_candide_au(svm(), nobody, tmp_path / "other", data="d", command="c")


def test_rows_without_a_face_are_wrong_and_named(world, tmp_path):
    manifest, _ = world
    manifest.images[[0, 50]] = 250
    out = tmp_path / "run"
    folder = train_candide_au(svm(), manifest, out, data="synthetic", command="c")
    assert (out / "problems.txt").read_text().splitlines() == [f"image-{row}: {TOO_SMALL}" for row in (0, 50)]
    test = (manifest.table["split"] == "test").to_numpy()
    result = evaluate_candide_au(read_candide_au(folder), manifest, test)
    assert len(result.evaluation.truth) == 11
    assert result.scores.confusion.sum() == 12
    assert result.scores.confusion[:, -1].sum() == 1
    assert result.scores.accuracy <= 11 / 12
    manifest.images[:] = 250
    with pytest.raises(DataError, match="no face with landmarks in the 36 training rows"):
        train_candide_au(svm(), manifest, tmp_path / "other", data="synthetic", command="c")


def test_cross_validation(world, tmp_path):
    manifest, detector = world
    folds = np.arange(60) // 6 % 3
    results = cross_validate_candide_au(svm(), manifest, folds, file=tmp_path / "landmarks.safetensors")
    assert [len(result.evaluation.truth) for result in results] == [24, 18, 18]
    assert np.mean([result.scores.accuracy for result in results]) > 0.9
    assert detector.calls == 60


def test_an_interrupted_measurement_goes_on(world, tmp_path):
    manifest, detector = world
    inputs = [Input(f"image-{row}", image=image) for row, image in enumerate(manifest.images)]
    file = tmp_path / "landmarks.safetensors"

    def stop(done, total):
        assert total == 60
        if done == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(inputs, detector, settings="a", file=file, progress=stop)
    assert detector.calls == 25
    done = measure(inputs, detector, settings="a", file=file, progress=None)
    assert detector.calls == 60
    # Measured in the picture enlarged to 240 pixels, given for its 48.
    np.testing.assert_allclose(np.concatenate(done.points), (detector.landmarks + 0.5) / 5 - 0.5, atol=1e-3)
    again = measure(inputs, detector, settings="a", file=file, progress=None)
    assert detector.calls == 60
    np.testing.assert_array_equal(np.concatenate(again.points), np.concatenate(done.points))
    measure(inputs, detector, settings="b", file=file, progress=None)  # other settings: from the beginning
    assert detector.calls == 120
    file.write_bytes(b"damaged")
    measure(inputs, detector, settings="b", file=file, progress=None)
    assert detector.calls == 180


def test_no_such_file_and_no_face(world, tmp_path, dlib_68):
    found = measure([Input(str(tmp_path / "absent.png"))], dlib_68, settings="", file=None, progress=None)
    assert "absent.png" in found.problems[0]
    assert len(found.points[0]) == 0


def test_real_clips_images_and_sequences(dlib_68, shared_data, tmp_path):
    clips = shared_data / "clips"
    folder = tmp_path / "frames"
    folder.mkdir()
    picture = cv2.cvtColor(read_image(clips / "single_face.jpg"), cv2.COLOR_RGB2BGR)
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    inputs = [
        Input(str(clips / "single_face.mp4"), 0.5, 1.0),
        Input(str(clips / "single_face.jpg")),
        Input(str(folder)),
        Input(str(clips / "no_face.mp4"), 0.0, 0.4),
    ]
    found = measure(inputs, dlib_68, settings="", file=None, progress=None)
    assert 13 <= len(found.points[0]) <= 16
    assert [len(points) for points in found.points[1:]] == [1, 3, 0]
    assert found.problems == ["", "", "", NO_FACE]
    np.testing.assert_allclose(found.points[2][1], found.points[1][0], atol=6)


def test_a_small_picture_is_a_face(dlib_68, shared_data):
    """48 pixels, framed as FER2013 does: the landmarks of the photograph, shrunken."""
    image = read_image(shared_data / "clips" / "single_face.jpg")
    face = dlib_68.detect([image])[0][0]
    crop = crop_faces(image, [Face(face.box, 1.0)], size=48, channels=1, frame=dlib_68.crop_frame)[0, 0]
    found = measure([Input("x", image=crop)], dlib_68, settings="", file=None, progress=None).points[0][0]
    x, y, width, height = face.box
    frame = dlib_68.crop_frame
    side = frame.scale * np.sqrt(width * height)
    corner = (x + width * (0.5 + frame.dx) - side / 2, y + height * (0.5 + frame.dy) - side / 2)
    expected = (face.landmarks - corner) * 48 / side
    apart = np.linalg.norm(np.subtract(*eye_centres(expected)))
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.06 * apart


def test_bad_data(world, tmp_path, monkeypatch):
    manifest, _ = world
    table = manifest.table.assign(split="test")
    with pytest.raises(DataError, match="no labelled rows in the splits train; the data set has test"):
        train_candide_au(svm(), Manifest(table, tuple(LABELS), manifest.images), tmp_path, data="d", command="c")
    one_class = Manifest(manifest.table.assign(label="happy"), tuple(LABELS), manifest.images)
    with pytest.raises(DataError, match="at least two classes"):
        train_candide_au(svm(personalise="none"), one_class, tmp_path, data="d", command="c")
    foreign = Manifest(manifest.table.assign(label="bored"), ("bored",), manifest.images)
    with pytest.raises(
        DataError, match="no row has one of the recipe's labels happy, surprise, neutral; the data set has bored"
    ):
        class_indices(foreign, svm())
    leaky = manifest.table.copy()
    leaky.loc[0, "split"] = "validation"
    with pytest.raises(DataError, match="person 0"):
        train_candide_au(svm(), Manifest(leaky, tuple(LABELS), manifest.images), tmp_path, data="d", command="c")
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "empty"))
    with pytest.raises(AssetError, match=r"'candide3'.*not on this machine"):
        read_samples(manifest, svm())
    monkeypatch.undo()
    with pytest.raises(PluginError, match="'dlib-68'"):
        read_samples(manifest, recipe(features="fp68", detector={"name": "dlib"}))
