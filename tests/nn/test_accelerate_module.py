"""What accelerate and restore do to a model beyond its outputs."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from timm.layers import Mlp
from timm.models.swin_transformer import SwinTransformer, SwinTransformerBlock, WindowAttention
from timm.models.swin_transformer_v2 import SwinTransformerV2, SwinTransformerV2Block
from torch import Tensor, nn

import pyemo
from pyemo.nn import AccelerationReport
from pyemo.nn.fused import Fused
from pyemo.ops.native import native

pytestmark = pytest.mark.skipif(native is None, reason="pyemo was built without its native module")


def swin(kind: type[nn.Module] = SwinTransformer, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"img_size": 28, "patch_size": 2, "num_classes": 3, "embed_dim": 16, "depths": (2, 2)}
    model = kind(**{**settings, "num_heads": (2, 4), "window_size": 7, "drop_path_rate": 0.0, **options})
    with torch.no_grad():
        for parameter in model.parameters():  # or attention would hardly count
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def apart_from_single_layers(report: AccelerationReport) -> list[str]:
    return [entry.name for entry in report.entries if entry.swapped and entry.kind not in ("Linear", "LayerNorm")]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def fused_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.Size]]:
    """The shapes of what windowed attention is called with."""
    calls: list[torch.Size] = []
    from pyemo.nn import timm_swin

    original = timm_swin.window_attention

    def noting(qkv: Tensor, *arguments: Any, **options: Any) -> Tensor:
        calls.append(qkv.shape)
        return original(qkv, *arguments, **options)

    monkeypatch.setattr(timm_swin, "window_attention", noting)
    return calls


def test_names_parameters_and_buffers_stay(images: Tensor) -> None:
    model = swin()
    modules, state = dict(model.named_modules()), model.state_dict()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    pyemo.accelerate(model)
    with torch.no_grad():
        model(images)
    assert {name: id(module) for name, module in model.named_modules()} == {n: id(m) for n, m in modules.items()}
    assert {name: id(p) for name, p in model.named_parameters()} == {n: id(p) for n, p in parameters.items()}
    assert dict(model.named_buffers()).keys() == buffers.keys()
    assert list(model.state_dict()) == list(state)
    assert isinstance(model.layers[0].blocks[0], SwinTransformerBlock)
    swin().load_state_dict(model.state_dict())
    model.load_state_dict(state)


def test_restore_undoes(images: Tensor) -> None:
    model = swin()
    before = [(type(module), set(vars(module))) for module in model.modules()]
    expected = model(images)
    pyemo.accelerate(model)
    with torch.no_grad():
        model(images)
    assert pyemo.restore(model) == 29
    assert [(type(module), set(vars(module))) for module in model.modules()] == before
    assert torch.equal(model(images), expected)
    assert pyemo.restore(model) == 0


def test_a_second_call_changes_nothing(images: Tensor) -> None:
    model = swin()
    first = pyemo.accelerate(model)
    kinds = [type(module) for module in model.modules()]
    assert pyemo.accelerate(model) == first
    assert [type(module) for module in model.modules()] == kinds
    assert pyemo.restore(model) == 29


def test_report() -> None:
    report = pyemo.accelerate(swin(attn_drop_rate=0.25))
    assert isinstance(report, AccelerationReport)
    blocks = [f"layers.{i}.blocks.{j}" for i in (0, 1) for j in (0, 1)]
    parts = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp"]
    fused = [[block, *(f"{block}.{part}" for part in parts)] for block in blocks]
    between = ["layers.1.downsample.norm", "layers.1.downsample.reduction"]
    before, after = ["patch_embed.norm", *fused[0], *fused[1]], [*fused[2], *fused[3], "norm", "head.fc"]
    assert report.swapped == [*before, *between, *after]
    assert report.left_alone == {}
    lines = str(report).splitlines()
    assert lines[0].split() == ["module", "class", "note"]
    assert lines[1].split()[:3] == ["layers.0.blocks.0", "SwinTransformerBlock", "fused"]
    assert "p=0.25" in lines[1]
    assert lines[2].split() == ["layers.0.blocks.0.mlp", "Mlp", "fused"]
    assert [line.split()[0] for line in lines[1:9]] == [name for block in blocks for name in (block, f"{block}.mlp")]
    assert lines[9].split() == ["11", "layer", "norms", "LayerNorm", "fused"]
    assert lines[10].split() == ["10", "dense", "layers", "Linear", "fused"]
    assert lines[11:] == ["29 of 29 fused"]


def test_nothing_to_swap() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    report = pyemo.accelerate(model)
    assert report.entries == ()
    assert "no module" in str(report)
    assert pyemo.restore(model) == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [("tiny_vit_5m_224", "(head, q|k|v)"), ("test_maxvit", "(head, q|k|v)"), ("davit_tiny", "no position bias")],
)
def test_what_does_not_fit_is_left_alone(name: str, reason: str) -> None:
    model = timm.create_model(name, num_classes=2)
    before = {name: type(module) for name, module in model.named_modules()}
    report = pyemo.accelerate(model)
    assert {entry.kind for entry in report.entries if entry.swapped} <= {"Linear", "LayerNorm", "Mlp"}
    alone = [note for note in report.left_alone.values() if "LayerNorm2d is derived from LayerNorm" not in note]
    assert alone
    assert all(reason in note for note in alone)
    assert all(type(module) is before[name] for name, module in model.named_modules() if name not in report.swapped)
    assert "left alone" in str(report)


class OtherBlock(SwinTransformerBlock):
    pass


class OtherMlp(Mlp):
    pass


def test_derived_and_patched_classes_are_left_alone(images: Tensor) -> None:
    model = swin()
    blocks = [block for layer in model.layers for block in layer.blocks]
    blocks[0].__class__ = OtherBlock
    blocks[1]._attn = blocks[1]._attn
    blocks[2].attn.forward = blocks[2].attn.forward
    blocks[0].mlp.__class__ = OtherMlp
    blocks[1].mlp.forward = blocks[1].mlp.forward
    blocks[2].mlp.fc2.forward = blocks[2].mlp.fc2.forward
    report = pyemo.accelerate(model)
    assert apart_from_single_layers(report) == ["layers.1.blocks.1", "layers.1.blocks.1.mlp"]
    mlps = [name for name in report.swapped if ".mlp.fc" in name]  # are called still
    assert mlps == [
        f"layers.{i}.blocks.{j}.mlp.{fc}"
        for i, j, fc in [(0, 0, "fc1"), (0, 0, "fc2"), (0, 1, "fc1"), (0, 1, "fc2"), (1, 0, "fc1")]
    ]
    notes = list(report.left_alone.values())
    assert "OtherBlock is derived from SwinTransformerBlock" in notes[0]
    assert "OtherMlp is derived from Mlp" in notes[1]
    assert "SwinTransformerBlock._attn is replaced" in notes[2]
    assert "Mlp.forward is replaced" in notes[3]
    assert "WindowAttention.forward is replaced" in notes[4]
    assert "Linear.forward is replaced" in notes[5]


class OtherAttention(WindowAttention):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(x, mask) + 1


class Recorder(nn.Module):
    def forward(self, weights: Tensor) -> Tensor:
        return weights * 2


def test_other_parts_are_not_passed_over(images: Tensor) -> None:
    """Whether they were put in before or after."""
    model = swin()
    blocks = [block for layer in model.layers for block in layer.blocks]
    for block in blocks:
        block.attn.fused_attn = False  # timm's other path has no softmax module
    blocks[0].attn.__class__ = OtherAttention
    blocks[1].attn.attn_drop = Recorder()
    original = copy.deepcopy(model)
    report = pyemo.accelerate(model)
    assert list(report.left_alone.values()) == [
        "its attention is a OtherAttention, not a WindowAttention",
        "its attn_drop is a Recorder",
    ]
    torch.testing.assert_close(model(images), original(images), rtol=1e-4, atol=1e-4)
    for each in (model, original):
        each.layers[1].blocks[0].attn.softmax = Recorder()
        each.layers[1].blocks[1].attn.__class__ = OtherAttention
    torch.testing.assert_close(model(images), original(images), rtol=1e-4, atol=1e-4)


def test_the_model_itself_and_a_wrong_argument() -> None:
    block = SwinTransformerBlock(16, (14, 14), 2, window_size=7)
    report = pyemo.accelerate(block)
    assert report.swapped == ["", "norm1", "attn.qkv", "attn.proj", "norm2", "mlp"]
    assert "(model)" in str(report)
    with pytest.raises(TypeError, match=r"torch.nn.Module, got list"):
        pyemo.accelerate([block])  # type: ignore[arg-type]


def test_dropout_of_attention_weights_takes_the_original_path(images: Tensor, fused_calls: list[torch.Size]) -> None:
    model = swin(attn_drop_rate=0.5)
    original = copy.deepcopy(model)
    pyemo.accelerate(model)
    model(images)
    assert len(fused_calls) == 4
    for each in (model, original):
        each.train()
    torch.manual_seed(3)
    output = model(images)
    torch.manual_seed(3)
    torch.testing.assert_close(output, original(images))  # the MLPs are still in chunks
    assert len(fused_calls) == 4
    model.eval()
    for module in model.modules():  # as for Monte Carlo dropout
        if isinstance(module, nn.Dropout):
            module.train()
    assert not torch.equal(model(images), model(images))
    assert len(fused_calls) == 4


def test_stochastic_depth_stays(images: Tensor, fused_calls: list[torch.Size]) -> None:
    model = swin(drop_path_rate=0.5).train()
    original = copy.deepcopy(model)
    pyemo.accelerate(model)
    for seed in range(3):
        torch.manual_seed(seed)
        output = model(images)
        torch.manual_seed(seed)
        torch.testing.assert_close(output, original(images), rtol=1e-4, atol=1e-4)
    assert len(fused_calls) == 12


@pytest.mark.parametrize("hooked", ["attn", "attn.attn_drop", "attn.softmax"])
def test_hooks_on_what_is_passed_over_are_called(images: Tensor, hooked: str, fused_calls: list[torch.Size]) -> None:
    model = swin()
    pyemo.accelerate(model)
    expected = model(images)
    assert len(fused_calls) == 4
    model.layers[0].blocks[0].attn.fused_attn = False  # timm's other path has no softmax module
    seen: list[torch.Size] = []
    part = model.layers[0].blocks[0].get_submodule(hooked)
    handle = part.register_forward_hook(lambda module, arguments, output: seen.append(output.shape))
    torch.testing.assert_close(model(images), expected)
    assert len(seen) == 1
    assert len(fused_calls) == 7
    handle.remove()
    model(images)
    assert len(fused_calls) == 11


def test_hooks_on_blocks_and_linear_layers_are_called(images: Tensor) -> None:
    model = swin()
    pyemo.accelerate(model)
    seen: list[str] = []
    block = model.layers[0].blocks[1]
    for name in ("", "attn.qkv", "attn.proj", "norm1"):
        block.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    model(images)
    assert sorted(seen) == ["", "attn.proj", "attn.qkv", "norm1"]


def test_another_linear_layer_in_its_place_is_used(images: Tensor) -> None:
    """As adapters such as LoRA do."""
    model = swin()
    original = copy.deepcopy(model)
    pyemo.accelerate(model)
    for each in (model, original):
        torch.manual_seed(1)
        attn = each.layers[0].blocks[0].attn
        attn.qkv = nn.Sequential(attn.qkv, nn.Linear(48, 48))
    torch.testing.assert_close(model(images), original(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [SwinTransformer, SwinTransformerV2])
def test_copies(kind: type[nn.Module], images: Tensor) -> None:
    model = swin(kind)
    expected = model(images)
    fused = len(pyemo.accelerate(model).swapped)
    with torch.no_grad():
        model(images)  # keeps its position biases
    size = len(pickle.dumps(model.state_dict()))
    saved = io.BytesIO()
    torch.save(model, saved)
    saved.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(saved, weights_only=False)]
    assert len(pickle.dumps(model)) < size + 200_000  # without them
    for each in copies:
        assert sum(isinstance(module, Fused) for module in each.modules()) == fused
        torch.testing.assert_close(each(images), expected, rtol=1e-4, atol=1e-4)
        assert pyemo.restore(each) == fused
        assert torch.equal(each(images), expected)
    with torch.no_grad():
        copies[0].layers[0].blocks[0].attn.qkv.weight.zero_()
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4)


def biases(model: nn.Module) -> list[nn.Parameter]:
    return [p for name, p in model.named_parameters() if "bias_table" in name or "cpb_mlp" in name]


def change_by_data(model: nn.Module) -> None:
    for parameter in biases(model):
        parameter.data.mul_(-1)


def change_in_place(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in biases(model):
            parameter.mul_(-1)


def change_by_loading(model: nn.Module) -> None:
    model.load_state_dict({name: -value for name, value in model.state_dict().items()})


def change_by_assignment(model: nn.Module) -> None:
    model.load_state_dict({name: -value for name, value in model.state_dict().items()}, assign=True)


def change_by_a_step(model: nn.Module) -> None:
    with torch.enable_grad():
        model(torch.randn(2, 3, 28, 28)).square().sum().backward()
    torch.optim.Adam(biases(model), lr=1.0).step()


@pytest.mark.parametrize("kind", [SwinTransformer, SwinTransformerV2])
@pytest.mark.parametrize(
    "change", [change_by_data, change_in_place, change_by_loading, change_by_assignment, change_by_a_step]
)
def test_kept_position_biases_are_never_stale(kind: type[nn.Module], change: Any, images: Tensor) -> None:
    model = swin(kind)
    pyemo.accelerate(model)
    with torch.no_grad():
        before = model(images)
        assert torch.equal(model(images), before)
        change(model)
        output = model(images)
        pyemo.restore(model)
        torch.testing.assert_close(output, model(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(output, before, rtol=1e-3, atol=1e-3)


def test_the_position_bias_is_kept(images: Tensor) -> None:
    model = swin(SwinTransformerV2)
    pyemo.accelerate(model)
    calls: list[int] = []
    for block in (module for module in model.modules() if isinstance(module, SwinTransformerV2Block)):
        block.attn.cpb_mlp.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        for _ in range(3):
            model(images)
    assert len(calls) == 4
    model(images)
    assert len(calls) == 8


def test_to_another_dtype(images: Tensor) -> None:
    model = swin(SwinTransformerV2)
    pyemo.accelerate(model)
    with torch.no_grad():
        single = model(images)
        double = model.double()(images.double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)
        pyemo.restore(model)
        torch.testing.assert_close(double, model(images.double()), rtol=1e-9, atol=1e-9)


def test_another_input_size(images: Tensor) -> None:
    model = swin()
    original = copy.deepcopy(model)
    pyemo.accelerate(model)
    with torch.no_grad():
        model(images)
        for each in (model, original):
            each.set_input_size(img_size=(40, 48), window_size=(5, 6))
        larger = torch.randn(1, 3, 40, 48)
        torch.testing.assert_close(model(larger), original(larger), rtol=1e-4, atol=1e-4)


def test_a_map_that_does_not_fit_the_mask_fails_as_before() -> None:
    model = swin()
    maps = torch.randn(1, 21, 14, 16)
    with pytest.raises(RuntimeError) as original:
        model.layers[0].blocks[1](maps)
    pyemo.accelerate(model)
    with pytest.raises(RuntimeError) as accelerated:
        model.layers[0].blocks[1](maps)
    assert str(accelerated.value) == str(original.value)


def test_torch_fx_sees_the_original(images: Tensor) -> None:
    swin_module = pytest.importorskip("torchvision.models.swin_transformer")
    model = swin_module.SwinTransformer([2, 2], 16, [2, 2], [2, 4], [7, 7], num_classes=3).eval()
    pyemo.accelerate(model)
    traced = torch.fx.symbolic_trace(model)
    torch.testing.assert_close(traced(images), model(images), rtol=1e-4, atol=1e-4)


def test_export(images: Tensor) -> None:
    model = swin(depths=(2,), num_heads=(2,))
    pyemo.accelerate(model)
    program = torch.export.export(model, (images,))
    assert "pyemo.window_attention" in str(program.graph)
    torch.testing.assert_close(program.module()(images), model(images))


def test_gradient_checkpointing(images: Tensor) -> None:
    model = swin().train()
    pyemo.accelerate(model)
    grads = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(images).square().sum().backward()
        grads.append([parameter.grad.clone() for parameter in model.parameters()])
    for plain, checkpointed in zip(*grads, strict=True):
        torch.testing.assert_close(checkpointed, plain)


def test_feature_extraction(images: Tensor) -> None:
    model = timm.create_model("swin_tiny_patch4_window7_224", features_only=True, img_size=56, depths=(1, 1, 1, 1))
    larger = torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        expected = model.eval()(larger)
        assert len(apart_from_single_layers(pyemo.accelerate(model))) == 8
        for got, feature in zip(model(larger), expected, strict=True):
            torch.testing.assert_close(got, feature, rtol=1e-4, atol=1e-4)


def test_distributed_data_parallel(images: Tensor, tmp_path: Any) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        model, inside = swin().train(), swin().train()
        expected = copy.deepcopy(model)
        expected(images).square().sum().backward()
        pyemo.accelerate(inside)
        wrapped_after = nn.parallel.DistributedDataParallel(inside)
        wrapped_before = nn.parallel.DistributedDataParallel(model)
        assert len(apart_from_single_layers(pyemo.accelerate(wrapped_before))) == 8
        for wrapped in (wrapped_after, wrapped_before):
            wrapped(images).square().sum().backward()
            for got, parameter in zip(wrapped.parameters(), expected.parameters(), strict=True):
                torch.testing.assert_close(got.grad, parameter.grad, rtol=1e-4, atol=1e-4)
    finally:
        torch.distributed.destroy_process_group()


def test_two_python_threads_at_once(images: Tensor) -> None:
    model = swin(SwinTransformerV2)
    pyemo.accelerate(model)
    with torch.no_grad():
        expected = model(images)
    wrong: list[int] = []

    def work() -> None:
        with torch.no_grad():
            wrong.extend(1 for _ in range(20) if not torch.equal(model(images), expected))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_class_derived_since_is_not_restored() -> None:
    model = swin()
    pyemo.accelerate(model)
    block = model.layers[0].blocks[0]
    block.__class__ = type("Mine", (type(block),), {})
    with pytest.raises(ValueError, match="Mine was derived"):
        pyemo.restore(model)
    assert isinstance(model.layers[0].blocks[1], Fused)


def test_window_attention_outside_of_a_block_is_left_alone() -> None:
    model = nn.Sequential(WindowAttention(16, 2, window_size=4))
    assert "not in a block" in pyemo.accelerate(model).left_alone["0"]
    assert type(model[0]) is WindowAttention


def test_other_libraries_are_not_imported_for_a_model_that_has_none_of_theirs() -> None:
    script = (
        "import sys, torch, pyemo\n"
        "assert not [name for name in sys.modules if name.startswith('pyemo.nn')]\n"
        "pyemo.accelerate(torch.nn.Linear(2, 3))\n"
        "assert 'timm' not in sys.modules and 'torchvision' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
