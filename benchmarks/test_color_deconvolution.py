"""Colour deconvolution against scikit-image, eager PyTorch and torch.compile (one compilation a shape).

PyTorch gets two formulations, because which one is faster depends on the machine: the logarithm of each value, and, for bytes, a
look-up in a table of 256 logarithms.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage import color as skcolor
from torch import Tensor

from pyemo.ops import color_deconvolution
from pyemo.ops.reference import color_deconvolution as reference
from pyemo.ops.reference.color import DARKEST, unmixing_matrix

SHAPES = {"frames": (32, 224, 224), "video": (1, 1080, 1920), "face": (1, 48, 48)}
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


def implementations(select: str | None, dtype: torch.dtype) -> dict[str, Callable[[Tensor], Tensor]]:
    """pyemo's and PyTorch's."""
    stains = columns(select)

    def logarithm(image: Tensor) -> Tensor:
        return by_logarithm(image, stains)

    def table(image: Tensor) -> Tensor:
        return by_table(image, stains)

    options: dict[str, Any] = {"dynamic": False, "fullgraph": True}
    found = {
        "pyemo": lambda image: color_deconvolution(image, select=select),
        "eager logarithm": logarithm,
        "compiled logarithm": torch.compile(logarithm, **options),
    }
    if dtype == torch.uint8:
        found |= {"eager table": table, "compiled table": torch.compile(table, **options)}
    return found


def separate(image: Tensor, select: str | None) -> np.ndarray:
    """scikit-image's result, (N, H, W, stains)."""
    matrix = skcolor.hed_from_rgb if select is None else skcolor.hed_from_rgb[:, :1]
    return skcolor.separate_stains(image.permute(0, 2, 3, 1).numpy(), matrix)


CASES = [
    pytest.param(
        shape,
        dtype,
        layout,
        select,
        id=f"{name}-{str(dtype).removeprefix('torch.')}-{layout}-{select or 'all'}",
        marks=[pytest.mark.scaling] if (name, layout, select) == ("frames", "NCHW", "hematoxylin") else [],
    )
    for name, shape in SHAPES.items()
    for dtype in (torch.uint8, torch.float32)
    for layout in ("NCHW", "NHWC")
    for select in ("hematoxylin", None)
    # Other sizes than the first in one form only.
    if name == "frames" or (dtype, layout, select) == (torch.uint8, "NCHW", "hematoxylin")
]


@pytest.mark.parametrize(("shape", "dtype", "layout", "select"), CASES)
def test_forward(
    compare: Callable[..., None], shape: tuple[int, int, int], dtype: torch.dtype, layout: str, select: str | None
) -> None:
    image = frames(shape, dtype, layout)
    expected = torch.as_tensor(separate(image, select)).permute(0, 3, 1, 2)
    pixels = image.numel() // 3
    compare(
        "color_deconvolution forward",
        f"{title(shape)} {layout} to {select or 'all stains'}",
        dtype,
        {
            **{name: lambda f=f: f(image) for name, f in implementations(select, dtype).items()},
            "scikit-image": lambda: separate(image, select).transpose(0, 3, 1, 2),
        },
        expected=expected,
        tolerance=2e-6,
        rounds=40,
        moved_bytes=image.nbytes + pixels * 4 * expected.shape[1],
        items=("frames", shape[0]),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_backward(compare: Callable[..., None], layout: str) -> None:
    """The gradient to the image alone, the forward pass not counted."""
    shape, select = SHAPES["frames"], "hematoxylin"
    image = frames(shape, torch.float32, layout).requires_grad_()
    grad = torch.randn(shape[0], 1, *shape[1:])
    exact = image.detach().double().requires_grad_()
    output = functools.cache(lambda f: f(image))
    compare(
        "color_deconvolution backward",
        f"{title(shape)} {layout} from {select}",
        torch.float32,
        {
            name: lambda f=f: torch.autograd.grad(output(f), image, grad, retain_graph=True)
            for name, f in implementations(select, torch.float32).items()
        },
        expected=torch.autograd.grad(reference(exact, select=select), exact, grad.double()),
        tolerance=1e-5,
        rounds=40,
        moved_bytes=2 * image.nbytes + grad.nbytes,
    )


def title(shape: tuple[int, int, int]) -> str:
    count, height, width = shape
    return f"{count} x {height}x{width}"
