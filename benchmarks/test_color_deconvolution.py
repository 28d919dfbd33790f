"""Colour deconvolution against scikit-image, eager PyTorch and torch.compile (one compilation a shape).

PyTorch gets two formulations, because which one is faster depends on the machine: the logarithm of each value, and, for bytes, a
look-up in a table of 256 logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from skimage import color as skcolor
from torch import Tensor

from pyemo.ops import color_deconvolution
from pyemo.ops.reference.color import DARKEST, unmixing_matrix

Measure = Callable[[Callable[[], object], str, str, int, int], None]

SHAPES = {"32 frames 224x224": (32, 224, 224), "1 frame 1080x1920": (1, 1080, 1920), "1 face 48x48": (1, 48, 48)}
TABLE = (torch.arange(256, dtype=torch.float64) / 255).clamp(min=DARKEST).log().div(math.log(DARKEST)).float()


def frames(shape: tuple[int, int, int], dtype: torch.dtype, layout: str) -> Tensor:
    """(N, 3, H, W); in memory (N, H, W, 3) if the layout is NHWC."""
    count, height, width = shape
    image = torch.randint(256, (count, 3, height, width), dtype=torch.uint8)
    if dtype != torch.uint8:
        image = (image / 255).to(dtype)
    return image.contiguous(memory_format=torch.channels_last if layout == "NHWC" else torch.contiguous_format)


def columns(select: str | None) -> list[list[float]]:
    """The unmixing matrix, a list for each wanted stain."""
    _, constants = unmixing_matrix("hed", select)
    count = len(constants) // 3
    return [constants[stain::count] for stain in range(count)]


def by_logarithm(image: Tensor, stains: list[list[float]]) -> Tensor:
    scaled = image * (1 / 255) if image.dtype == torch.uint8 else image
    density = scaled.clamp(min=DARKEST).log() * (1 / math.log(DARKEST))
    return unmix(density, stains)


def by_table(image: Tensor, stains: list[list[float]]) -> Tensor:
    return unmix(TABLE[image.int()], stains)


def unmix(density: Tensor, stains: list[list[float]]) -> Tensor:
    red, green, blue = density.unbind(1)
    return torch.stack([(red * r + green * g + blue * b).clamp(min=0) for r, g, b in stains], 1)


def implementation(name: str, image: Tensor, select: str | None) -> Callable[[], object]:
    if name == "pyemo":
        return lambda: color_deconvolution(image, select=select)
    if name == "scikit-image":
        array = image.permute(0, 2, 3, 1).numpy()
        matrix = skcolor.hed_from_rgb if select is None else skcolor.hed_from_rgb[:, :1]
        return lambda: skcolor.separate_stains(array, matrix)
    stains = columns(select)
    function = by_table if "table" in name else by_logarithm
    if "compile" in name:
        torch._dynamo.reset()
        function = torch.compile(function, dynamic=False)
    return lambda: function(image, stains)


NAMES = [
    "pyemo",
    "scikit-image",
    "torch, logarithm",
    "torch, table",
    "torch.compile, logarithm",
    "torch.compile, table",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("select", ["hematoxylin", None])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(measure: Measure, shape: str, dtype: torch.dtype, layout: str, select: str | None, name: str) -> None:
    if "table" in name and dtype != torch.uint8:
        pytest.skip("the table is for bytes")
    if shape != "32 frames 224x224" and (layout, dtype, select) != ("NCHW", torch.uint8, "hematoxylin"):
        pytest.skip("other sizes in one form only")
    image = frames(SHAPES[shape], dtype, layout)
    function = implementation(name, image, select)
    expected = implementation("scikit-image", image, select)()
    result = function()
    if isinstance(result, Tensor):
        torch.testing.assert_close(
            result.double(), torch.as_tensor(expected).double().permute(0, 3, 1, 2), rtol=0, atol=2e-6
        )
    pixels = image.numel() // 3
    moved = image.nbytes + pixels * 4 * (1 if select else 3)
    case = f"forward, {shape}, {str(dtype).removeprefix('torch.')} {layout} -> {select or 'all stains'}"
    measure(function, case, name, moved, 10 if name == "scikit-image" else 50)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "scikit-image" and "table" not in name])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_backward(measure: Measure, layout: str, name: str) -> None:
    """The gradient to the image alone, the forward pass not counted."""
    image = frames((32, 224, 224), torch.float32, layout).requires_grad_()
    result = implementation(name, image, "hematoxylin")()
    assert isinstance(result, Tensor)
    grad = torch.randn_like(result)
    moved = 2 * image.nbytes + grad.nbytes
    case = f"backward, 32 frames 224x224, float32 {layout} <- hematoxylin"
    measure(lambda: torch.autograd.grad(result, image, grad, retain_graph=True), case, name, moved, 50)
