"""Colour deconvolution on a GPU against what torch.compile makes of two formulations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyemo.benchmarking.timing import cuda_sets
from pyemo.ops import color_deconvolution
from pyemo.ops.reference import color_deconvolution as reference
from pyemo.ops.reference.color import DARKEST, unmixing_matrix

pytestmark = pytest.mark.usefixtures("gpu")

SHAPE = (256, 3, 224, 224)
CASES = [
    pytest.param(dtype, layout, select, id=f"{str(dtype).removeprefix('torch.')}-{layout}-{select or 'all'}")
    for dtype in (torch.uint8, torch.float32)
    for layout in ("NCHW", "NHWC")
    for select in ("hematoxylin", None)
]


@pytest.mark.parametrize(("dtype", "layout", "select"), CASES)
def test_forward(compare: Callable[..., None], dtype: torch.dtype, layout: str, select: str | None) -> None:
    pixels = math.prod(SHAPE) // 3
    stains = 3 if select is None else 1
    moved = pixels * (3 * dtype.itemsize + 4 * stains)
    images = [image(dtype, layout) for _ in range(cuda_sets(moved))]
    exact = images[0][:2].double() / (255 if dtype == torch.uint8 else 1)
    compare(
        "color_deconvolution forward on a GPU",
        f"{SHAPE[0]} x {SHAPE[2]}x{SHAPE[3]} {layout} to {select or 'all stains'}",
        dtype,
        {name: lambda i, f=f: f(images[i]) for name, f in implementations(select, dtype).items()},
        inspect=lambda result: result[:2].cpu(),
        expected=reference(exact, select=select).cpu(),
        tolerance=2e-6,
        rounds=20,
        moved_bytes=moved,
        items=("frames", SHAPE[0]),
        sets=len(images),
    )


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_forward_backward(compare: Callable[..., None], layout: str) -> None:
    """To one stain, with the gradient to the image."""
    pixels = math.prod(SHAPE) // 3
    moved = pixels * 4 * (3 + 1 + 1 + 3 + 3)
    images = [image(torch.float32, layout) for _ in range(cuda_sets(moved))]
    grad = torch.randn(SHAPE[0], 1, *SHAPE[2:], device="cuda")
    exact = images[0][:2].double().requires_grad_()

    def step(function: Callable[[Tensor], Tensor], source: Tensor) -> Tensor:
        return torch.autograd.grad(function(source.requires_grad_()), source, grad)[0]

    found = implementations("hematoxylin", torch.float32)
    compare(
        "color_deconvolution forward + backward on a GPU",
        f"{SHAPE[0]} x {SHAPE[2]}x{SHAPE[3]} {layout} to hematoxylin",
        torch.float32,
        {name: lambda i, f=f: step(f, images[i]) for name, f in found.items()},
        inspect=lambda result: result[:2].cpu(),
        expected=torch.autograd.grad(reference(exact, select="hematoxylin"), exact, grad[:2].double())[0].cpu(),
        tolerance=1e-5,
        rounds=20,
        moved_bytes=moved,
        sets=len(images),
    )


def image(dtype: torch.dtype, layout: str) -> Tensor:
    made = torch.randint(256, SHAPE, dtype=torch.uint8, device="cuda")
    if dtype != torch.uint8:
        made = (made / 255).to(dtype)
    return made.contiguous(memory_format=torch.channels_last if layout == "NHWC" else torch.contiguous_format)


def implementations(select: str | None, dtype: torch.dtype) -> dict[str, Callable[[Tensor], Tensor]]:
    _, constants = unmixing_matrix("hed", select)
    count = len(constants) // 3
    stains = [constants[stain::count] for stain in range(count)]
    table = (
        (torch.arange(256, dtype=torch.float64) / 255).clamp(min=DARKEST).log().div(math.log(DARKEST)).float().cuda()
    )

    def unmix(density: Tensor) -> Tensor:
        red, green, blue = density.unbind(1)
        return torch.stack([(red * r + green * g + blue * b).clamp(min=0) for r, g, b in stains], 1)

    def by_logarithm(image: Tensor) -> Tensor:
        scaled = image * (1 / 255) if image.dtype == torch.uint8 else image
        return unmix(scaled.clamp(min=DARKEST).log() * (1 / math.log(DARKEST)))

    def by_table(image: Tensor) -> Tensor:
        return unmix(table[image.int()])

    options: dict[str, Any] = {"dynamic": False, "fullgraph": True}
    found: dict[str, Callable[[Tensor], Tensor]] = {
        "pyemo": lambda image: color_deconvolution(image, select=select),
        "compiled logarithm": torch.compile(by_logarithm, **options),
    }
    if dtype == torch.uint8:
        found["compiled table"] = torch.compile(by_table, **options)
    return found
