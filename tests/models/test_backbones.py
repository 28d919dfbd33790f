"""The published backbones: sizes, layers, steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyemo import plugins
from pyemo.contracts import Backbone, ModalityDims
from pyemo.errors import ConfigError, PluginError


def create(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return plugins.create("backbones", name, **options)


def on_meta(name: str, **options: Any) -> Any:
    with torch.device("meta"):
        return create(name, **options)


def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("architecture", "size", "features", "parameters"),
    [
        ("resnet18", 64, 512, 11_689_512 - 513_000),
        ("swin_tiny_patch4_window7_224", 224, 768, 28_288_354 - 769_000),
        ("regnety_016", 112, 888, 11_202_430 - 889_000),
        ("vit_base_patch16_224", 224, 768, 86_567_656 - 769_000),
        ("vit_base_patch16_224_miil", 224, 768, 85_771_008),
        ("vgg16", 224, 4096, 138_357_544 - 4_097_000),
        ("densenet121", 64, 1024, 7_978_856 - 1_025_000),
        ("resnet101", 64, 2048, 44_549_160 - 2_049_000),
        ("inception_v3", 96, 2048, 23_834_568 - 2_049_000),
        ("mobilenetv2_100", 64, 1280, 3_504_872 - 1_281_000),
    ],
)
def test_published_sizes_of_timm_models(architecture: str, size: int, features: int, parameters: int) -> None:
    """The known totals with 1000 classes, less their classifiers'."""
    backbone = on_meta("timm", architecture=architecture).eval()
    assert isinstance(backbone, Backbone)
    assert (backbone.feature_dim, backbone.modality, count(backbone)) == (features, "face", parameters)
    assert backbone(torch.zeros(2, 1, 3, size, size, device="meta")).shape == (2, 1, features)


@pytest.mark.parametrize(
    ("architecture", "features", "parameters"),
    [
        ("squeezenet1_0", 512, 1_248_424 - 513_000),
        ("squeezenet1_1", 512, 1_235_496 - 513_000),
        ("mobilenet_v2", 1280, 3_504_872 - 1_281_000),
        ("inception_v3", 2048, 27_161_264 - 3_326_696 - 2_049_000),  # less its auxiliary classifier's too
        ("swin_t", 768, 28_288_354 - 769_000),
    ],
)
def test_published_sizes_of_torchvision_models(architecture: str, features: int, parameters: int) -> None:
    backbone = on_meta("torchvision", architecture=architecture).train()
    assert (backbone.feature_dim, count(backbone)) == (features, parameters)
    assert backbone(torch.zeros(2, 1, 3, 96, 96, device="meta")).shape == (2, 1, features)


def test_the_thesis_counts_its_parameters() -> None:
    """26.813704 M (section 4.4): two ResNet-18 (RGB, and one channel of sound), two LSTMs, dense layers."""
    face = on_meta("timm", architecture="resnet18")
    voice = on_meta("timm", architecture="resnet18", in_channels=1, modality="voice")
    assert voice.modality == "voice"
    aggregators = [plugins.create("aggregators", "lstm", feature_dim=512) for _ in range(2)]
    lstm = ModalityDims(512, 512)
    fusion = plugins.create("fusions", "n0", dims={"face": lstm, "voice": lstm}, num_classes=8)
    dense = sum(count(part) for part in fusion.modules() if isinstance(part, nn.Linear))
    assert count(face) + count(voice) + sum(map(count, aggregators)) + dense == 26_813_704


TINY: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("timm", {"architecture": "test_resnet", "in_channels": 1, "modality": "voice"}, (1, 40, 56)),
    ("timm", {"architecture": "test_vit", "image_size": 32}, (3, 32, 32)),
    ("torchvision", {"architecture": "squeezenet1_1", "in_channels": 2}, (2, 40, 33)),
    ("cnn-1", {}, (1, 50, 50)),
    ("cnn-2", {"num_classes": 7, "in_channels": 3}, (3, 75, 75)),
    ("cnn-3", {"image_size": 50}, (1, 50, 50)),
]
every = pytest.mark.parametrize(
    ("name", "options", "step"), TINY, ids=lambda value: value if isinstance(value, str) else ""
)


@every
def test_steps_are_seen_one_by_one(name: str, options: dict[str, Any], step: tuple[int, int, int]) -> None:
    backbone = create(name, **options).eval()
    x = torch.randn(2, 3, *step)
    features = backbone(x)
    assert features.shape == (2, 3, backbone.feature_dim)
    torch.testing.assert_close(backbone(x[1:, 2:]), features[1:, 2:], rtol=1e-3, atol=1e-5)
    x[0, 1] = torch.nan
    found = backbone(x)
    torch.testing.assert_close(found[1], features[1], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[0, ::2], features[0, ::2], rtol=1e-3, atol=1e-5)


@every
def test_all_weights_learn(name: str, options: dict[str, Any], step: tuple[int, int, int]) -> None:
    backbone = create(name, **options).train()
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)  # timm begins residual branches with a scale of 0, which stops their gradient
    x = torch.randn(2, 2, *step, requires_grad=True)
    (backbone(x) * torch.randn(backbone.feature_dim)).square().sum().backward()
    assert x.grad is not None
    assert x.grad.flatten(2).any(dim=-1).all()
    assert [key for key, weight in backbone.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@every
def test_round_trip(name: str, options: dict[str, Any], step: tuple[int, int, int], tmp_path: Path) -> None:
    backbone = create(name, **options)
    backbone.train()(torch.randn(2, 2, *step))  # running statistics that are not the initial ones
    save_file(backbone.state_dict(), tmp_path / "weights.safetensors")
    again = plugins.create("backbones", name, **options)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    x = torch.randn(1, 2, *step)
    assert torch.equal(again.eval()(x), backbone.eval()(x))


def normalized(x: Tensor) -> Tensor:
    """Batch normalisation in training, with its initial scale and shift."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt()


@pytest.mark.parametrize("size", [50, 75])
def test_layers_of_cnn_1(size: int) -> None:
    """The formula of section 4.2.2, unit by unit: b is a batch normalisation, r a ReLU, 2s a stride of 2, p padding, the number the kernel."""
    backbone = create("cnn-1").double().train()
    kernels = iter([part.weight for part in backbone.modules() if isinstance(part, nn.Conv2d)])
    y = x = torch.randn(3, 1, size, size, dtype=torch.float64)
    formula = "b16 5, br16 p2s5, b32 p5, br32 p2s5, b64 p3, br64 p2s3, b64 p1, br128 p2s3, b256 p1, br128 p2s3, b256 p1, b4 p2s3"
    for unit in formula.split(", "):
        above, below = unit.split()
        kernel, filters = int(below[-1]), int(above.lstrip("br"))
        weight = next(kernels)
        assert weight.shape == (filters, y.shape[1], kernel, kernel)
        padding = kernel // 2 if "p" in below else 0
        y = normalized(F.conv2d(y, weight, stride=2 if "2s" in below else 1, padding=padding))
        y = y.clamp(min=0) if "r" in above else y
    torch.testing.assert_close(backbone(x[:, None])[:, 0], y.mean((2, 3)), rtol=1e-9, atol=1e-9)
    assert next(kernels, None) is None


def test_layers_of_cnn_2() -> None:
    backbone = create("cnn-2").double().train()
    w = dict(backbone.named_parameters())
    x = torch.randn(2, 1, 75, 75, dtype=torch.float64)
    y = normalized(F.conv2d(x, w["stem.0.weight"], padding=1)).clamp(min=0)
    y = normalized(F.conv2d(y, w["stem.3.weight"], padding=1))
    sizes = [75]
    for block in range(4):
        name = f"blocks.{block}"
        cast = F.conv2d(y, w[f"{name}.shortcut.weight"], w[f"{name}.shortcut.bias"], stride=2)
        for first in (0, 4):
            y = F.conv2d(y, w[f"{name}.body.{first}.weight"], padding=1, groups=y.shape[1])
            y = normalized(F.conv2d(y, w[f"{name}.body.{first + 1}.weight"])).clamp(min=0)
        y = cast + F.max_pool2d(y, 3, 2, padding=1)
        sizes.append(y.shape[-1])
    assert sizes == [75, 38, 19, 10, 5]
    logits = F.conv2d(y, w["head.weight"], w["head.bias"], padding=1).mean((2, 3))
    torch.testing.assert_close(backbone(x[:, None])[:, 0], logits, rtol=1e-9, atol=1e-9)


def test_layers_of_cnn_3() -> None:
    backbone = on_meta("cnn-3")
    convolutions = 32 * (9 + 1) + 32 * (9 * 32 + 1) + 64 * (9 * 32 + 1) + 64 * (9 * 64 + 1)
    assert count(backbone) == convolutions + 64 * (7 * 7 * 64 + 1)
    assert backbone(torch.zeros(1, 2, 1, 150, 150, device="meta")).shape == (1, 2, 64)
    with pytest.raises(ValueError, match="'cnn-3' has image_size 150, got faces of 75 x 75"):
        backbone(torch.zeros(1, 1, 1, 75, 75, device="meta"))
    with pytest.raises(PluginError, match="image_size must be at least 46"):
        create("cnn-3", image_size=45)


def test_vgg_face_is_vgg_16() -> None:
    """138 million parameters with 1000 classes, as section 4.3.1 says; 2622 people are 6.6 million more."""
    backbone = on_meta("vgg-face")
    assert backbone.feature_dim == 4096
    assert count(backbone) + 4097 * 1000 == 138_357_544
    with torch.device("meta"):
        assert [tuple(maps.shape[1:]) for maps in [backbone.model.features(torch.zeros(1, 3, 224, 224))]] == [
            (512, 7, 7)
        ]
    dropouts = [part.p for part in backbone.model.classifier if isinstance(part, nn.Dropout)]
    assert dropouts == [0.5, 0.5]


def test_accelerated_windows() -> None:
    from pyemo.nn.fused import FusedAttention

    plain = on_meta("timm", architecture="swin_tiny_patch4_window7_224")
    fast = on_meta("timm", architecture="swin_tiny_patch4_window7_224", accelerate=True)
    fused = [part for part in fast.modules() if isinstance(part, FusedAttention)]
    if not fused:
        pytest.skip("pyemo was built without its native module")
    assert len(fused) == 12
    assert fast.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("timm", {"architecture": "resnet81"}, r"timm .* has no architecture 'resnet81'; did you mean 'resnet18'"),
        ("timm", {"architecture": "test_resnet", "pretrained": True, "weights": "w.pth"}, "pretrained and weights"),
        ("torchvision", {"architecture": "squeezenet"}, r"torchvision .* has no classifier 'squeezenet'; did you mean"),
        (
            "torchvision",
            {"architecture": "squeezenet1_1", "pretrained": True, "weights": "w.pth"},
            "exclude each other",
        ),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(name, **options)
