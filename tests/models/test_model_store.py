"""Model folders: written whole, read exactly, refused with a reason."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.errors import AssetError, ConfigError, ModelError
from pyemo.model import EmotionModel, build_model
from pyemo.weights import load_model, model_names, save_model
from pyemo.weights.store import CARD, CONFIG, WEIGHTS


@pytest.fixture(scope="module")
def recipe() -> ClassifierRecipe:
    found = load_recipe("mini-xception")
    assert isinstance(found, ClassifierRecipe)
    return found


@pytest.fixture(scope="module")
def model(recipe: ClassifierRecipe) -> EmotionModel:
    torch.manual_seed(3)
    net = build_model(recipe)
    net({"face": torch.randn(8, 1, 1, 64, 64)})  # running statistics that are not the initial ones
    return net.eval()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYEMO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path, model: EmotionModel, recipe: ClassifierRecipe) -> Path:
    return save_model(tmp_path / "runs" / "model", model, recipe, "# Card\n")


def test_round_trip_is_exact(folder: Path, model: EmotionModel, recipe: ClassifierRecipe) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([CARD, CONFIG, WEIGHTS])
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    assert (folder / CARD).read_text() == "# Card\n"
    torch.manual_seed(99)
    loaded = load_model(folder)
    assert loaded.recipe == recipe
    assert loaded.folder == folder
    assert not any(module.training for module in loaded.model.modules())
    expected = model.state_dict()
    found = loaded.model.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_file_that_training_began_with_need_not_be_there(tmp_path: Path) -> None:
    torch.manual_seed(5)
    began = tmp_path / "began.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=11).state_dict(), began)
    began_with = load_recipe(
        "mini-xception",
        [
            "model.modalities.face.input={size: 32, channels: 3}",
            f"model.modalities.face.backbone={{name: timm, options: {{architecture: test_resnet, weights: {began}}}}}",
            "model.fusion.name=linear",
        ],
    )
    assert isinstance(began_with, ClassifierRecipe)
    net = build_model(began_with)
    folder = save_model(tmp_path / "model", net, began_with, "# Card\n")
    began.unlink()
    with pytest.raises(ModelError, match="there is no file"):
        build_model(began_with)
    found = load_model(folder).model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in net.state_dict().items())


def test_float16_halves_the_file_and_loads_as_float32(
    folder: Path, tmp_path: Path, model: EmotionModel, recipe: ClassifierRecipe
) -> None:
    half = save_model(tmp_path / "half", model, recipe, "", storage="float16")
    assert (half / WEIGHTS).stat().st_size < 0.6 * (folder / WEIGHTS).stat().st_size
    found = load_model(half).model.state_dict()
    for key, tensor in model.state_dict().items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor.half().float() if tensor.is_floating_point() else tensor)


def test_float16_does_not_turn_weights_into_infinity(tmp_path: Path, recipe: ClassifierRecipe) -> None:
    large = build_model(recipe)
    with torch.no_grad():
        large.backbones["face"].head.bias[2] = 1e5
    with pytest.raises(ModelError, match=r"'backbones.face.head.bias' has values up to 1e\+05, too large for float16"):
        save_model(tmp_path / "m", large, recipe, "", storage="float16")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_a_model_but_nothing_else(
    folder: Path, tmp_path: Path, model: EmotionModel, recipe: ClassifierRecipe
) -> None:
    (folder / "left over").write_text("")
    save_model(folder, model, recipe, "# Second\n")
    assert (folder / CARD).read_text() == "# Second\n"
    assert not (folder / "left over").exists()
    precious = tmp_path / "precious"
    precious.mkdir()
    save_model(precious, model, recipe, "")  # empty: fine
    for file in precious.iterdir():
        file.unlink()
    (precious / "thesis.tex").write_text("years")
    with pytest.raises(ModelError, match="precious is not a model folder; it is not overwritten"):
        save_model(precious, model, recipe, "")
    assert [path.name for path in precious.iterdir()] == ["thesis.tex"]


def test_a_failed_save_leaves_the_old_model(
    folder: Path, model: EmotionModel, recipe: ClassifierRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def fail_on_second(source: Path, target: Path) -> None:
        if Path(target) == folder and Path(source).name == "new":
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_on_second)
    with pytest.raises(OSError, match="no space left"):
        save_model(folder, model, recipe, "# Second\n")
    assert load_model(folder)
    assert (folder / CARD).read_text() == "# Card\n"
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def edit(tensors: dict[str, Tensor], key: str, value: Tensor | None) -> None:
    if value is None:
        del tensors[key]
    else:
        tensors[key] = value


HEAD, COUNTER = "backbones.face.head.bias", "backbones.face.stem.1.num_batches_tracked"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (HEAD, None, f"does not fit .*config.yaml: missing {HEAD}$"),
        ("extra.weight", torch.zeros(1), "unexpected extra.weight$"),
        (HEAD, torch.zeros(8), rf"'{HEAD}' has the shape \(8,\), expected \(7,\)"),
        (HEAD, torch.zeros(7, dtype=torch.int64), f"'{HEAD}' is torch.int64, expected torch.float32"),
        (COUNTER, torch.tensor(1.5), f"'{COUNTER}' is torch.float32, expected torch.int64"),
    ],
)
def test_weights_that_do_not_fit(folder: Path, key: str, value: Tensor | None, message: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    edit(tensors, key, value)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_of_weights_of_another_network_a_few_are_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({"extra.weight": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(
        ModelError, match=rf"missing ([\w.]+, ){{4}}[\w.]+ and {len(tensors) - 5} more; unexpected extra.weight$"
    ):
        load_model(folder)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), ModelError, f"{WEIGHTS} is missing"),
        (lambda folder: (folder / CONFIG).unlink(), ModelError, f"{CONFIG} is missing"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b""), ModelError, "not readable as safetensors"),
        (lambda folder: torch.save({}, folder / WEIGHTS), ModelError, "not readable as safetensors"),
        (lambda folder: truncate(folder / WEIGHTS), ModelError, "not readable as safetensors"),
        (lambda folder: save_file({}, folder / WEIGHTS, {"format_version": "2"}), ModelError, "has format version 2"),
        (lambda folder: (folder / CONFIG).write_text("labels: 3"), ConfigError, "config.yaml: "),
        (
            lambda folder: (folder / CONFIG).write_text("{name: t, system: threshold, thresholds: [0.5]}"),
            ModelError,
            "expected system: classifier, got threshold",
        ),
    ],
)
def test_damaged_folders(folder: Path, damage: Callable[[Path], object], error: type[Exception], message: str) -> None:
    damage(folder)
    with pytest.raises(error, match=message):
        load_model(folder)


def test_names(
    model: EmotionModel, recipe: ClassifierRecipe, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"no model is called 'mime', and no folder is there") as caught:
        load_model("mime")
    assert "Known by name: default" in str(caught.value)
    save_model(home / "models" / "mine", model, recipe, "")
    assert "mine" in model_names()
    assert load_model("mine").folder == home / "models" / "mine"
    with pytest.raises(ModelError, match=r"did you mean 'mine'\?"):
        load_model("mime")
    # A name wins over a folder in the working directory; ./ asks for the folder.
    monkeypatch.chdir(tmp_path)
    save_model("mine", model, recipe, "")
    save_model("local", model, recipe, "")
    assert load_model("mine").folder == home / "models" / "mine"
    assert load_model("./mine").folder == Path("mine")
    assert load_model(Path("mine")).folder == Path("mine")
    assert load_model("local").folder == Path("local")
    with pytest.raises(ModelError, match="'runs/absent', and no folder is there"):
        load_model("runs/absent")
    with pytest.raises(AssetError, match="pyemo assets pull mini-xception-keras"):
        load_model("mini-xception-keras")


HUB = """
from pyemo.errors import ModelError
from pyemo.weights import load_model
print(load_model("hf-hub:org/faces@v1").recipe.name)
try:
    load_model("hf-hub:org/others")
except ModelError as error:
    print(str(error))
"""


def test_hub(model: EmotionModel, recipe: ClassifierRecipe, tmp_path: Path) -> None:
    # What huggingface_hub leaves after a download, so that no network is needed; in a process of its own because it reads the
    # environment when it is imported.
    repository = tmp_path / "hub" / "models--org--faces"
    commit = "0123456789abcdef0123456789abcdef01234567"
    save_model(repository / "snapshots" / commit, model, recipe, "")
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens: connections are refused
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        environment = {
            **os.environ,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_ENDPOINT": endpoint,
            "HF_HUB_OFFLINE": "0",
        }
        done = subprocess.run([sys.executable, "-c", HUB], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found, refused = done.stdout.split("\n", 1)
    assert found == "mini-xception"
    assert refused.startswith("cannot fetch hf-hub:org/others: LocalEntryNotFoundError: ")
    assert "copy the model folder to this machine and give its path" in refused
