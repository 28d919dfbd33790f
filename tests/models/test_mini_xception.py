"""mini-Xception: the published architecture, the authors' weights, and FER2013."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from torch import nn

from pyemo import assets, plugins
from pyemo.cli import main
from pyemo.config import ClassifierRecipe, FaceInput, load_recipe
from pyemo.data.faces import to_input
from pyemo.errors import ModelError
from pyemo.model import build_model
from pyemo.weights import LoadedModel, load_model
from pyemo.weights.keras import import_mini_xception

KERAS_FILE = "weights/fer2013_mini_XCEPTION.102-0.66.hdf5"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def imported(shared_data: Path, home: Path) -> LoadedModel:
    assets.import_file(shared_data / KERAS_FILE)
    return load_model("mini-xception-keras")


def pattern(height: int, width: int) -> torch.Tensor:
    row, column = np.mgrid[0:height, 0:width]
    return torch.from_numpy(np.sin(row * 0.3) * np.cos(column * 0.2)).float()[None, None, None]


def test_parameters_as_keras_counts_them() -> None:
    state = plugins.create("backbones", "mini-xception").state_dict()
    counted = sum(tensor.numel() for key, tensor in state.items() if not key.endswith("num_batches_tracked"))
    assert counted == 58_423


def test_options() -> None:
    backbone = plugins.create("backbones", "mini-xception", num_classes=4, in_channels=3).eval()
    assert backbone.feature_dim == 4
    assert backbone.modality == "face"
    x = torch.rand(2, 3, 3, 64, 64)
    features = backbone(x)
    assert features.shape == (2, 3, 4)
    torch.testing.assert_close(features[1, 2], backbone(x[1:, 2:])[0, 0])


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        # Values before the softmax, from Keras 3.15.1 on TensorFlow 2.21 with the same file. Between them the sizes make every
        # pooling layer meet odd and even maps, which TensorFlow pads differently.
        (pattern(64, 64), [2.7587888, -5.715877, 0.31308812, 1.2319384, 1.2893974, -6.198927, 4.7012744]),
        (-pattern(64, 64), [3.5937254, -5.2359023, 0.7357638, 0.07808499, 0.9717948, -6.5654006, 4.2229476]),
        (pattern(48, 48), [2.9008048, -5.101589, -0.40373242, 0.564475, 0.55206996, -4.6109943, 2.4412189]),
        (pattern(47, 66), [3.7511396, -2.9725897, 0.29666004, 0.66675216, 0.9739094, -5.7532907, 3.4960442]),
    ],
)
def test_same_values_as_keras(imported: LoadedModel, x: torch.Tensor, expected: list[float]) -> None:
    with torch.inference_mode():
        features = imported.model.backbones["face"](x)
    torch.testing.assert_close(features[0, 0], torch.tensor(expected), atol=2e-5, rtol=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_accuracy_on_fer2013(imported: LoadedModel, shared_data: Path) -> None:
    images, targets = [], []
    with zipfile.ZipFile(shared_data / "fer2013.zip") as archive:
        files = [info for info in archive.infolist() if info.filename.endswith(".jpg")]
        tested = [info for info in files if "/test/" in info.filename]
        for info in tested:
            face = cv2.imdecode(np.frombuffer(archive.read(info), np.uint8), cv2.IMREAD_GRAYSCALE)
            # Exact: plain INTER_LINEAR is a tenth of a grey level too dark on average where OpenCV has Intel's IPP.
            images.append(cv2.resize(face, (64, 64), interpolation=cv2.INTER_LINEAR_EXACT))
            targets.append(imported.recipe.labels.index(info.filename.split("/")[-2]))
    seen = {(info.CRC, info.file_size) for info in files if "/test/" not in info.filename}
    new = torch.tensor([(info.CRC, info.file_size) not in seen for info in tested])

    crops = torch.from_numpy(np.stack(images))[:, None]
    face_input = imported.recipe.model.modalities["face"].input
    model = imported.model.to(memory_format=torch.channels_last)  # several times as fast on a CPU
    with torch.inference_mode():
        logits = torch.cat([model({"face": to_input(batch, face_input)[:, None]}).logits for batch in crops.split(64)])
    right = (logits.argmax(dim=1) == torch.tensor(targets)).double()
    assert (len(right), int(new.sum())) == (3589, 3275)
    assert float(right.mean()) == pytest.approx(0.657, abs=0.001)
    assert float(right[new].mean()) == pytest.approx(0.643, abs=0.001)


def test_import_command_makes_a_model_folder(shared_data: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["assets", "import", str(shared_data / KERAS_FILE)]) == 0
    folder = home / "models" / "mini-xception-keras"
    assert str(folder) in capsys.readouterr().out
    card = (folder / "card.md").read_text()
    # What the weights need, whatever the recipe for training an own mini-Xception says.
    face_input = load_model("mini-xception-keras").recipe.model.modalities["face"].input
    assert face_input == FaceInput(size=64, channels=1, normalization="fixed", mean=0.5, std=0.5)
    for part in (assets.ASSETS["mini-xception-keras"].sha256, "MIT", "FER2013"):
        assert part in card
    assert load_model("mini-xception-keras").folder == folder


# Made-up weights in Keras's layout, so that the conversion is tested without the real file as well.


def write_keras(file: Path, offset: int = 1) -> dict[str, np.ndarray]:
    """Layers as the authors' code makes them, numbered from ``offset`` (a second model of a session goes on counting)."""
    random = np.random.default_rng(0)
    layers: list[tuple[str, dict[str, tuple[int, ...]]]] = []

    def norm(size: int) -> None:
        layers.append(
            ("batch_normalization", dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (size,)))
        )

    for channels in (1, 8):
        layers.append(("conv2d", {"kernel": (3, 3, channels, 8)}))
        norm(8)
    for before, after in ((8, 16), (16, 32), (32, 64), (64, 128)):
        layers.append(("conv2d", {"kernel": (1, 1, before, after)}))
        norm(after)
        for channels in (before, after):
            shapes = {"depthwise_kernel": (3, 3, channels, 1), "pointwise_kernel": (1, 1, channels, after)}
            layers.append(("separable_conv2d", shapes))
            norm(after)
    layers.append(("conv2d", {"kernel": (3, 3, 128, 7), "bias": (7,)}))

    counters: dict[str, int] = {}
    written = {}
    with h5py.File(file, "w") as hdf5:
        group = hdf5.create_group("model_weights")
        names = []
        for kind, shapes in layers:
            number = counters[kind] = counters.get(kind, offset - 1) + 1
            name = f"{kind}_{number}" if number else kind
            names.append(name)
            paths = []
            for key, shape in shapes.items():
                value = random.uniform(0.5, 1.5, shape).astype(np.float32)
                group.create_dataset(f"{name}/{name}/{key}:0", data=value)
                paths.append(f"{name}/{key}:0".encode())
                written[f"{kind}_{number - offset + 1}/{key}"] = value
            group[name].attrs["weight_names"] = paths
        random.shuffle(names)  # the order in the file is the order of the graph, not that of the numbers
        group.attrs["layer_names"] = [name.encode() for name in names]
    return written


@pytest.mark.parametrize("offset", [0, 1, 8])
def test_conversion_of_any_numbering(tmp_path: Path, home: Path, offset: int) -> None:
    written = write_keras(tmp_path / "own.hdf5", offset)
    folder = import_mini_xception(tmp_path / "own.hdf5", "own")
    assert folder == home / "models" / "own"
    net = load_model("own").model.backbones["face"]

    def check(parameter: torch.Tensor, key: str, axes: tuple[int, ...] | None = None) -> None:
        np.testing.assert_array_equal(
            parameter.detach().numpy(), written[key].transpose(axes) if axes else written[key]
        )

    check(net.stem[3].weight, "conv2d_2/kernel", (3, 2, 0, 1))
    check(net.blocks[3].shortcut[0].weight, "conv2d_6/kernel", (3, 2, 0, 1))
    check(net.head.bias, "conv2d_7/bias")
    check(net.blocks[1].body[0].weight, "separable_conv2d_3/depthwise_kernel", (2, 3, 0, 1))
    check(net.blocks[1].body[5].weight, "separable_conv2d_4/pointwise_kernel", (3, 2, 0, 1))
    # The shortcut's batch normalisation is made before the block's other two.
    check(net.blocks[0].shortcut[1].running_var, "batch_normalization_3/moving_variance")
    check(net.blocks[3].body[2].running_mean, "batch_normalization_13/moving_mean")
    check(net.blocks[3].body[6].weight, "batch_normalization_14/gamma")


def drop_layer(hdf5: h5py.File) -> None:
    group = hdf5["model_weights"]
    group.attrs["layer_names"] = [name for name in group.attrs["layer_names"] if name != "separable_conv2d_4"]


def widen(hdf5: h5py.File) -> None:
    del hdf5["model_weights/conv2d_7/conv2d_7/kernel:0"]
    hdf5["model_weights/conv2d_7/conv2d_7/kernel:0"] = np.zeros((3, 3, 128, 8), np.float32)


def forget_names(hdf5: h5py.File) -> None:
    del hdf5["model_weights"].attrs["layer_names"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop_layer, r"is not mini-Xception: it has the layers .*'separable_conv2d': 7.*expected .*8"),
        (widen, r"convolution 6: kernel has the shape \(3, 3, 128, 8\), which does not fit"),
        (forget_names, "not readable as Keras HDF5 weights"),
    ],
)
def test_other_networks_are_refused(
    tmp_path: Path, home: Path, damage: Callable[[h5py.File], None], message: str
) -> None:
    write_keras(tmp_path / "own.hdf5")
    with h5py.File(tmp_path / "own.hdf5", "r+") as hdf5:
        damage(hdf5)
    with pytest.raises(ModelError, match=message):
        import_mini_xception(tmp_path / "own.hdf5", "own")
    assert not (home / "models" / "own").exists()


def test_import_of_own_weights_by_command(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.hdf5"
    write_keras(file)
    assert main(["assets", "import", str(file)]) == 1  # not a known file
    assert main(["assets", "import", str(file), "--as", "own"]) == 0
    assert load_model("own").recipe.name == "own"
    assert "not known to pyemo" in (home / "models" / "own" / "card.md").read_text()
    for name in ("default", "mini-xception-keras", "../outside", ".hidden", ""):
        assert main(["assets", "import", str(file), "--as", name]) == 1
    file.write_bytes(b"no HDF5")
    capsys.readouterr()
    assert main(["assets", "import", str(file), "--as", "own"]) == 1
    assert "not readable as Keras HDF5 weights" in capsys.readouterr().err
    assert sorted(path.name for path in (home / "models").iterdir()) == ["own"]


def test_fresh_network_is_initialised_as_keras_does() -> None:
    recipe = load_recipe("mini-xception")
    assert isinstance(recipe, ClassifierRecipe)
    torch.manual_seed(0)
    net = build_model(recipe).backbones["face"]
    depthwise = net.blocks[3].body[4].weight  # Keras: fan_in = 9 * channels, fan_out = 9 * multiplier
    limit = (6 / (9 * 128 + 9)) ** 0.5
    assert 0.95 * limit < depthwise.abs().max().item() <= limit
    assert not net.head.bias.any()
    assert {module.eps for module in net.modules() if isinstance(module, nn.BatchNorm2d)} == {1e-3}
