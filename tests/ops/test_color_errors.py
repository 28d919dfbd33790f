"""Bad input to colour deconvolution: the error, and that its message names what was wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyemo.ops import color_deconvolution, color_reconvolution
from pyemo.ops.native import native, tensor_view
from pyemo.ops.reference import color as reference

IMAGE = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("image", "options", "error", "parts"),
    [
        (torch.zeros(2, 4, 4, 5), {}, ValueError, ["3 channels", "dimension -3", "(2, 4, 4, 5)"]),
        (torch.zeros(2, 4, 5, 3), {}, ValueError, ["3 channels", "(2, 4, 5, 3)"]),
        (np.zeros((4, 5, 4)), {"channel_dim": -1}, ValueError, ["3 channels", "dimension -1", "(4, 5, 4)"]),
        (torch.zeros(3, 4), {}, ValueError, ["no dimension -3", "(3, 4)"]),
        (torch.zeros(()), {"channel_dim": 0}, ValueError, ["no dimension 0", "()"]),
        (torch.zeros(3, 4, 5), {"channel_dim": 3}, ValueError, ["no dimension 3", "(3, 4, 5)"]),
        (torch.zeros(3, 4, 5, dtype=torch.int64), {}, TypeError, ["uint8", "torch.int64", "(3, 4, 5)"]),
        (torch.zeros(3, 4, 5, dtype=torch.complex64), {}, TypeError, ["uint8", "torch.complex64"]),
        (np.zeros((3, 4, 5), np.uint16), {}, TypeError, ["uint8", "uint16", "(3, 4, 5)"]),
        ([[1, 2, 3]], {}, TypeError, ["torch.Tensor", "list"]),
        (IMAGE, {"stains": "xyz"}, ValueError, ["'xyz'", "hed", "3x3"]),
        (IMAGE, {"stains": torch.zeros(3, 2)}, ValueError, ["3x3", "(3, 2)"]),
        (IMAGE, {"stains": torch.zeros(3, 3, dtype=torch.complex64)}, ValueError, ["3x3", "complex64"]),
        (IMAGE, {"select": "red"}, ValueError, ["'red'", "hematoxylin, eosin, dab"]),
        (IMAGE, {"select": 3}, ValueError, ["3", "three"]),
        (IMAGE, {"select": (0, -3)}, ValueError, ["different", "(0, -3)"]),
        (IMAGE, {"select": []}, ValueError, ["one to three", "[]"]),
        (IMAGE, {"select": "dab", "stains": np.eye(3)}, ValueError, ["'dab'", "no names"]),
        (IMAGE, {"stains": np.zeros((3, 3))}, torch.linalg.LinAlgError, ["singular"]),
    ],
)
def test_deconvolution(image: Any, options: dict[str, Any], error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        color_deconvolution(image, **options)
    for part in parts:
        assert part in str(caught.value)


def test_reconvolution() -> None:
    with pytest.raises(ValueError, match=r"1 channels.*\(2, 3, 4, 5\)"):
        color_reconvolution(IMAGE.float(), select="dab")
    with pytest.raises(TypeError, match=r"float32.*torch.uint8.*\(2, 3, 4, 5\)"):
        color_reconvolution(IMAGE)


@pytest.mark.skipif(native is None, reason="pyemo was built without its native module")
def test_the_native_module_checks_for_itself() -> None:
    """It must not be brought to touch foreign memory, whoever calls it."""
    assert native is not None
    _, constants = reference.unmixing_matrix("hed", 0)
    target = torch.empty(2, 1, 4, 5)  # a view does not keep its tensor alive
    image, output = tensor_view(IMAGE), tensor_view(target)

    def run(image: Any = image, dim: int = 1, matrix: Any = constants, output: Any = output) -> None:
        native.color_deconvolution(image, dim, matrix, True, output, 1)

    run()
    with pytest.raises(ValueError, match=r"output float32 \(2, 1, 4, 4\) does not fit input uint8 \(2, 3, 4, 5\)"):
        run(output=tensor_view(torch.empty(2, 1, 4, 4)))
    with pytest.raises(TypeError, match=r"must be float32, got float64 \(2, 1, 4, 5\)"):
        run(output=tensor_view(torch.empty(2, 1, 4, 5, dtype=torch.float64)))
    with pytest.raises(ValueError, match=r"expected 3 channels in dimension 0, got uint8 \(2, 3, 4, 5\)"):
        run(dim=0)
    with pytest.raises(ValueError, match=r"expected 3 channels in dimension 7"):
        run(dim=7)
    with pytest.raises(ValueError, match=r"3, 6 or 9 elements, got 4"):
        run(matrix=[1.0] * 4)
    with pytest.raises(TypeError, match=r"not supported, got int16 \(2, 3, 4, 5\)"):
        run(image=tensor_view(IMAGE.to(torch.int16)))
    with pytest.raises(TypeError, match=r"address, dtype code, sizes, strides"):
        run(image=(1, 2))
    with pytest.raises(TypeError, match=r"unknown dtype code 99"):
        run(image=(0, 99, (3,), (1,)))
    with pytest.raises(ValueError, match=r"at most 64 dimensions, got 65"):
        run(image=(0, 0, (1,) * 65, (1,) * 65))
    with pytest.raises(ValueError, match=r"gradient float32 \(3,\) does not fit input float32 \(2, 3, 4, 5\)"):
        native.color_deconvolution_backward(
            output, tensor_view(IMAGE.float()), 1, constants, True, tensor_view(torch.empty(3)), False, 1
        )
