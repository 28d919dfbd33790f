"""What accelerate does to layer norms."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import timm.layers
import torch
from timm.models.tiny_vit import TinyVit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

import pyemo
from pyemo.nn import layer_norm as module
from pyemo.nn import torch_layer_norm
from pyemo.nn.fused import Fused
from pyemo.ops.native import native

pytestmark = pytest.mark.skipif(native is None, reason="pyemo was built without its native module")


@pytest.fixture(autouse=True)
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The native kernels that were called."""
    calls: list[str] = []

    def note(name: str) -> None:
        original = getattr(native, name)

        def noting(*views: Any) -> None:
            calls.append(name)
            original(*views)

        monkeypatch.setattr(native, name, noting)

    note("layer_norm")
    note("layer_norm_backward")
    return calls


def network() -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.LayerNorm(6),
        nn.Conv1d(5, 5, 1),
        timm.layers.LayerNorm(6),
        nn.LayerNorm(6, elementwise_affine=False),
        timm.layers.LayerNorm(6, affine=False),
        nn.LayerNorm(6, bias=False),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


NORMS = ["0", "2", "3", "4", "5"]


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))


def test_swapped_and_restored(x: Tensor, computed: list[str]) -> None:
    model = network()
    kinds = [type(each) for each in model.modules()]
    parameters, state = {name: id(each) for name, each in model.named_parameters()}, model.state_dict()
    original = copy.deepcopy(model)
    report = pyemo.accelerate(model)
    assert report.swapped == NORMS
    assert report.left_alone == {}
    assert pyemo.accelerate(model) == report
    for each in (model, original):
        each(x).square().sum().backward()
    assert computed == ["layer_norm"] * 5 + ["layer_norm_backward"] * 5
    torch.testing.assert_close(model(x), original(x))
    for got, expected in zip(model.parameters(), original.parameters(), strict=True):
        torch.testing.assert_close(got.grad, expected.grad, rtol=1e-4, atol=1e-5)

    assert {name: id(each) for name, each in model.named_parameters()} == parameters
    assert list(model.state_dict()) == list(state)
    network().load_state_dict(model.state_dict())
    model.load_state_dict(state)
    assert isinstance(model[0], nn.LayerNorm)
    assert isinstance(model[2], timm.layers.LayerNorm)

    del computed[:]
    assert pyemo.restore(model) == 5
    assert [type(each) for each in model.modules()] == kinds
    assert torch.equal(model(x), original(x))
    assert not computed


def test_copies(x: Tensor, computed: list[str]) -> None:
    model = network()
    expected = model(x)
    pyemo.accelerate(model)
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(saved, weights_only=False)]
    for each in copies:
        torch.testing.assert_close(each(x), expected)
        assert pyemo.restore(each) == 5
        assert torch.equal(each(x), expected)
    assert computed == ["layer_norm"] * 5 * 3
    assert sum(isinstance(each, Fused) for each in model.modules()) == 5


class Special(Tensor):
    pass


class Doubled(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(Doubled, (4, 6)), (timm.layers.LayerNormFp32, (4, 6)), (timm.layers.LayerNorm2d, (4, 6, 3, 3))],
    ids=["one's own", "float32", "2d"],
)
def test_derived_classes_are_left_alone(norm: Any, shape: tuple[int, ...], computed: list[str]) -> None:
    model = nn.Sequential(norm(6))
    x = torch.randn(shape)
    expected = model(x)
    report = pyemo.accelerate(model)
    assert report.left_alone == {"0": f"{norm.__name__} is derived from LayerNorm and may compute something else"}
    assert type(model[0]) is norm
    assert torch.equal(model(x), expected)
    assert not computed


def test_several_dimensions_are_left_alone(x: Tensor, computed: list[str]) -> None:
    model = nn.Sequential(nn.LayerNorm((5, 6)), nn.LayerNorm((6,)))
    expected = model(x)
    assert pyemo.accelerate(model).left_alone == {"0": "it normalizes over several dimensions"}
    torch.testing.assert_close(model(x), expected)
    assert computed == ["layer_norm"]


def test_what_is_replaced_or_special_is_left_alone() -> None:
    model: Any = nn.Sequential(*(nn.LayerNorm(6) for _ in range(3)))
    model[0].weight = nn.Parameter(model[0].weight.detach().as_subclass(Special))
    model[1].bias = nn.Parameter(model[1].bias.detach().as_subclass(Special))
    model[2].forward = model[2].forward
    assert pyemo.accelerate(model).left_alone == {
        "0": "its weight is a special kind of tensor",
        "1": "its weight is a special kind of tensor",
        "2": "LayerNorm.forward is replaced on this object",
    }


def test_what_becomes_special_later_takes_the_original_path(x: Tensor, computed: list[str]) -> None:
    model = network()
    expected = model(x)
    pyemo.accelerate(model)
    model[0].weight = nn.Parameter(model[0].weight.detach().as_subclass(Special))
    first = model[0](x)
    assert isinstance(first, Special)
    torch.testing.assert_close(model[1:](first.as_subclass(Tensor)), expected)
    assert computed == ["layer_norm"] * 4
    model[5].normalized_shape = (5, 6)
    model[5].weight = nn.Parameter(torch.ones(5, 6))
    torch.testing.assert_close(model[5](x), torch.layer_norm(x, (5, 6)))
    assert len(computed) == 4


def test_weights_that_are_computed(x: Tensor, computed: list[str]) -> None:
    model = nn.LayerNorm(6)
    pyemo.accelerate(model)
    nn.utils.parametrize.register_parametrization(model, "weight", nn.Softplus())
    torch.testing.assert_close(model(x), torch.layer_norm(x, (6,), model.weight, model.bias))
    assert computed == ["layer_norm"]


def test_the_fast_norm_of_timm_takes_the_original_path(x: Tensor, computed: list[str]) -> None:
    """It may be Apex's, and computes in another dtype under autocast."""
    before = timm.layers.is_fast_norm()
    timm.layers.set_fast_norm(True)
    try:
        model: Any = timm.layers.LayerNorm(6)
    finally:
        timm.layers.set_fast_norm(before)
    assert model._fast_norm
    original = copy.deepcopy(model)
    assert pyemo.accelerate(model).swapped == [""]
    with torch.autocast("cpu", torch.bfloat16):
        output, expected = model(x), original(x)
    assert output.dtype == expected.dtype
    assert torch.equal(output, expected)
    assert not computed
    model._fast_norm = False
    model(x)
    assert computed == ["layer_norm"]


def test_hooks_are_called(x: Tensor, computed: list[str]) -> None:
    model = network()
    pyemo.accelerate(model)
    seen: list[str] = []
    model[0].register_forward_pre_hook(lambda *_: seen.append("before"))
    model[0].register_forward_hook(lambda *_: seen.append("after"))
    model[2].register_full_backward_hook(lambda *_: seen.append("backward"))
    model(x).square().sum().backward()
    assert seen == ["before", "after", "backward"]
    assert len(computed) == 10


def test_the_report_has_one_line_for_them() -> None:
    model = nn.Sequential(network(), nn.Linear(6, 6), nn.Linear(6, 6), nn.LayerNorm((5, 6)), Doubled(6))
    lines = [line.split() for line in str(pyemo.accelerate(model)).splitlines()]
    assert lines[0] == ["module", "class", "note"]
    assert lines[1][:4] == ["3", "LayerNorm", "left", "alone"]
    assert lines[2][:4] == ["4", "Doubled", "left", "alone"]
    assert lines[3] == ["5", "layer", "norms", "LayerNorm", "fused"]
    assert lines[4] == ["2", "dense", "layers", "Linear", "fused"]
    assert " ".join(lines[5]) == "7 of 9 fused"
    assert len(lines) == 6
    alone = str(pyemo.accelerate(nn.Sequential(nn.LayerNorm(6), nn.ReLU()))).splitlines()
    assert [line.split() for line in alone[1:]] == [["0", "LayerNorm", "fused"], ["1", "of", "1", "fused"]]


def test_layer_norms_within_what_is_left_alone(computed: list[str]) -> None:
    torch.manual_seed(0)
    model = TinyVit(
        num_classes=2, embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), window_sizes=(4, 4), drop_path_rate=0.0
    ).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model(images)
    report = pyemo.accelerate(model)
    attentions = [name for name, note in report.left_alone.items() if "(head, q|k|v)" in note]
    assert len(attentions) == 2
    assert {f"{name}.norm" for name in attentions} < set(report.swapped)
    with torch.no_grad():
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert computed == ["layer_norm"] * 4  # of an attention and an MLP in each of two blocks


def test_layer_norms_within_what_is_fused(computed: list[str]) -> None:
    """Each of them is called, and none is left out."""
    torch.manual_seed(0)
    model = VisionTransformer(28, 4, num_classes=3, embed_dim=16, depth=2, num_heads=2, qk_norm=True).eval()
    images = torch.randn(2, 3, 28, 28)
    expected = model(images)
    report = pyemo.accelerate(model)
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.LayerNorm)]
    assert set(norms) < set(report.swapped)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    assert computed == ["layer_norm"] * len(norms)
    assert len(norms) == 2 * 4 + 1


@pytest.mark.parametrize("training", [False, True])
def test_transformer_of_pytorch(training: bool, x: Tensor) -> None:
    """Whose encoder has a path of its own, which computes layer norms from their weights."""
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True).train(training)
    expected = model(x)
    assert {"norm1", "norm2"} <= set(pyemo.accelerate(model).swapped)
    torch.testing.assert_close(model(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(autocast: bool, x: Tensor, computed: list[str]) -> None:
    """With all of the model in it; and with autocast, whose convolution hands it to layer norms that have float32 weights."""
    model = network()
    exact = copy.deepcopy(model).double()(x.double())
    pyemo.accelerate(model)
    if not autocast:
        model, x = model.bfloat16(), x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(x)
    assert computed == ["layer_norm"] * 5
    assert output.dtype == torch.bfloat16
    assert (output - exact).abs().max() < 0.1 * exact.abs().max()


def test_elsewhere_than_on_a_cpu_the_original_path_is_taken(x: Tensor, computed: list[str]) -> None:
    model = network()
    pyemo.accelerate(model)
    output = model.to("meta")(x.to("meta"))
    assert (output.device.type, output.shape) == ("meta", x.shape)
    assert not computed


def test_without_the_native_module(monkeypatch: pytest.MonkeyPatch, x: Tensor) -> None:
    monkeypatch.setattr(torch_layer_norm, "native", None)
    model = network()
    kinds = [type(each) for each in model.modules()]
    assert pyemo.accelerate(model).left_alone == dict.fromkeys(NORMS, "pyemo was built without its native module")
    assert [type(each) for each in model.modules()] == kinds


def test_a_model_that_was_accelerated_where_there_is_a_native_module(
    monkeypatch: pytest.MonkeyPatch, x: Tensor
) -> None:
    model = network()
    expected = model(x)
    pyemo.accelerate(model)
    monkeypatch.setattr(module, "native", None)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("shape", [(4, 5), (4, 7), (0,), ()])
def test_errors_are_those_of_pytorch(shape: tuple[int, ...]) -> None:
    model = nn.LayerNorm(6)
    with pytest.raises(RuntimeError) as expected:
        model(torch.randn(shape))
    pyemo.accelerate(model)
    with pytest.raises(RuntimeError) as raised:
        model(torch.randn(shape))
    assert str(raised.value) == str(expected.value)


def test_a_model_compiled_exported_and_traced(x: Tensor, computed: list[str]) -> None:
    torch._dynamo.reset()
    model = network().eval()
    expected = model(x)
    pyemo.accelerate(model)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="aot_eager")(x), expected)
    exported = torch.export.export(model, (x,))
    assert "layer_norm" in str(exported.graph)
    torch.testing.assert_close(exported.module()(x), expected)
    traced = torch.fx.symbolic_trace(model)
    torch.testing.assert_close(traced(x), expected)
    assert not computed
