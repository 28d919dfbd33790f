"""Windowed attention as a citizen of PyTorch: gradients, compilation, export, fake tensors, autocast, torch.func, threads, processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pyemo.ops import window_attention
from pyemo.ops.native import native
from pyemo.ops.reference import windows as reference

OPTIONS: dict[str, Any] = {"num_heads": 2, "window_size": (2, 3), "shift_size": (1, 1)}


def inputs(batch: int = 2, *, dtype: torch.dtype = torch.float32, grad: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """qkv of maps of four windows, bias, logit_scale."""
    torch.manual_seed(batch)
    tensors = torch.randn(batch, 4, 6, 24), torch.randn(2, 6, 6), torch.rand(2) + 1
    return tuple(tensor.to(dtype).requires_grad_(grad) for tensor in tensors)  # type: ignore[return-value]


def attend(qkv: Tensor, bias: Tensor | None = None, logit_scale: Tensor | None = None) -> Tensor:
    return window_attention(qkv, bias, logit_scale=logit_scale, **OPTIONS)


GIVEN = [("qkv", False), ("bias", True), ("cosine", False), ("cosine", True)]


def differentiable_call(given: str, with_mask: bool) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    mask = torch.randn(2, 6, 6, dtype=torch.float64) if with_mask else None

    def function(qkv: Tensor, bias: Tensor | None = None, logit_scale: Tensor | None = None) -> Tensor:
        return window_attention(qkv, bias, logit_scale=logit_scale, mask=mask, **OPTIONS)

    qkv, *others = inputs(1, dtype=torch.float64)
    small = qkv[:, :2, :, :12].detach().requires_grad_()
    return function, (small, *others)[: ["qkv", "bias", "cosine"].index(given) + 1]


@pytest.mark.parametrize(("given", "with_mask"), GIVEN)
def test_gradcheck(isa: str, given: str, with_mask: bool) -> None:
    assert torch.autograd.gradcheck(*differentiable_call(given, with_mask))


@pytest.mark.parametrize(("given", "with_mask"), GIVEN)
def test_gradgradcheck(given: str, with_mask: bool) -> None:
    assert torch.autograd.gradgradcheck(*differentiable_call(given, with_mask))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_of_some(isa: str, wanted: tuple[bool, ...]) -> None:
    every = inputs()
    attend(*every).square().sum().backward()
    some = tuple(t.detach().requires_grad_(w) for t, w in zip(inputs(), wanted, strict=True))
    attend(*some).square().sum().backward()
    for tensor, full, want in zip(some, every, wanted, strict=True):
        assert torch.equal(tensor.grad, full.grad) if want else tensor.grad is None  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["cosine", "plain", "some large logits"])
def test_results_do_not_depend_on_the_number_of_threads(isa: str, kind: str) -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(3, 21, 35, 3 * 64), torch.randn(4, 49, 49)]
    if kind == "cosine":
        tensors.append(torch.rand(4) + 1)
    if kind == "some large logits":
        tensors[0][1, 4, 5] *= 50
        tensors[0][2, 16, 30] *= 50
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaves = [tensor.clone().requires_grad_() for tensor in tensors]
            output = window_attention(
                *leaves[:2],
                logit_scale=leaves[2] if kind == "cosine" else None,
                num_heads=4,
                window_size=7,
                shift_size=3,
            )
            output.square().sum().backward()
            results.append([output, *[leaf.grad for leaf in leaves]])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def operator_samples() -> list[tuple[str, tuple[object, ...]]]:
    qkv, bias, logit_scale = inputs()
    mask = torch.randn(4, 6, 6)
    grad = torch.randn(2, 4, 6, 8)
    geometry = (2, [2, 3], [1, 0], 0.7)
    plain = [tensor.detach() for tensor in (qkv, bias, logit_scale)]
    return [
        ("window_attention", (qkv, bias, mask, None, *geometry)),
        ("window_attention", (qkv, None, None, logit_scale, *geometry)),
        ("window_attention", (plain[0].double(), bias, None, None, *geometry)),
        ("window_attention", (plain[0].transpose(1, 2), None, None, None, 4, [3, 4], [0, 0], 1.0)),
        ("window_attention_without_grad", (plain[0].bfloat16(), plain[1].bfloat16(), mask, plain[2], *geometry)),
        ("window_attention_without_grad", (plain[0][..., ::2], None, None, None, 2, [2, 3], [1, 2], 1.0)),
        ("window_attention_backward", (grad, plain[0], plain[1], mask, plain[2], *geometry, True, True)),
        ("window_attention_backward", (grad[:, :1].expand(2, 4, 6, 8), plain[0], plain[1], None, None, *geometry, False, False)),
        ("window_attention_backward", (grad.bfloat16(), plain[0].bfloat16(), plain[1], None, plain[2].double(), *geometry, True, True)),
    ]  # fmt: skip


@pytest.mark.parametrize("sample", range(len(operator_samples())))
def test_opcheck(sample: int) -> None:
    name, arguments = operator_samples()[sample]
    torch.library.opcheck(getattr(torch.ops.pyemo, name).default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_fullgraph(dynamic: bool) -> None:
    torch._dynamo.reset()

    def model(qkv: Tensor, bias: Tensor, logit_scale: Tensor) -> Tensor:
        return attend(qkv * 2, bias) + attend(qkv, bias * 2, logit_scale.exp())

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for batch in (1, 3):
        tensors = [inputs(batch), inputs(batch)]
        results = [compiled(*tensors[0]), model(*tensors[1])]
        torch.testing.assert_close(results[0], results[1])
        for result in results:
            result.square().sum().backward()
        for got, expected in zip(*tensors, strict=True):
            torch.testing.assert_close(got.grad, expected.grad)
        with torch.no_grad():
            torch.testing.assert_close(compiled(*tensors[0]), results[1])


def test_one_compilation_serves_maps_of_any_size() -> None:
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    graphs = CompileCounter()
    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend=graphs)
    bias = inputs()[1].detach()
    for batch, height, width in ((3, 4, 12), (2, 8, 9), (5, 6, 18)):
        qkv = torch.randn(batch, height, width, 24)
        torch.testing.assert_close(compiled(qkv, bias), attend(qkv, bias))
    assert graphs.frame_count == 1


def test_compiled_graph_holds_the_operators_forward_and_backward() -> None:
    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    names: list[str] = []

    def note(graph: torch.fx.GraphModule, example: object) -> Callable[..., object]:
        names.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    compiled = torch.compile(attend, fullgraph=True, backend=aot_autograd(fw_compiler=note))
    compiled(*inputs()).sum().backward()
    assert any(name.startswith("pyemo.window_attention") and "backward" not in name for name in names)
    assert "pyemo.window_attention_backward.default" in names
    assert not any("softmax" in name or "mm" in name for name in names)


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    qkv, bias, _ = inputs(grad=False)
    compiled = torch.compile(lambda x, y: attend(x * 2, y) + 1, fullgraph=True)
    torch.testing.assert_close(compiled(qkv, bias), attend(qkv * 2, bias) + 1)


class Attend(torch.nn.Module):
    def forward(self, qkv: Tensor, bias: Tensor) -> Tensor:
        return attend(qkv, bias)


def test_export() -> None:
    qkv, bias, _ = inputs(grad=False)
    rows = torch.export.Dim("rows", min=1, max=50)
    program = torch.export.export(
        Attend(), (qkv, bias), dynamic_shapes=({0: torch.export.Dim("batch", min=2), 1: 2 * rows}, None)
    )
    more = torch.randn(5, 10, 6, 24)
    torch.testing.assert_close(program.module()(more, bias), attend(more, bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_fake_tensors_have_the_shape_dtype_and_strides_of_real_ones(dtype: torch.dtype) -> None:
    def results() -> list[Tensor]:
        qkv = torch.zeros(2, 24, 4, 6, dtype=dtype).permute(0, 2, 3, 1).requires_grad_()
        bias = torch.zeros(6, 6, 2, dtype=dtype).permute(2, 0, 1).requires_grad_()
        output = attend(qkv, bias)
        return [output, *torch.autograd.grad(output.sum(), (qkv, bias))]

    real = results()
    with FakeTensorMode():
        fake = results()
    for one, other in zip(real, fake, strict=True):
        assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


def test_meta_tensors() -> None:
    assert attend(torch.empty(2, 4, 6, 24, device="meta")).shape == (2, 4, 6, 8)


def test_autocast_leaves_the_dtype_of_qkv() -> None:
    qkv, bias, _ = inputs()
    linear = torch.nn.Linear(8, 24)
    expected = attend(qkv, bias)
    with torch.autocast("cpu", torch.bfloat16):
        output = attend(qkv, bias)
        assert output.dtype == torch.float32
        assert torch.equal(output, expected)
        assert attend(linear(torch.randn(2, 4, 6, 8)), bias).dtype == torch.bfloat16
        torch.testing.assert_close(reference.window_attention(qkv, bias, **OPTIONS), expected)
        second = torch.autograd.grad(output.square().sum(), qkv, create_graph=True)[0]
    expected_second = torch.autograd.grad(expected.square().sum(), qkv, create_graph=True)[0]
    torch.testing.assert_close(second, expected_second)


@pytest.mark.parametrize("batched", [(0, None, None), (2, None, None), (0, 0, None), (None, 1, 0), (None, None, 0)])
def test_vmap(batched: tuple[int | None, ...]) -> None:
    stacks = [torch.stack([one, one + 0.5, one - 0.3]) for one in inputs(grad=False)]
    arguments = [stack[0] if dim is None else stack.movedim(0, dim) for stack, dim in zip(stacks, batched, strict=True)]
    items = [[stack[0 if dim is None else i] for stack, dim in zip(stacks, batched, strict=True)] for i in range(3)]
    expected = torch.stack([attend(*item) for item in items])
    torch.testing.assert_close(torch.vmap(attend, batched)(*arguments), expected)
    torch.testing.assert_close(torch.vmap(attend, batched, out_dims=1)(*arguments), expected.movedim(0, 1))


def test_gradients_of_each_sample_by_torch_func() -> None:
    qkv, bias, logit_scale = inputs(3, grad=False)

    def loss(bias: Tensor, logit_scale: Tensor, sample: Tensor) -> Tensor:
        return attend(sample[None], bias, logit_scale).square().sum()

    grads = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), (None, None, 0))(bias, logit_scale, qkv)
    for i in range(3):
        leaves = bias.clone().requires_grad_(), logit_scale.clone().requires_grad_()
        loss(*leaves, qkv[i]).backward()
        for got, leaf in zip(grads, leaves, strict=True):
            torch.testing.assert_close(got[i], leaf.grad, rtol=1e-4, atol=1e-5)


def test_jacobians_and_products_by_torch_func() -> None:
    qkv, bias, _ = inputs(1, dtype=torch.float64, grad=False)
    reverse = torch.func.jacrev(attend, argnums=1)(qkv, bias)
    forward = torch.func.jacfwd(attend, argnums=1)(qkv, bias)
    torch.testing.assert_close(reverse, forward)


def test_checkpointing() -> None:
    from torch.utils.checkpoint import checkpoint

    leaves = [inputs(), inputs()]
    attend(*leaves[0]).square().sum().backward()
    checkpoint(attend, *leaves[1], use_reentrant=False).square().sum().backward()
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*leaves, strict=True))  # type: ignore[arg-type]


def test_with_and_without_pytorchs_dispatcher() -> None:
    """Operators, which a profiler is to see, and direct calls give the same bits."""
    leaves = [inputs(), inputs()]
    outputs = [attend(*leaves[0])]
    outputs[0].square().sum().backward()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        outputs.append(attend(*leaves[1]))
        outputs[1].square().sum().backward()
        with torch.no_grad():
            outputs.append(attend(*leaves[1]))
    names = {event.key for event in profile.key_averages()}
    kinds = ("window_attention", "window_attention_backward", "window_attention_without_grad")
    assert {f"pyemo::{kind}" for kind in kinds} <= names
    assert all(torch.equal(output, outputs[0]) for output in outputs)
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(*leaves, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "flag", [torch._neg_view, lambda t: torch._efficientzerotensor(*t.shape)], ids=["sign", "zero"]
)
def test_tensors_that_are_not_what_their_memory_holds(flag: Callable[[Tensor], Tensor]) -> None:
    """The sign of conjugated complex numbers is a flag, and zeros may have no memory."""
    qkv, bias, _ = inputs(grad=False)
    grad = flag(torch.ones(2, 4, 6, 8))
    for tensors in ((flag(qkv), bias), (qkv, flag(bias)), (qkv, bias)):
        plain = [tensor.clone().requires_grad_() for tensor in tensors]
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        got, want = attend(*leaves), attend(*plain)
        torch.testing.assert_close(got, want)
        grads = torch.autograd.grad(got, leaves, grad), torch.autograd.grad(want, plain, grad.clone())
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b)


def test_inputs_changed_after_the_forward_pass_are_noticed() -> None:
    qkv, bias, _ = inputs()
    output = attend(qkv * 1, bias)
    with torch.no_grad():
        bias.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_two_python_threads_at_once(isa: str) -> None:
    torch.manual_seed(0)
    jobs = [(torch.randn(2, 14, 14, 3 * 32), torch.randn(1, 49, 49)) for _ in range(2)]
    options: dict[str, Any] = {"num_heads": 1, "window_size": 7, "shift_size": 3}
    expected = [window_attention(qkv, bias, **options) for qkv, bias in jobs]
    wrong: list[int] = []

    def work(job: int) -> None:
        for _ in range(50):
            if not torch.equal(window_attention(*jobs[job], **options), expected[job]):
                wrong.append(job)

    threads = [threading.Thread(target=work, args=(job,)) for job in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class AttendedMaps(torch.utils.data.Dataset[Tensor]):
    def __init__(self, qkv: Tensor) -> None:
        self.qkv = qkv

    def __len__(self) -> int:
        return len(self.qkv)

    def __getitem__(self, index: int) -> Tensor:
        return window_attention(self.qkv[index : index + 1], num_heads=2, window_size=7, shift_size=3)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_in_forked_workers_of_a_data_loader() -> None:
    qkv = torch.randn(6, 28, 28, 3 * 32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # so that this process has run threads before it forks
    try:
        expected = window_attention(qkv, num_heads=2, window_size=7, shift_size=3)
        loader = torch.utils.data.DataLoader(
            AttendedMaps(qkv), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        assert torch.equal(torch.cat(list(loader)), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the platform has no /proc")
def test_no_leak_over_many_calls() -> None:
    def resident_bytes() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    qkv, bias = torch.randn(4, 14, 14, 3 * 32), torch.randn(1, 49, 49)  # 300 kB, 10 kB
    leaf = qkv.clone().requires_grad_()

    def call() -> None:
        window_attention(qkv, bias.bfloat16(), num_heads=1, window_size=7, shift_size=3)
        window_attention(leaf, bias, num_heads=1, window_size=7).sum().backward()
        leaf.grad = None

    for _ in range(50):
        call()
    before = resident_bytes()
    for _ in range(1000):
        call()
    assert resident_bytes() - before < 4 * 2**20


def spare_bytes() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(native is None, reason="pyemo was built without its native module")
def test_addresses_beyond_two_to_the_31st_element(isa: str) -> None:
    """Two maps so far apart that their distance in elements does not fit 32 bits; the memory between them is never touched."""
    try:
        memory = torch.empty(2**31 + 2**16, dtype=torch.bfloat16)
    except RuntimeError:
        pytest.skip("no 4 GB of address space")
    qkv = memory.as_strided((2, 8, 8, 3 * 32), (2**31 + 17, 8 * 96, 96, 1))
    qkv.copy_(torch.randn(qkv.shape))
    leaf = qkv.detach().requires_grad_()
    dense = qkv.contiguous().requires_grad_()
    for tensor in (leaf, dense):
        window_attention(tensor, num_heads=1, window_size=4, shift_size=2).square().sum().backward()
    with torch.no_grad():
        options: dict[str, Any] = {"num_heads": 1, "window_size": 4, "shift_size": 2}
        assert torch.equal(window_attention(leaf, **options), window_attention(dense, **options))
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, dense.grad)  # type: ignore[arg-type]


@pytest.mark.skipif(native is None, reason="pyemo was built without its native module")
@pytest.mark.skipif(spare_bytes() < 6 * 2**30, reason="needs 6 GB of free memory")
def test_more_than_two_to_the_31st_element() -> None:
    image = torch.randn(1, 64, 64, 3 * 256).bfloat16()
    batch = 2**31 // image.numel() + 3
    qkv = image.expand(batch, -1, -1, -1)  # one image's memory
    assert qkv.numel() > 2**31
    output = window_attention(qkv, num_heads=2, window_size=4, shift_size=2)
    expected = window_attention(image, num_heads=2, window_size=4, shift_size=2)[0]
    for i in (0, batch // 3, batch // 2, batch - 1):
        assert torch.equal(output[i], expected)
