"""Colour deconvolution as a citizen of PyTorch: gradients, compilation, export, fake tensors, autocast."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pyemo.ops import color_deconvolution, color_reconvolution
from pyemo.ops.reference import color as reference
from pyemo.ops.stains import STAIN_SETS

CHECKS = [(color_deconvolution, reference.color_deconvolution), (color_reconvolution, reference.color_reconvolution)]
HED = torch.tensor(STAIN_SETS["hed"].densities, dtype=torch.float64)


def smooth_input(op: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
    """Where neither the logarithm's floor nor clipping has a kink within a finite difference."""
    if op is color_reconvolution:
        return torch.rand(shape, dtype=torch.float64) * 0.3 + 0.05
    return torch.rand(shape, dtype=torch.float64) * 0.8 + 0.1


@pytest.mark.parametrize("select", [None, 1, (2, 0)])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("op", [color_deconvolution, color_reconvolution])
def test_gradcheck(isa: str, op: Callable[..., Tensor], clip: bool, select: object) -> None:
    channels = 3 if op is color_deconvolution or select is None else 1 if select == 1 else 2
    while True:
        image = smooth_input(op, (2, channels, 3, 5))
        if not clip:
            break
        unclipped = op(image, HED, select=select, clip=False)  # type: ignore[arg-type]
        bound = 0 if op is color_deconvolution else 1
        if (unclipped - bound).abs().min() > 1e-3:  # far enough from the kink
            break
    inputs = (image.requires_grad_(), HED.clone().requires_grad_())

    def function(image: Tensor, matrix: Tensor) -> Tensor:
        return op(image, matrix, select=select, clip=clip)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("layout", ["planes", "channels last", "transposed", "odd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize(("op", "plain"), CHECKS)
def test_gradients_equal_the_reference(
    isa: str, op: Callable[..., Tensor], plain: Callable[..., Tensor], dtype: torch.dtype, layout: str
) -> None:
    """Random inputs with clipped pixels among them, several chunks, gradients that are not contiguous."""
    image = torch.rand(2, 3, 101, 97).to(dtype)
    image[:, :, 0] = torch.tensor([0.0, 1.0, 1e-7])[None, :, None].to(dtype)
    if layout == "channels last":
        image = image.contiguous(memory_format=torch.channels_last)
    elif layout == "transposed":
        image = image.transpose(2, 3)
    elif layout == "odd":
        image = image[:, :, 1:, ::3]
    # The reference in the same precision: at a kink, both must fall on the same side.
    wide = image.double() if dtype == torch.float64 else image.float()
    expected_inputs = wide.clone().requires_grad_(), HED.clone().requires_grad_()
    expected = plain(*expected_inputs, select=(2, 0, 1))
    grad = torch.randn_like(expected).transpose(0, 3).contiguous().transpose(0, 3)
    away = (plain(wide, HED, select=(2, 0, 1), clip=False) - (0 if op is color_deconvolution else 1)).abs() > 1e-5
    grad = grad * away
    expected.backward(grad)

    inputs = image.clone().requires_grad_(), HED.clone().requires_grad_()
    op(*inputs, select=(2, 0, 1)).backward(grad)
    assert inputs[0].grad is not None
    assert inputs[0].grad.dtype == dtype
    torch.testing.assert_close(
        inputs[0].grad, expected_inputs[0].grad.to(dtype), rtol=2e-2 if dtype.itemsize == 2 else 1e-4, atol=1e-5
    )
    torch.testing.assert_close(inputs[1].grad, expected_inputs[1].grad, rtol=1e-3, atol=2e-2)


def test_gradient_of_the_matrix_from_bytes(isa: str) -> None:
    image = torch.randint(256, (2, 3, 40, 41), dtype=torch.uint8)
    matrices = [HED.float().requires_grad_(), HED.float().requires_grad_()]
    for function, matrix in zip((color_deconvolution, reference.color_deconvolution), matrices, strict=True):
        function(image, matrix, select=0).square().sum().backward()
    torch.testing.assert_close(matrices[0].grad, matrices[1].grad, rtol=1e-4, atol=1e-3)


def test_gradient_of_the_matrix_does_not_depend_on_the_number_of_threads() -> None:
    image = torch.rand(3, 400, 401)
    grads = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            matrix = HED.clone().requires_grad_()
            color_deconvolution(image, matrix).sum().backward()
            grads.append(matrix.grad)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


def operator_samples() -> list[tuple[str, tuple[object, ...]]]:
    unmixing = reference.unmixing_matrix(HED, None)[0]
    _, constants = reference.unmixing_matrix("hed", "dab")
    mixing = reference.mixing_matrix(HED, (0, 1))[0]
    assert unmixing is not None
    assert mixing is not None
    image = torch.rand(2, 3, 6, 5)
    return [
        ("color_deconvolution", (torch.randint(256, (3, 6, 5), dtype=torch.uint8), None, constants, 0, True)),
        ("color_deconvolution_without_grad", (torch.rand(3, 6, 5, dtype=torch.float64), None, constants, 0, True)),
        ("color_reconvolution_without_grad", (torch.rand(4, 2, 5), mixing, [], 1, True)),
        ("color_deconvolution", (image.requires_grad_(), None, constants, 1, True)),
        ("color_deconvolution", (image.detach().permute(0, 2, 3, 1), unmixing.clone().requires_grad_(), [], 3, False)),
        (
            "color_deconvolution",
            (image.detach().double().requires_grad_(), unmixing.clone().requires_grad_(), [], 1, True),
        ),
        ("color_reconvolution", (torch.rand(4, 2, 5).requires_grad_(), mixing.clone().requires_grad_(), [], 1, True)),
        ("color_reconvolution", (torch.rand(7, 5, 1).bfloat16(), None, constants, 2, False)),
        (
            "color_deconvolution_backward",
            (torch.rand(2, 1, 6, 5), image.detach(), None, constants, 1, True, True, False),
        ),
        ("color_deconvolution_backward", (torch.rand(2, 3, 6, 5), image.detach(), unmixing, [], 1, True, True, True)),
        ("color_reconvolution_backward", (torch.rand(4, 3, 5), torch.rand(4, 2, 5), mixing, [], 1, True, False, True)),
    ]


@pytest.mark.parametrize("sample", range(len(operator_samples())))
def test_opcheck(sample: int) -> None:
    name, arguments = operator_samples()[sample]
    torch.library.opcheck(getattr(torch.ops.pyemo, name).default, arguments)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compile_fullgraph(dynamic: bool) -> None:
    torch._dynamo.reset()

    def model(image: Tensor, matrix: Tensor) -> Tensor:
        stain = color_deconvolution(image, matrix, select=(0, 2))
        named = color_deconvolution(image, "hdx", select="dab")
        return color_reconvolution(stain * 2, matrix, select=(0, 2)) + named

    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in (8, 13):
        inputs = [(torch.rand(2, 3, size, 9).requires_grad_(), HED.clone().requires_grad_()) for _ in range(2)]
        inputs[1][0].data.copy_(inputs[0][0].data)
        results = [compiled(*inputs[0]), model(*inputs[1])]
        torch.testing.assert_close(results[0], results[1])
        for result in results:
            result.sum().backward()
        for got, expected in zip(*inputs, strict=True):
            torch.testing.assert_close(got.grad, expected.grad)


def test_compiled_graph_holds_the_operators_forward_and_backward() -> None:
    from torch._dynamo.backends.common import aot_autograd

    torch._dynamo.reset()
    names: list[str] = []

    def note(graph: torch.fx.GraphModule, example: object) -> Callable[..., object]:
        names.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    compiled = torch.compile(
        lambda image: color_deconvolution(image, select=0), fullgraph=True, backend=aot_autograd(fw_compiler=note)
    )
    compiled(torch.rand(3, 4, 4, requires_grad=True)).sum().backward()
    assert "pyemo.color_deconvolution.default" in names
    assert "pyemo.color_deconvolution_backward.default" in names


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    image = torch.randint(256, (2, 3, 17, 9), dtype=torch.uint8)
    compiled = torch.compile(lambda x: color_deconvolution(x, select="hematoxylin") * 2 + 1, fullgraph=True)
    torch.testing.assert_close(compiled(image), color_deconvolution(image, select="hematoxylin") * 2 + 1)


class Hematoxylin(torch.nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        return color_deconvolution(frames, select="hematoxylin")


def test_export() -> None:
    frames = torch.randint(256, (4, 3, 8, 9), dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(Hematoxylin(), (frames,), dynamic_shapes=({0: batch},))
    more = torch.randint(256, (7, 3, 8, 9), dtype=torch.uint8)
    torch.testing.assert_close(program.module()(more), color_deconvolution(more, select="hematoxylin"))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fake_tensors_have_the_shape_dtype_and_strides_of_real_ones(layout: torch.memory_format) -> None:
    def result(dtype: torch.dtype) -> list[Tensor]:
        image = torch.zeros(2, 3, 8, 9, dtype=dtype).contiguous(memory_format=layout)
        matrix = torch.tensor(STAIN_SETS["hed"].densities)
        results = [color_deconvolution(image, "hdx"), color_deconvolution(image, matrix, select=0)]
        return results if dtype == torch.uint8 else [*results, color_reconvolution(image, matrix)]

    for dtype in (torch.uint8, torch.bfloat16, torch.float64):
        real = result(dtype)
        with FakeTensorMode():
            fake = result(dtype)
        for a, b in zip(real, fake, strict=True):
            assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())


def test_meta_tensors() -> None:
    assert color_deconvolution(torch.empty(5, 3, 8, 9, device="meta"), select=1).shape == (5, 1, 8, 9)


def test_autocast_leaves_the_result_in_float32() -> None:
    image = torch.rand(2, 3, 8, 9).requires_grad_()
    matrix = HED.float().requires_grad_()
    expected = color_deconvolution(image, matrix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = color_deconvolution(image, matrix)
        again = color_reconvolution(result, matrix)
        plain = reference.color_deconvolution(image, matrix)
    assert (result.dtype, again.dtype, plain.dtype) == (torch.float32,) * 3
    assert torch.equal(result, expected)
    torch.testing.assert_close(plain, expected, rtol=0, atol=1e-6)
    result.sum().backward()
    assert image.grad is not None
    assert matrix.grad is not None


def test_inference_mode_and_no_grad() -> None:
    image = torch.rand(3, 8, 9, requires_grad=True)
    with torch.inference_mode():
        inferred = color_deconvolution(image)
    with torch.no_grad():
        plain = color_deconvolution(image)
    assert not inferred.requires_grad
    assert not plain.requires_grad
    assert torch.equal(inferred, plain)


def test_vmap() -> None:
    image = torch.randint(256, (4, 3, 5, 6), dtype=torch.uint8)
    mapped = torch.vmap(lambda x: color_deconvolution(x, select=0))(image)
    torch.testing.assert_close(mapped, color_deconvolution(image, select=0))


def test_a_module_that_uses_it_can_be_copied_and_pickled() -> None:
    image = torch.rand(1, 3, 4, 4)
    module = Hematoxylin()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(other(image), module(image))
