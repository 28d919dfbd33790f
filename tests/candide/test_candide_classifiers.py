"""Support vector machines and dense networks of feature vectors, and their folders."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sklearn.svm import SVC, LinearSVC

from pyemo.candide_au.dense import DenseNetwork, train_dense
from pyemo.candide_au.features import landmark_features
from pyemo.candide_au.model import CandideAuModel, read_candide_au, save_candide_au, train_model
from pyemo.candide_au.svm import JointMachine, PairMachines, SvmClassifier, train_svm
from pyemo.config.candide_au import CandideAuRecipe, VectorClassifierConfig
from pyemo.errors import DataError, ModelError

LABELS = ["angry", "happy", "sad", "neutral"]
KINDS = ["svm-linear", "svm-poly", "ssvm", "dense"]


def blobs(count=160, width=8, classes=4, seed=0, spread=0.5):
    """(count, width) float32 around a centre a class, features of very different sizes, and the classes."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    targets = np.arange(count) % classes
    features = (centres[targets] + spread * random.normal(size=(count, width))) * np.geomspace(0.01, 100, width)
    return features.astype(np.float32), targets


def recipe(name, features="au", labels=LABELS, **options):
    classifier = VectorClassifierConfig(name=name, epochs=options.pop("epochs", 60), learning_rate=0.01, **options)
    return CandideAuRecipe(name="t", system="candide-au", labels=labels, features=features, classifier=classifier)


def train(name, seed=0, width=8, **options):
    features, targets = blobs(width=width)
    made = recipe(name, "au" if width == 8 else "fp68", **options)
    return train_model(made, features, targets, [None] * len(targets), (features[:0], targets[:0]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [8, 136])
def test_learns_and_survives_its_folder(tmp_path, kind, width):
    model = train(kind, width=width)
    unseen, truth = blobs(width=width, seed=1)
    probabilities = model.probabilities(unseen)
    assert probabilities.shape == (160, 4)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.9
    folder = save_candide_au(tmp_path / "model", model, "# card\n")
    assert sorted(path.name for path in folder.iterdir()) == ["card.md", "config.yaml", "model.safetensors"]
    again = read_candide_au(folder)
    assert again.recipe == model.recipe
    np.testing.assert_array_equal(again.probabilities(unseen), probabilities)
    assert again.probabilities(unseen[:0]).shape == (0, 4)
    with pytest.raises(ValueError, match=rf"must be \(N, {width}\), got \(160, {width - 1}\)"):
        model.probabilities(unseen[:, 1:])


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("kind", ["svm-linear", "svm-poly"])
def test_pairs_decide_as_scikit_learn(classes, kind):
    """The arrays kept are enough: the same decisions as the machine they come from, at one C."""
    features, targets = blobs(120, classes=classes, spread=1.5)
    model = train_svm(features, targets, [None] * 120, VectorClassifierConfig(name=kind, c=[2.0]), seed=0)
    assert isinstance(model.machine, PairMachines)
    scaled = (features - features.mean(axis=0, dtype=np.float64)) / features.std(axis=0, dtype=np.float64)
    kernel = {"kernel": "linear"} if kind == "svm-linear" else {"kernel": "poly", "gamma": "auto", "coef0": 1.0}
    theirs = SVC(C=2.0, break_ties=True, **kernel).fit(scaled, targets)
    others = np.random.default_rng(5).normal(size=(200, 8))
    ours = model.machine.decide(others)
    np.testing.assert_array_equal(ours.argmax(axis=1), theirs.predict(others))
    if classes > 2:
        np.testing.assert_allclose(ours, theirs.decision_function(others), atol=1e-9)
    else:
        np.testing.assert_allclose(np.sign(ours[:, 1] - ours[:, 0]), np.sign(theirs.decision_function(others)))


def test_ssvm_minimises_the_structured_hinge():
    """No other weights nearby have a lower 0.5 |w|^2 + C sum max_y [1(y != y_i) + w_y x - w_{y_i} x]."""
    features, targets = blobs(90, classes=3, spread=1.5)
    c = 0.5
    model = train_svm(features, targets, [None] * 90, VectorClassifierConfig(name="ssvm", c=[c]), seed=0)
    assert isinstance(model.machine, JointMachine)
    scaled = np.column_stack(((features - model.mean) / model.deviation, np.ones(90)))

    def objective(weights):
        scores = scaled @ weights.T
        margins = scores + (np.arange(3) != targets[:, None]) - scores[np.arange(90), targets][:, None]
        return 0.5 * (weights**2).sum() + c * margins.max(axis=1).sum()

    weights = np.column_stack((model.machine.weights, model.machine.offsets))
    best = objective(weights)
    random = np.random.default_rng(0)
    for size in (0.003, 0.03, 0.3):
        for _ in range(50):
            assert objective(weights + size * random.normal(size=weights.shape)) > best - 1e-3 * best
    theirs = LinearSVC(C=c, multi_class="crammer_singer", max_iter=20_000, random_state=0).fit(scaled[:, :-1], targets)
    np.testing.assert_allclose(model.machine.weights, theirs.coef_, atol=1e-6)


def test_c_is_the_one_that_cross_validates_best():
    features, targets = blobs(120, spread=2.0)
    config = VectorClassifierConfig(name="svm-poly", c=[1e-4, 1.0])
    assert train_svm(features, targets, [None] * 120, config, seed=0).c == 1.0


def test_probabilities_are_as_sure_as_the_machine_is_right():
    """Hard data gives cautious probabilities, easy data confident ones."""
    sure = []
    for spread in (0.3, 2.5):
        features, targets = blobs(200, spread=spread)
        model = train_svm(features, targets, [None] * 200, VectorClassifierConfig(name="svm-linear", c=[1.0]), seed=0)
        unseen, truth = blobs(200, spread=spread, seed=7)
        found = model.probabilities(unseen, 4)
        sure.append(found.max(axis=1).mean())
        assert sure[-1] == pytest.approx((found.argmax(axis=1) == truth).mean(), abs=0.12)
    assert sure[0] > sure[1] + 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_without_samples(kind):
    features, targets = blobs(120, classes=3)
    targets = np.array((0, 1, 3))[targets]
    made = recipe(kind)
    model = train_model(made, features, targets, [None] * 120, (features[:0], targets[:0]))
    probabilities = model.probabilities(features)
    assert probabilities.shape == (120, 4)
    assert (probabilities.argmax(axis=1) != 2).all()
    if kind != "dense":
        assert (probabilities[:, 2] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_only(kind):
    features, _ = blobs(40)
    with pytest.raises(DataError, match="at least two classes"):
        train_model(recipe(kind), features, np.zeros(40, int), [None] * 40, (features[:0], np.zeros(0, int)))


def test_networks_of_the_thesis():
    small, large = DenseNetwork("au", 4), DenseNetwork("fp68", 4)
    assert [tuple(parameter.shape) for parameter in small.parameters()] == [(8, 8), (8,), (4, 8), (4,)]
    assert [tuple(p.shape) for p in large.parameters()] == [(16, 136), (16,), (16,), (16,), (4, 16), (4,)]
    assert [type(layer).__name__ for layer in large.layers] == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]
    assert large.layers[3].p == 0.8
    large.train()
    assert torch.isfinite(large(torch.randn(5, 136))).all()


def test_dense_training_is_repeatable_and_stops_early():
    features, targets = blobs(66)  # a last batch of one would break batch norm
    features = np.tile(features, (1, 17))
    config = VectorClassifierConfig(epochs=40, batch_size=13, patience=3, learning_rate=0.05)
    unseen, truth = blobs(40, seed=1)
    held_out = np.tile(unseen, (1, 17)), np.random.default_rng(0).permutation(truth)  # cannot be learned
    state = torch.get_rng_state()
    one, two = (train_dense(features, targets, held_out, config, kind="fp68", classes=4, seed=3) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.epochs == two.epochs < 40
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, two.arrays()[name])


def test_balanced_class_weights():
    """A rare class among overlapping ones is found more often where its errors weigh more."""
    random = np.random.default_rng(0)
    targets = (np.arange(400) % 10 == 0).astype(int)
    features = (random.normal(size=(400, 8)) + 0.5 * targets[:, None]).astype(np.float32)
    for kind in KINDS:
        found = []
        for weights in ("none", "balanced"):
            made = recipe(kind, labels=LABELS[:2], class_weights=weights, epochs=20)
            model = train_model(made, features, targets, [None] * 400, (features[:0], targets[:0]))
            found.append((model.probabilities(features).argmax(axis=1)[targets == 1] == 1).mean())
        assert found[1] > found[0] + 0.1, kind


def test_bad_folders(tmp_path):
    model = train("svm-linear", c=[1.0])
    folder = save_candide_au(tmp_path / "model", model, "# card\n")
    save_candide_au(folder, model, "# replaced\n")
    assert (folder / "card.md").read_text() == "# replaced\n"
    arrays = load_file(folder / "model.safetensors")
    del arrays["offsets"]
    save_file(arrays, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors does not fit .*config.yaml: 'offsets'"):
        read_candide_au(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="does not fit"):
        read_candide_au(folder)
    (folder / "config.yaml").write_text("system: threshold\n")
    with pytest.raises(ModelError, match="is not a recipe of the system candide-au"):
        read_candide_au(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model\.safetensors is missing"):
        read_candide_au(folder)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="is not a model folder"):
        save_candide_au(tmp_path / "mine", model, "# card\n")
    dense = save_candide_au(tmp_path / "dense", train("dense", epochs=1), "# card\n")
    other = recipe("dense", "fp68")
    (dense / "config.yaml").write_text(json.dumps(other.model_dump(mode="json")))
    with pytest.raises(ModelError, match="does not fit"):
        read_candide_au(dense)


def test_svm_arrays_are_all_of_it():
    model = train("svm-poly", c=[1.0])
    assert isinstance(model, CandideAuModel)
    assert isinstance(model.classifier, SvmClassifier)
    again = SvmClassifier.from_arrays(model.classifier.arrays())
    features, _ = blobs()
    np.testing.assert_array_equal(again.probabilities(features, 4), model.probabilities(features))


def test_landmark_features_forget_place_size_and_roll():
    points = np.random.default_rng(0).uniform(0, 100, (3, 68, 2))
    angle = 0.4
    turn = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))))
    features = landmark_features(points)
    assert features.shape == (3, 136)
    np.testing.assert_allclose(landmark_features(3 * points @ turn + (50, -20)), features, atol=1e-5)
    rows = features.reshape(3, 68, 2)
    np.testing.assert_allclose(rows[:, 36:42].mean(axis=1), [(-0.5, 0)] * 3, atol=1e-6)
    np.testing.assert_allclose(rows[:, 42:48].mean(axis=1), [(0.5, 0)] * 3, atol=1e-6)
    mirrored = landmark_features(points * (-1, 1))
    assert not np.allclose(mirrored, features, atol=0.1)
