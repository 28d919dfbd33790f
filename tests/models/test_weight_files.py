"""Local weight files of backbones."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from pyemo import plugins
from pyemo.errors import ModelError

Tensors = dict[str, Tensor]


def create(name: str = "timm", **options: Any) -> Any:
    return plugins.create("backbones", name, **options)


@pytest.fixture(scope="module")
def resnet() -> Tensors:
    """Weights of a classifier of 11 classes."""
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=11).state_dict()


def fits(backbone: Any, tensors: Tensors) -> bool:
    found = backbone.model.state_dict()
    return all(torch.equal(found[name], tensors[name]) for name in found)


@pytest.mark.parametrize("form", ["safetensors", "plain", "checkpoint"])
def test_forms(resnet: Tensors, form: str, tmp_path: Path) -> None:
    file = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(resnet, file)
    elif form == "plain":
        torch.save(resnet, file)
    else:
        torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in resnet.items()}, "epoch": 3}, file)
    backbone = create(architecture="test_resnet", weights=str(file))
    assert fits(backbone, resnet)
    assert not any(name.startswith("fc.") for name in backbone.model.state_dict())


def test_other_channels(resnet: Tensors, tmp_path: Path) -> None:
    save_file(resnet, tmp_path / "w.safetensors")
    backbone = create(architecture="test_resnet", weights=str(tmp_path / "w.safetensors"), in_channels=1)
    x = torch.rand(1, 1, 1, 32, 32)
    rgb = create(architecture="test_resnet", weights=str(tmp_path / "w.safetensors"))
    torch.testing.assert_close(backbone.eval()(x), rgb.eval()(x.repeat(1, 1, 3, 1, 1)))


def test_other_image_size(tmp_path: Path) -> None:
    """timm's own conversion resizes the position embeddings."""
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "w.pth")
    backbone = create(architecture="test_vit", weights=str(tmp_path / "w.pth"), image_size=96)
    assert backbone.model.pos_embed.shape == (1, 37, 64)
    assert backbone(torch.zeros(1, 1, 3, 96, 96)).shape == (1, 1, 64)


def test_torchvision_and_vgg_face(tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    weights = squeezenet1_1(num_classes=5).state_dict()
    torch.save(weights, tmp_path / "w.pth")
    assert fits(create("torchvision", architecture="squeezenet1_1", weights=str(tmp_path / "w.pth")), weights)
    # VGG-16 itself would be half a gigabyte: its names and shapes must do.
    with torch.device("meta"):
        backbone = create("vgg-face")
    blocks = {1: (3, 64, 2), 2: (64, 128, 2), 3: (128, 256, 3), 4: (256, 512, 3), 5: (512, 512, 3)}
    original = {}
    for block, (before, filters, convolutions) in blocks.items():
        for index in range(1, convolutions + 1):
            original[f"conv{block}_{index}.weight"] = (filters, before if index == 1 else filters, 3, 3)
            original[f"conv{block}_{index}.bias"] = (filters,)
    original |= {"fc6.weight": (4096, 512, 7, 7), "fc6.bias": (4096,), "fc7.weight": (4096, 4096, 1, 1)}
    original |= {"fc7.bias": (4096,), "fc8.weight": (2622, 4096, 1, 1), "fc8.bias": (2622,)}
    converted = backbone.converted({name: torch.empty(shape, device="meta") for name, shape in original.items()})
    expected = {name: tuple(tensor.shape) for name, tensor in backbone.model.state_dict().items()}
    expected |= {"classifier.6.weight": (2622, 4096), "classifier.6.bias": (2622,)}
    assert {name: tuple(tensor.shape) for name, tensor in converted.items()} == expected
    assert list(converted) == list(expected)  # the same order: first layers are first
    own = backbone.model.state_dict()
    assert backbone.converted(own) == own


def test_weights_that_do_not_fit(resnet: Tensors, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"

    def load(tensors: Tensors) -> None:
        save_file(tensors, file)
        create(architecture="test_resnet", weights=str(file))

    less = {name: tensor for name, tensor in resnet.items() if name != "conv1.0.weight" and name != "bn1.bias"}
    with pytest.raises(ModelError, match=r"w\.safetensors does not fit: missing .*bn1\.bias"):
        load(less)
    with pytest.raises(ModelError, match=r"does not fit: unexpected gone\.weight"):
        load({**resnet, "gone.weight": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"does not fit: 'bn1\.bias' has the shape \(3,\), expected \(32,\)"):
        load({**resnet, "bn1.bias": torch.zeros(3)})
    vit = tmp_path / "vit.pth"
    torch.save(timm.create_model("test_vit").state_dict(), vit)
    with pytest.raises(ModelError, match=r"missing .* and \d+ more; unexpected .* and \d+ more"):
        create(architecture="test_resnet", weights=str(vit))
    with pytest.raises(ModelError, match="does not fit"):
        create(architecture="test_vit", weights=str(file))


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (logging.warning, ("executed",))


def test_files_that_are_no_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    contents: dict[str, Any] = {"code.pth": {"a": Payload()}, "list.pth": [1, 2], "words.pth": {"a": "b"}}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "text.pth").write_text("not weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("not weights")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(ModelError, match=rf"weights: \S*{file.name}"):
            create(architecture="test_resnet", weights=str(file))
    assert "executed" not in caplog.text
    with pytest.raises(ModelError, match=r"weights: there is no file gone\.pth"):
        create(architecture="test_resnet", weights="gone.pth")
