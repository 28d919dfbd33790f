"""Colour deconvolution and its inverse: from an image to the amounts of stains (or dyes, or pigments) in it, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pyemo.ops import cuda
from pyemo.ops.native import array_view, library, native, tensor_view, viewable, warn_of_fallback
from pyemo.ops.reference import color as reference
from pyemo.ops.stains import Select

Array = TypeVar("Array", Tensor, np.ndarray)

Forward = Callable[[Tensor, Tensor, int, bool], Tensor]
Backward = Callable[[Tensor, Tensor, Tensor, int, bool], tuple[Tensor, Tensor]]

_FLOATING = ("float32", "float64", "float16", "bfloat16")


def color_deconvolution(
    image: Array, stains: reference.Stains = "hed", *, select: Select = None, channel_dim: int = -3, clip: bool = True
) -> Array:
    """Separate an RGB image into its stains (Ruifrok & Johnston 2001, as scikit-image's ``separate_stains`` defines it).

    Each pixel's optical densities, ``log(max(rgb, 1e-6)) / log(1e-6)``, are multiplied by the inverse of the stains' matrix.

    Args:
        image: (..., 3, ...) RGB along ``channel_dim``; any number of other dimensions and any strides, read where it is. uint8, or
            float32, float64, float16 or bfloat16 in [0, 1]. NumPy arrays are accepted too.
        stains: the name of a stain set (hed, hdx, fgx, bex, rbd, gdx, hax, bro, bpx, ahx, hpx) or a 3x3 matrix whose rows are the
            stains' optical densities of red, green and blue.
        select: the wanted stains by index or name (``"hematoxylin"``), one or a sequence; all three by default. The names of a set
            are in :data:`pyemo.ops.stains.STAIN_SETS`.
        channel_dim: the dimension of the colours; -3 for (..., 3, H, W), -1 for (..., H, W, 3).
        clip: raise negative amounts to 0.

    Returns:
        The image's shape with as many channels as stains are selected (one stain keeps its dimension), float32; float64 for a
        float64 image. A tensor keeps the order of the image's dimensions in memory. Gradients flow to a floating image and to a
        matrix that is a tensor, but not through NumPy arrays.

    Raises:
        TypeError: the dtype of the image is none of those above.
        ValueError: the image has no 3 channels in ``channel_dim``; unknown stains; the matrix is not 3x3.
        torch.linalg.LinAlgError: the matrix is singular.

    >>> frames = torch.randint(256, (8, 3, 224, 224), dtype=torch.uint8)
    >>> color_deconvolution(frames, select="hematoxylin").shape
    torch.Size([8, 1, 224, 224])
    """
    dim = _checked_dim("image", image, channel_dim, ("uint8", *_FLOATING))
    if image.shape[dim] != 3:
        raise ValueError(f"image must have 3 channels in dimension {channel_dim}, got shape {tuple(image.shape)}")
    matrix, constants = reference.unmixing_matrix(stains, select)
    return _deconvolution(image, matrix, constants, dim, clip)


def color_reconvolution(
    density: Array, stains: reference.Stains = "hed", *, select: Select = None, channel_dim: int = -3, clip: bool = True
) -> Array:
    """Mix stains into an RGB image: the inverse of :func:`color_deconvolution` (scikit-image's ``combine_stains``).

    ``rgb = exp(log(1e-6) * density @ matrix)``. With ``select``, an image of some of the stains alone.

    Args:
        density: (..., S, ...) amounts of the stains along ``channel_dim``, as :func:`color_deconvolution` returns them; float32,
            float64, float16 or bfloat16, any strides. NumPy arrays are accepted too.
        stains: as in :func:`color_deconvolution`.
        select: which stains the channels are, by index or name, in their order; all three by default. Stains left out count as 0.
        channel_dim: the dimension of the stains.
        clip: lower values above 1, which negative amounts give, to 1.

    Returns:
        (..., 3, ...) RGB in [0, 1], float32; float64 for float64. Gradients flow to the amounts and to a matrix that is a tensor.

    Raises:
        TypeError: the dtype of ``density`` is none of those above.
        ValueError: ``density`` does not have as many channels as stains are selected; unknown stains; the matrix is not 3x3.
    """
    dim = _checked_dim("density", density, channel_dim, _FLOATING)
    matrix, constants = reference.mixing_matrix(stains, select)
    stain_count = _stain_count(matrix, constants)
    if density.shape[dim] != stain_count:
        raise ValueError(
            f"density must have {stain_count} channels, one a stain, in dimension {channel_dim}, got shape {tuple(density.shape)}"
        )
    return _reconvolution(density, matrix, constants, dim, clip)


def _checked_dim(name: str, array: Tensor | np.ndarray, channel_dim: int, dtypes: tuple[str, ...]) -> int:
    """``channel_dim`` counted from the first dimension."""
    if not isinstance(array, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a torch.Tensor or a numpy.ndarray, got {type(array).__name__}")
    dtype = str(array.dtype).removeprefix("torch.") if isinstance(array, Tensor) else array.dtype.name
    if dtype not in dtypes:
        raise TypeError(f"{name} must be of dtype {', '.join(dtypes)}, got {array.dtype} of shape {tuple(array.shape)}")
    if not -array.ndim <= channel_dim < array.ndim:
        raise ValueError(f"{name} has no dimension {channel_dim} for its channels: its shape is {tuple(array.shape)}")
    return channel_dim % array.ndim


def _stain_count(matrix: Tensor | None, constants: list[float]) -> int:
    return (len(constants) if matrix is None else matrix.numel()) // 3


def _empty(image: Tensor, dim: int, channels: int) -> Tensor:
    """The result, not yet filled, its dimensions in memory in the image's order."""
    shape = list(image.shape)
    shape[dim] = channels
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    if image.is_contiguous():
        return torch.empty(shape, dtype=dtype, device=image.device)
    return torch.empty_permuted(shape, _order(image), dtype=dtype, device=image.device)


def _order(image: Tensor) -> list[int]:
    """Of its dimensions in memory, outermost first."""
    return sorted(range(image.ndim), key=image.stride, reverse=True)


class _Operator:
    """One of the two operators: its registration, and the call with a tensor or an array.

    Both multiply channels by a matrix, given as a tensor or, where that is None, as constants row by row. They differ in their
    kernels and references, and in the shape of the matrix.

    Each is defined twice: ``NAME`` has gradients, which take a second passage through Python even where none is wanted;
    ``NAME_without_grad`` spares that.
    """

    def __init__(self, name: str, matrix_shape: tuple[int, int], forward: Forward, backward: Backward) -> None:
        self.name = name
        self.matrix_shape = matrix_shape  # -1 for the stains
        self.reference_forward = forward
        self.reference_backward = backward

        for operator in (name, f"{name}_without_grad"):
            library.define(
                f"{operator}(Tensor image, Tensor? matrix, float[] constants, int channel_dim, bool clip) -> Tensor"
            )
            # Every backend runs the reference but those that have a kernel.
            library.impl(operator, self.run_reference, "CompositeExplicitAutograd")
            if native is not None:
                library.impl(operator, self.run_native, "CPU")
            if cuda.kernels is not None:
                library.impl(operator, self.run_cuda, "CUDA")
            torch.library.register_fake(f"pyemo::{operator}", self.fake, lib=library)
        library.define(
            f"{name}_backward(Tensor grad, Tensor image, Tensor? matrix, float[] constants, int channel_dim, bool clip,"
            " bool wants_image, bool wants_matrix) -> (Tensor, Tensor)"
        )
        self.forward_op = getattr(torch.ops.pyemo, name).default
        self.backward_op = getattr(torch.ops.pyemo, f"{name}_backward").default

        self.forward_op_without_grad = getattr(torch.ops.pyemo, f"{name}_without_grad").default
        library.impl(f"{name}_backward", self.run_reference_backward, "CompositeExplicitAutograd")
        if native is not None:
            self.native_forward = getattr(native, name)
            self.native_backward = getattr(native, f"{name}_backward")
            library.impl(f"{name}_backward", self.run_native_backward, "CPU")
        if cuda.kernels is not None:
            library.impl(f"{name}_backward", self.run_cuda_backward, "CUDA")
        torch.library.register_fake(f"pyemo::{name}_backward", self.fake_backward, lib=library)
        torch.library.register_autograd(
            f"pyemo::{name}", self.differentiate, setup_context=self.save_for_backward, lib=library
        )

    def __call__(self, image: Array, matrix: Tensor | None, constants: list[float], dim: int, clip: bool) -> Array:
        if isinstance(image, Tensor):
            if matrix is not None:
                matrix = matrix.to(image.device)
            wants_grad = image.requires_grad or (matrix is not None and matrix.requires_grad)
            op = self.forward_op if wants_grad and torch.is_grad_enabled() else self.forward_op_without_grad
            return op(image, matrix, constants, dim, clip)
        if matrix is not None:
            matrix = matrix.detach().cpu()
        if native is None:
            return self.forward_op_without_grad(torch.from_numpy(np.array(image)), matrix, constants, dim, clip).numpy()
        image = viewable(image)
        shape = list(image.shape)
        shape[dim] = self.output_channels(matrix, constants)
        output = np.empty(shape, np.float64 if image.dtype == np.float64 else np.float32)
        coefficients = _coefficients(matrix, constants)
        self.native_forward(array_view(image), dim, coefficients, clip, array_view(output), torch.get_num_threads())
        return output

    def output_channels(self, matrix: Tensor | None, constants: list[float]) -> int:
        return 3 if self.matrix_shape[1] == 3 else _stain_count(matrix, constants)

    def fake(
        self, image: Tensor, matrix: Tensor | None, constants: list[float], channel_dim: int, clip: bool
    ) -> Tensor:
        return _empty(image, channel_dim, self.output_channels(matrix, constants))

    def run_native(
        self, image: Tensor, matrix: Tensor | None, constants: list[float], channel_dim: int, clip: bool
    ) -> Tensor:
        output = self.fake(image, matrix, constants, channel_dim, clip)
        coefficients = _coefficients(matrix, constants)
        threads = torch.get_num_threads()
        self.native_forward(tensor_view(image), channel_dim, coefficients, clip, tensor_view(output), threads)
        return output

    def run_cuda(
        self, image: Tensor, matrix: Tensor | None, constants: list[float], channel_dim: int, clip: bool
    ) -> Tensor:
        kernel = getattr(cuda.require_built(), self.name)
        output = self.fake(image, matrix, constants, channel_dim, clip)
        image, matrix = _few_loops(image, _order(image)), _on_device(matrix)
        view = None if matrix is None else tensor_view(matrix)
        kernel(cuda.queue_of(image), tensor_view(image), channel_dim, constants, view, clip, tensor_view(output))
        return output

    def run_reference(
        self, image: Tensor, matrix: Tensor | None, constants: list[float], channel_dim: int, clip: bool
    ) -> Tensor:
        if image.is_cuda and cuda.kernels is None:
            cuda.warn_of_fallback()
        elif native is None:
            warn_of_fallback()
        full = reference.as_tensor(matrix, constants, self.matrix_shape, image.device)
        output = self.fake(image, matrix, constants, channel_dim, clip)
        return output.copy_(self.reference_forward(image, full, channel_dim, clip))

    def fake_backward(
        self,
        grad: Tensor,
        image: Tensor,
        matrix: Tensor | None,
        constants: list[float],
        channel_dim: int,
        clip: bool,
        wants_image: bool,
        wants_matrix: bool,
    ) -> tuple[Tensor, Tensor]:
        """Both gradients, not yet filled; one that is not wanted has no elements."""
        grad_image = torch.empty_like(image) if wants_image else image.new_empty(0)
        shape = matrix.shape if wants_matrix and matrix is not None else (0,)
        return grad_image, torch.empty(shape, dtype=torch.float64, device=image.device)

    def run_native_backward(
        self,
        grad: Tensor,
        image: Tensor,
        matrix: Tensor | None,
        constants: list[float],
        channel_dim: int,
        clip: bool,
        wants_image: bool,
        wants_matrix: bool,
    ) -> tuple[Tensor, Tensor]:
        grad_image = torch.empty_like(image) if wants_image else image.new_empty(0)
        sums = self.native_backward(
            tensor_view(grad),
            tensor_view(image),
            channel_dim,
            _coefficients(matrix, constants),
            clip,
            tensor_view(grad_image) if wants_image else None,
            wants_matrix,
            torch.get_num_threads(),
        )
        grad_matrix = torch.tensor(sums, dtype=torch.float64)
        return grad_image, grad_matrix.view(matrix.shape) if wants_matrix and matrix is not None else grad_matrix

    def run_cuda_backward(
        self,
        grad: Tensor,
        image: Tensor,
        matrix: Tensor | None,
        constants: list[float],
        channel_dim: int,
        clip: bool,
        wants_image: bool,
        wants_matrix: bool,
    ) -> tuple[Tensor, Tensor]:
        module = cuda.require_built()
        grad_image, grad_matrix = self.fake_backward(
            grad, image, matrix, constants, channel_dim, clip, wants_image, wants_matrix
        )
        wants_matrix = wants_matrix and matrix is not None
        order, matrix = _order(image), _on_device(matrix)
        target = grad_image if image.ndim <= 12 or not wants_image else _dense_like(image, order)
        grad, image = _few_loops(grad, order), _few_loops(image, order)
        queue = cuda.queue_of(image)
        workspace = cuda.workspace(image, module.color_backward_workspace(queue[0]) if wants_matrix else 0)
        getattr(module, f"{self.name}_backward")(
            queue,
            tensor_view(grad),
            tensor_view(image),
            channel_dim,
            constants,
            None if matrix is None else tensor_view(matrix),
            clip,
            tensor_view(target) if wants_image else None,
            tensor_view(grad_matrix) if wants_matrix else None,
            tensor_view(workspace),
        )
        return grad_image if target is grad_image else grad_image.copy_(target), grad_matrix

    def run_reference_backward(
        self,
        grad: Tensor,
        image: Tensor,
        matrix: Tensor | None,
        constants: list[float],
        channel_dim: int,
        clip: bool,
        wants_image: bool,
        wants_matrix: bool,
    ) -> tuple[Tensor, Tensor]:
        full = reference.as_tensor(matrix, constants, self.matrix_shape, image.device)
        targets = self.fake_backward(grad, image, matrix, constants, channel_dim, clip, wants_image, wants_matrix)
        sources = self.reference_backward(grad, image, full, channel_dim, clip)
        for target, source, wanted in zip(targets, sources, (wants_image, wants_matrix), strict=True):
            if wanted:
                target.copy_(source)
        return targets

    @staticmethod
    def save_for_backward(
        ctx: Any, inputs: tuple[Tensor, Tensor | None, list[float], int, bool], output: Tensor
    ) -> None:
        image, matrix, ctx.constants, ctx.channel_dim, ctx.clip = inputs
        ctx.save_for_backward(image, matrix)

    def differentiate(self, ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        image, matrix = ctx.saved_tensors
        wants_image, wants_matrix = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # second derivatives are wanted
            full = reference.as_tensor(matrix, ctx.constants, self.matrix_shape, image.device)
            grads = self.reference_backward(grad, image, full, ctx.channel_dim, ctx.clip)
        else:
            arguments = (grad, image, matrix, ctx.constants, ctx.channel_dim, ctx.clip)
            grads = self.backward_op(*arguments, wants_image, wants_matrix)
        return grads[0] if wants_image else None, grads[1] if wants_matrix else None, None, None, None


def _coefficients(matrix: Tensor | None, constants: list[float]) -> list[float]:
    return constants if matrix is None else matrix.flatten().tolist()


def _few_loops(tensor: Tensor, order: list[int]) -> Tensor:
    """Itself, or a dense copy in that order if it may have more dimensions than a CUDA kernel walks through: dense ones of one order are
    walked through as one."""
    return tensor if tensor.ndim <= 12 else _dense_like(tensor, order).copy_(tensor)


def _dense_like(tensor: Tensor, order: list[int]) -> Tensor:
    return torch.empty_permuted(tensor.shape, order, dtype=tensor.dtype, device=tensor.device)


def _on_device(matrix: Tensor | None) -> Tensor | None:
    """As a CUDA kernel reads it where it is: asking for its elements would wait for the device."""
    return None if matrix is None else matrix.to(torch.float64).contiguous()


_deconvolution = _Operator("color_deconvolution", (3, -1), reference.deconvolve, reference.deconvolve_backward)
_reconvolution = _Operator("color_reconvolution", (-1, 3), reference.reconvolve, reference.reconvolve_backward)
