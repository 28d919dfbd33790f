"""The CUDA kernels of colour deconvolution, emulated: results and gradients against the reference in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyemo.ops import color
from pyemo.ops.reference import color as reference

DTYPES = [torch.uint8, torch.float32, torch.float64, torch.float16, torch.bfloat16]
GRAD_TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-13, torch.float16: 1e-3, torch.bfloat16: 8e-3}
OWN_STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=torch.float64)


def image(dtype: torch.dtype, *shape: int) -> Tensor:
    return torch.randint(256, shape, dtype=torch.uint8) if dtype == torch.uint8 else torch.rand(shape).to(dtype)


def layouts(dtype: torch.dtype, channels: int) -> dict[str, tuple[Tensor, int]]:
    """Images and the dimension of their channels: with vectors, at the ends of runs, and without."""
    planes = image(dtype, 2, channels, 24, 44)
    return {
        "planes": (planes, 1),
        "packed": (image(dtype, 2, 24, 44, channels), 3),
        "odd planes": (image(dtype, 2, channels, 23, 19), 1),
        "odd packed": (image(dtype, 1, 23, 19, channels), 3),
        "cropped": (image(dtype, 2, channels, 24, 300)[..., 4:-8], 1),
        "strided": (planes.transpose(0, 3)[::3, :, ::5], 1),
        "channels first": (image(dtype, channels, 2, 300), 0),
        "empty": (planes[:, :, :0], 1),
    }


def check(operator: color._Operator, layout: str, dtype: torch.dtype, stains: int, clip: bool, near: Callable[..., None]) -> None:  # fmt: skip
    deconvolution = operator is color._deconvolution
    matrix_of = reference.unmixing_matrix if deconvolution else reference.mixing_matrix
    matrix, constants = matrix_of("hed" if clip else OWN_STAINS, range(stains))
    source, dim = layouts(dtype, 3 if deconvolution else stains)[layout]
    exact = source.double() / 255 if dtype == torch.uint8 else source.double()
    full = reference.as_tensor(matrix, constants, operator.matrix_shape, source.device)

    output = operator.run_cuda(source, matrix, constants, dim, clip)
    near(output, operator.reference_forward(exact, full, dim, clip), 1e-13 if dtype == torch.float64 else 3e-7)
    grad = torch.randn(output.shape, dtype=output.dtype)
    wants_image = dtype != torch.uint8
    arguments = grad, source, matrix, constants, dim, clip, wants_image, matrix is not None
    grads = operator.run_cuda_backward(*arguments)
    expected = operator.reference_backward(grad.double(), exact, full, dim, clip)
    if wants_image:
        near(grads[0], expected[0], GRAD_TOLERANCES[dtype], "image")
    if matrix is not None:
        near(grads[1], expected[1], 1e-12 if dtype == torch.float64 else 1e-5, "matrix")
        assert torch.equal(grads[1], operator.run_cuda_backward(*arguments)[1])


@pytest.mark.parametrize("clip", [True, False], ids=["constants", "matrix"])
@pytest.mark.parametrize("stains", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", layouts(torch.uint8, 3))
def test_deconvolution(
    emulated: object, assert_near: Callable[..., None], layout: str, dtype: torch.dtype, stains: int, clip: bool
) -> None:
    check(color._deconvolution, layout, dtype, stains, clip, assert_near)


@pytest.mark.parametrize("clip", [True, False], ids=["constants", "matrix"])
@pytest.mark.parametrize("stains", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES[1:4], ids=str)
@pytest.mark.parametrize("layout", ["planes", "packed", "odd planes", "strided"])
def test_reconvolution(
    emulated: object, assert_near: Callable[..., None], layout: str, dtype: torch.dtype, stains: int, clip: bool
) -> None:
    check(color._reconvolution, layout, dtype, stains, clip, assert_near)


def test_white_has_no_stain_and_nan_stays(emulated: object) -> None:
    _, constants = reference.unmixing_matrix("hed", None)
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    assert torch.equal(color._deconvolution.run_cuda(white, None, constants, 1, False), torch.zeros(1, 3, 32, 32))
    image = torch.rand(1, 3, 32, 32)
    image[0, 1, 4, 5] = torch.nan
    isnan = color._deconvolution.run_cuda(image, None, constants, 1, True).isnan()
    assert isnan[0, :, 4, 5].all()
    assert isnan.sum() == 3


def test_more_dimensions_than_the_kernels_walk_through(emulated: object, assert_near: Callable[..., None]) -> None:
    _, constants = reference.unmixing_matrix("hed", None)
    image = torch.rand(3, *14 * (2,)).permute(0, *range(14, 0, -1))[..., ::2]
    full = reference.as_tensor(None, constants, (3, -1), image.device)
    output = color._deconvolution.run_cuda(image, None, constants, 0, True)
    assert_near(output, reference.deconvolve(image.double(), full, 0, True), 3e-7)
    assert output.stride() == color._deconvolution.fake(image, None, constants, 0, True).stride()
    grad = torch.rand_like(output)
    grad_image, _ = color._deconvolution.run_cuda_backward(grad, image, None, constants, 0, True, True, False)
    expected, _ = reference.deconvolve_backward(grad.double(), image.double(), full, 0, True)
    assert_near(grad_image, expected, 1e-6)
