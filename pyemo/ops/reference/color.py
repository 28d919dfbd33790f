"""The operations of :mod:`pyemo.ops` in plain PyTorch: what they compute, written for reading.

They run where there is no kernel, they give the second derivatives of the kernels, and tests compare against them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyemo.ops.stains import Select, stain_indices, stain_set

Stains = str | Tensor | np.ndarray | Sequence[Sequence[float]]
"""A name of :data:`pyemo.ops.stains.STAIN_SETS`, or a 3x3 matrix."""

DARKEST = 1e-6
"""What a colour is raised to before its logarithm is taken; its logarithm is the unit of the stains."""


def color_deconvolution(
    image: Tensor, stains: Stains = "hed", *, select: Select = None, channel_dim: int = -3, clip: bool = True
) -> Tensor:
    """See :func:`pyemo.ops.color_deconvolution`."""
    matrix, constants = unmixing_matrix(stains, select)
    return deconvolve(image, as_tensor(matrix, constants, (3, -1), image.device), channel_dim, clip)


def color_reconvolution(
    density: Tensor, stains: Stains = "hed", *, select: Select = None, channel_dim: int = -3, clip: bool = True
) -> Tensor:
    """See :func:`pyemo.ops.color_reconvolution`."""
    matrix, constants = mixing_matrix(stains, select)
    return reconvolve(density, as_tensor(matrix, constants, (-1, 3), density.device), channel_dim, clip)


def unmixing_matrix(stains: Stains, select: Select) -> tuple[Tensor | None, list[float]]:
    """(3, S): optical densities of red, green and blue times this are the amounts of the S selected stains.

    A matrix of the user's is a float64 tensor, with its gradient. That of a name is None and its elements, row by row: constants
    need no device, and are compiled into the graph.
    """
    if isinstance(stains, str):
        known = stain_set(stains)
        indices = stain_indices(select, known.stains)
        return None, [row[i] for row in known.unmixing for i in indices]
    inverse = torch.linalg.inv(_density_matrix(stains))
    return inverse if select is None else inverse[:, list(stain_indices(select, ()))], []


def mixing_matrix(stains: Stains, select: Select) -> tuple[Tensor | None, list[float]]:
    """(S, 3): the optical densities of the S selected stains; a tensor or constants as :func:`unmixing_matrix` returns them."""
    if isinstance(stains, str):
        known = stain_set(stains)
        return None, [value for i in stain_indices(select, known.stains) for value in known.densities[i]]
    densities = _density_matrix(stains)
    return densities if select is None else densities[list(stain_indices(select, ()))], []


def _density_matrix(stains: Tensor | np.ndarray | Sequence[Sequence[float]]) -> Tensor:
    """The user's 3x3 matrix, in float64 because float32 loses too much when it is inverted."""
    matrix = torch.as_tensor(stains)
    if matrix.shape != (3, 3) or matrix.is_complex():
        raise ValueError(
            "stains must be a name or a real 3x3 matrix of optical densities, "
            f"got {str(matrix.dtype).removeprefix('torch.')} of shape {tuple(matrix.shape)}"
        )
    return matrix.to(torch.float64)


def as_tensor(matrix: Tensor | None, constants: list[float], shape: tuple[int, int], device: torch.device) -> Tensor:
    """What :func:`unmixing_matrix` or :func:`mixing_matrix` returned, as one tensor."""
    if matrix is None:
        matrix = torch.tensor(constants, dtype=torch.float64).view(shape)
    return matrix.to(device)


def deconvolve(image: Tensor, unmixing: Tensor, channel_dim: int, clip: bool) -> Tensor:
    """``log(max(image, 1e-6)) / log(1e-6) @ unmixing`` over the channels."""
    stains = _mix(_optical_density(_colors(image)).unbind(channel_dim), unmixing)
    result = torch.stack(stains, channel_dim)
    return result.clamp(min=0) if clip else result


def deconvolve_backward(
    grad: Tensor, image: Tensor, unmixing: Tensor, channel_dim: int, clip: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`deconvolve` to image and matrix; differentiable in turn."""
    colors = _colors(image)
    density = _optical_density(colors).unbind(channel_dim)
    grads = grad.unbind(channel_dim)
    if clip:
        stains = _mix(density, unmixing)
        grads = tuple([torch.where(stain >= 0, g, 0) for g, stain in zip(grads, stains, strict=True)])
    grad_density = torch.stack(_mix(grads, unmixing.T), channel_dim)
    grad_image = torch.where(colors >= DARKEST, grad_density / (colors.clamp(min=DARKEST) * math.log(DARKEST)), 0)
    return grad_image.to(image.dtype), _products(density, grads).to(unmixing.dtype)


def reconvolve(density: Tensor, mixing: Tensor, channel_dim: int, clip: bool) -> Tensor:
    """``exp(log(1e-6) * density @ mixing)`` over the channels."""
    result = torch.stack(_reconvolved(density, mixing, channel_dim), channel_dim)
    return result.clamp(max=1) if clip else result


def reconvolve_backward(
    grad: Tensor, density: Tensor, mixing: Tensor, channel_dim: int, clip: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`reconvolve` to density and matrix; differentiable in turn."""
    colors = _reconvolved(density, mixing, channel_dim)
    grads = grad.unbind(channel_dim)
    if clip:
        grads = tuple([torch.where(color <= 1, g, 0) for g, color in zip(grads, colors, strict=True)])
    grads = tuple([g * color * math.log(DARKEST) for g, color in zip(grads, colors, strict=True)])
    grad_density = torch.stack(_mix(grads, mixing.T), channel_dim)
    return grad_density.to(density.dtype), _products(_float(density).unbind(channel_dim), grads).to(mixing.dtype)


def _reconvolved(density: Tensor, mixing: Tensor, channel_dim: int) -> tuple[Tensor, ...]:
    mixed = _mix(_float(density).unbind(channel_dim), mixing)
    return tuple([torch.exp(math.log(DARKEST) * color) for color in mixed])


def _float(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def _colors(image: Tensor) -> Tensor:
    return _float(image) / 255 if image.dtype == torch.uint8 else _float(image)


def _optical_density(colors: Tensor) -> Tensor:
    return torch.log(colors.clamp(min=DARKEST)) / math.log(DARKEST)


def _mix(channels: tuple[Tensor, ...], matrix: Tensor) -> tuple[Tensor, ...]:
    """The row vector of channels times the matrix. Not by matmul, which autocast and TF32 would make less exact."""
    columns = matrix.to(channels[0].dtype).unbind(1)
    return tuple([sum(c * k for c, k in zip(channels, column, strict=True)) for column in columns])


def _products(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack([(a * b).sum() for b in right]) for a in left])
