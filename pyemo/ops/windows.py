"""Attention within the windows of a feature map, as in Swin Transformers, fused into one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd import forward_ad

from pyemo.ops import cuda
from pyemo.ops.direct import connected, direct, seen_by_python
from pyemo.ops.native import as_tensor, library, native, tensor_view, view_of, warn_of_fallback
from pyemo.ops.reference import windows as reference

Array = TypeVar("Array", Tensor, np.ndarray)

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_DTYPE_NAMES = "float32, bfloat16, float16 or float64"


def window_attention(
    qkv: Array,
    bias: Array | None = None,
    *,
    num_heads: int,
    window_size: int | Sequence[int],
    shift_size: int | Sequence[int] = 0,
    scale: float | None = None,
    logit_scale: Array | None = None,
    mask: Array | None = None,
) -> Array:
    """Multi-head attention within the windows of a map: W-MSA and SW-MSA of Swin Transformer (Liu et al. 2021) and SwinV2 (2022).

    In one pass: cyclic shift by ``-shift_size``, partition into windows of N tokens, ``softmax(scale * q @ k.T + bias + masks) @ v``,
    merge of the windows, shift back. With a shift, the logits of tokens from opposite borders of the map, which the shift has put into
    one window, are lowered by 100, as in timm, torchvision and the authors' code.

    Args:
        qkv: (B, H, W, 3 * C), a channels-last map of queries, keys and values, channels ordered (q|k|v, head, head_dim): what timm's and
            torchvision's ``qkv`` linear layer gives. float32, bfloat16, float16 or float64, any strides (the channels are copied
            together if they are apart). NumPy arrays are accepted too, and then returned.
        bias: (num_heads, N, N), added to the logits; relative position bias.
        num_heads: C is a multiple of it.
        window_size: height and width of a window, one for both or (height, width). They divide H and W.
        shift_size: of the windows, one or (height, width); from 0 up to the window's size less one.
        scale: of the products of queries and keys, ``head_dim ** -0.5`` by default.
        logit_scale: (num_heads,): makes it cosine attention as in SwinV2. Queries and keys are divided by their norms and their products
            multiplied by it; it is the factor itself, after any clamp and exponential. Excludes ``scale``.
        mask: (windows, N, N), added to the logits of all heads and images; windows are counted row by row within the shifted map.

    Returns:
        (B, H, W, C), channels ordered (head, head_dim), contiguous, of qkv's dtype. All is computed in float32 (float64 for float64),
        whatever autocast says, which leaves qkv's dtype as it is: under autocast, linear layers give bfloat16 already. ``bias``,
        ``logit_scale`` and ``mask`` may have other floating dtypes. Gradients flow to qkv, bias and logit_scale. For the
        backward pass, these inputs are kept; on a CPU, small maps' powers of the softmax too, 8 MB a call at most. Results do not
        depend on the number of threads; on one kind of GPU they are always the same bits. On a CPU, values above 1e24 may overflow.

    Raises:
        TypeError: an argument is neither tensor nor array or has a dtype that is not floating.
        ValueError: shapes do not fit, ``scale`` beside ``logit_scale``, or a mask that requires grad.

    >>> qkv = torch.randn(8, 56, 56, 3 * 96)
    >>> bias = torch.randn(3, 49, 49)
    >>> window_attention(qkv, bias, num_heads=3, window_size=7, shift_size=3).shape
    torch.Size([8, 56, 56, 96])
    """
    checked = False
    if connected and not seen_by_python() and (scale is None or logit_scale is None):
        threads, grad_enabled = torch.get_num_threads(), torch.is_grad_enabled()
        output = native.direct_window_attention(  # type: ignore[union-attr]
            qkv, bias, mask, logit_scale, num_heads, window_size, shift_size, scale, threads, grad_enabled
        )
        checked = output is True
        if output is not None and not checked:
            return output
    if isinstance(qkv, np.ndarray):
        return window_attention(
            _from_numpy(qkv),
            None if bias is None else _from_numpy(bias),
            num_heads=num_heads,
            window_size=window_size,
            shift_size=shift_size,
            scale=scale,
            logit_scale=None if logit_scale is None else _from_numpy(logit_scale),
            mask=None if mask is None else _from_numpy(mask),
        ).numpy()
    window, shift = _pair("window_size", window_size), _pair("shift_size", shift_size)
    if checked:
        constants = num_heads, window, shift, _scale(scale, qkv, num_heads, logit_scale)
        return _Function.apply(None, qkv, bias, mask, logit_scale, *constants)
    _check(qkv, num_heads, window, shift)
    tokens = window[0] * window[1]
    wants_grad = qkv.requires_grad
    if bias is not None:
        _check_addend("bias", bias, (num_heads, tokens, tokens), "(num_heads, N, N)")
        wants_grad = wants_grad or bias.requires_grad
    if logit_scale is not None:
        _check_addend("logit_scale", logit_scale, (num_heads,), "(num_heads,)")
        wants_grad = wants_grad or logit_scale.requires_grad
        if scale is not None:
            raise ValueError(
                f"scale is for attention without logit_scale: give one of them, got scale={scale} beside it"
            )
    if mask is not None:
        windows = (qkv.shape[1] // window[0]) * (qkv.shape[2] // window[1])
        _check_addend("mask", mask, (windows, tokens, tokens), "(windows, N, N)")
        if mask.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "mask has no gradient: detach it, or make it a part of bias if it is the same for all windows"
            )
    scale = _scale(scale, qkv, num_heads, logit_scale)
    wants_grad = wants_grad and torch.is_grad_enabled()
    if native is not None and direct(qkv, bias, mask, logit_scale):
        if wants_grad:
            return _Function.apply(_run_native, qkv, bias, mask, logit_scale, num_heads, window, shift, scale)
        return _run_native(qkv, bias, mask, logit_scale, num_heads, window, shift, scale)
    op: Callable[..., Tensor] = _forward if wants_grad else _forward_without_grad
    if forward_ad._current_level >= 0:  # the operators have no forward-mode derivatives
        op = reference.attend
    return op(qkv, bias, mask, logit_scale, num_heads, window, shift, scale)


def has_kernel(tensor: Tensor) -> bool:
    """Whether :func:`window_attention` of this tensor runs in a kernel, and not in plain PyTorch."""
    module = cuda.kernels if tensor.is_cuda else native if tensor.is_cpu else None
    return module is not None and tensor.dtype in _DTYPES


def _from_numpy(array: Any) -> Tensor:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"with qkv a numpy.ndarray, the other arrays must be such too, got {type(array).__name__}")
    return as_tensor(array)


def _pair(name: str, value: int | Sequence[int]) -> list[int]:
    if isinstance(value, int):
        return [value, value]
    if len(value) != 2:
        raise ValueError(f"{name} must be an int or (height, width), got {value}")
    return list(value)


def _scale(scale: float | None, qkv: Tensor, num_heads: int, logit_scale: Tensor | None) -> float:
    return reference.default_scale(qkv, num_heads, logit_scale) if scale is None else scale


def _check(qkv: Tensor, num_heads: int, window: list[int], shift: list[int]) -> None:
    if not isinstance(qkv, Tensor):
        raise TypeError(f"qkv must be a torch.Tensor or a numpy.ndarray, got {type(qkv).__name__}")
    if qkv.dtype not in _DTYPES:
        raise TypeError(f"qkv must be of dtype {_DTYPE_NAMES}, got {qkv.dtype} of shape {tuple(qkv.shape)}")
    if qkv.ndim != 4:
        raise ValueError(f"qkv must have the shape (B, H, W, 3 * C), got {tuple(qkv.shape)}")
    _, height, width, channels = qkv.shape
    if num_heads < 1 or channels == 0 or channels % (3 * num_heads):
        raise ValueError(
            f"qkv must have 3 * num_heads * head_dim channels, got shape {tuple(qkv.shape)} for {num_heads} heads"
        )
    if window[0] < 1 or window[1] < 1 or height % window[0] or width % window[1]:
        raise ValueError(
            f"window_size must divide the map's height and width, got {tuple(window)} for qkv of shape {tuple(qkv.shape)}"
        )
    if not (0 <= shift[0] < window[0] and 0 <= shift[1] < window[1]):
        raise ValueError(
            f"shift_size must be at least 0 and less than window_size, got {tuple(shift)} for {tuple(window)}"
        )


def _check_addend(name: str, tensor: Tensor, shape: tuple[int, ...], meaning: str) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, as qkv is, got {type(tensor).__name__}")
    if tensor.dtype not in _DTYPES:
        raise TypeError(f"{name} must be of dtype {_DTYPE_NAMES}, got {tensor.dtype} of shape {tuple(tensor.shape)}")
    if tensor.shape != shape:
        raise ValueError(f"{name} must have the shape {meaning} = {shape}, got {tuple(tensor.shape)}")


def _fake(qkv: Tensor, *_: Any) -> Tensor:
    batch, height, width, channels = qkv.shape
    return qkv.new_empty((batch, height, width, channels // 3))


def _run_native(
    qkv: Tensor, bias: Tensor | None, mask: Tensor | None, logit_scale: Tensor | None, *geometry: Any
) -> Tensor:
    assert native is not None
    output = _fake(qkv)
    wide = _wide_dtype(qkv)
    # A view does not keep its tensor alive: the copies need names.
    qkv, bias, mask, logit_scale = _packed(qkv), _readable(bias, qkv), _dense(mask, wide), _dense(logit_scale, wide)
    native.window_attention(
        tensor_view(qkv),
        view_of(bias),
        view_of(mask),
        view_of(logit_scale),
        tensor_view(output),
        *_geometry(*geometry),
        torch.get_num_threads(),
    )
    return output


def _run_cuda(
    qkv: Tensor, bias: Tensor | None, mask: Tensor | None, logit_scale: Tensor | None, *geometry: Any
) -> Tensor:
    module = cuda.require_built()
    output = _fake(qkv)
    wide = _wide_dtype(qkv)
    qkv, bias, mask, logit_scale = _packed(qkv), _dense(bias, wide), _dense(mask, wide), _dense(logit_scale, wide)
    module.window_attention(
        cuda.queue_of(qkv),
        tensor_view(qkv),
        view_of(bias),
        view_of(mask),
        view_of(logit_scale),
        tensor_view(output),
        *_geometry(*geometry),
    )
    return output


def _run_reference(qkv: Tensor, *arguments: Any) -> Tensor:
    _warn_of_fallback(qkv)
    return reference.attend(qkv, *arguments).contiguous()


def _warn_of_fallback(qkv: Tensor) -> None:
    if qkv.is_cuda and cuda.kernels is None:
        cuda.warn_of_fallback()
    elif native is None:
        warn_of_fallback()


def _fake_backward(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    *geometry_and_wishes: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients, not yet filled; one that is not wanted has no elements."""
    wants_bias, wants_logit_scale = geometry_and_wishes[-2:]
    grad_bias = bias.new_empty(bias.shape) if wants_bias and bias is not None else qkv.new_empty(0)
    grad_logit_scale = (
        logit_scale.new_empty(logit_scale.shape) if wants_logit_scale and logit_scale is not None else qkv.new_empty(0)
    )
    return qkv.new_empty(qkv.shape), grad_bias, grad_logit_scale


def _native_gradients(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    *geometry_and_wishes: Any,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """None in the place of one that is not wanted."""
    assert native is not None
    *geometry, wants_bias, wants_logit_scale = geometry_and_wishes
    wide = _wide_dtype(qkv)
    grad_qkv = _empty_like(qkv, qkv.dtype)
    dense_bias, dense_mask, dense_logit_scale = _readable(bias, qkv), _dense(mask, wide), _dense(logit_scale, wide)
    grad_bias = _empty_like(dense_bias, dense_bias.dtype) if wants_bias and dense_bias is not None else None
    grad_logit_scale = _empty_like(logit_scale, wide) if wants_logit_scale and logit_scale is not None else None
    packed_grad, packed_qkv = _packed(grad), _packed(qkv)
    native.window_attention_backward(
        tensor_view(packed_grad),
        tensor_view(packed_qkv),
        view_of(dense_bias),
        view_of(dense_mask),
        view_of(dense_logit_scale),
        tensor_view(grad_qkv),
        view_of(grad_bias),
        view_of(grad_logit_scale),
        *_geometry(*geometry),
        torch.get_num_threads(),
    )
    return grad_qkv, _in_dtype_of(bias, grad_bias), _in_dtype_of(logit_scale, grad_logit_scale)


def _learn(*arguments: Any) -> tuple[Tensor, Tensor | None]:
    """The output, and what the native module wants to be kept for the backward pass."""
    learnt = native.direct_window_attention_learning(*arguments, torch.get_num_threads())  # type: ignore[union-attr]
    return (_run_native(*arguments), None) if learnt is None else learnt


def _gradients(kept: Tensor | None, *arguments: Any) -> Sequence[Tensor | None]:
    *inputs, wants_bias, wants_logit_scale = arguments
    grads: Sequence[Tensor | None] | None = None
    if connected and not seen_by_python():
        wishes = torch.get_num_threads(), wants_bias, wants_logit_scale, kept
        grads = native.direct_window_attention_backward(*inputs, *wishes)  # type: ignore[union-attr]
    if grads is None:
        run = _native_gradients if native is not None and direct(*inputs[:5]) else _backward
        grads = run(*arguments)
    return grads


def _run_native_backward(grad: Tensor, qkv: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _filled(qkv, *_native_gradients(grad, qkv, *arguments))


def _run_cuda_backward(
    grad: Tensor,
    qkv: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    logit_scale: Tensor | None,
    *geometry_and_wishes: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    module = cuda.require_built()
    *geometry, wants_bias, wants_logit_scale = geometry_and_wishes
    wide = _wide_dtype(qkv)
    grad_qkv = _empty_like(qkv, qkv.dtype)
    grad_bias = _empty_like(bias, wide) if wants_bias and bias is not None else None
    grad_logit_scale = _empty_like(logit_scale, wide) if wants_logit_scale and logit_scale is not None else None
    dense_bias, dense_mask, dense_logit_scale = _dense(bias, wide), _dense(mask, wide), _dense(logit_scale, wide)
    packed_grad, packed_qkv = _packed(grad), _packed(qkv)
    queue = cuda.queue_of(qkv)
    views = tensor_view(packed_grad), tensor_view(packed_qkv)
    num_heads, window, shift, scale = _geometry(*geometry)
    size = module.window_attention_backward_workspace(
        queue[0], *views, grad_bias is not None, grad_logit_scale is not None, num_heads, window, shift
    )
    workspace = cuda.workspace(qkv, size)
    module.window_attention_backward(
        queue,
        *views,
        view_of(dense_bias),
        view_of(dense_mask),
        view_of(dense_logit_scale),
        tensor_view(grad_qkv),
        view_of(grad_bias),
        view_of(grad_logit_scale),
        tensor_view(workspace),
        num_heads,
        window,
        shift,
        scale,
    )
    return _filled(qkv, grad_qkv, _in_dtype_of(bias, grad_bias), _in_dtype_of(logit_scale, grad_logit_scale))


def _run_reference_backward(grad: Tensor, qkv: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    *inputs, wants_bias, wants_logit_scale = arguments
    grad_qkv, grad_bias, grad_logit_scale = reference.attend_backward(grad, qkv, *inputs)
    return _filled(
        qkv,
        grad_qkv.contiguous(),
        grad_bias if wants_bias else None,
        grad_logit_scale if wants_logit_scale else None,
    )


def _geometry(num_heads: int, window: list[int], shift: list[int], scale: float) -> tuple[Any, ...]:
    return num_heads, tuple(window), tuple(shift), scale


def _wide_dtype(qkv: Tensor) -> torch.dtype:
    """What the kernels compute in, and take everything beside qkv in."""
    return torch.float64 if qkv.dtype == torch.float64 else torch.float32


def _empty_like(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous. ``new_empty`` takes longer, in every call."""
    return torch.empty_like(tensor, dtype=dtype, memory_format=torch.contiguous_format)


def _packed(tensor: Tensor) -> Tensor:
    """Itself where its channels are neighbours in memory, which the kernels want, else a copy."""
    return tensor if tensor.stride(3) == 1 else tensor.contiguous()


def _dense(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if tensor is None or (tensor.dtype == dtype and tensor.is_contiguous()):  # asked first, since both calls take time
        return tensor
    return tensor.to(dtype).contiguous()


def _readable(bias: Tensor | None, qkv: Tensor) -> Tensor | None:
    """A bias as the CPU's kernels take it: of qkv's dtype, or of the one that they compute in."""
    return _dense(bias, qkv.dtype if bias is not None and bias.dtype == qkv.dtype else _wide_dtype(qkv))


def _in_dtype_of(tensor: Tensor | None, grad: Tensor | None) -> Tensor | None:
    return grad if tensor is None or grad is None or grad.dtype == tensor.dtype else grad.to(tensor.dtype)


def _filled(qkv: Tensor, *grads: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """An operator gives tensors only: one without elements where there is none."""
    grad_qkv, grad_bias, grad_logit_scale = (qkv.new_empty(0) if grad is None else grad for grad in grads)
    return grad_qkv, grad_bias, grad_logit_scale


class _Function(torch.autograd.Function):
    """The gradients. Not by ``torch.library.register_autograd``, which takes three times as long a call."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor] | None, *arguments: Any) -> Tensor:
        output, kept = _learn(*arguments) if run is None else (run(*arguments), None)
        ctx.save_for_backward(*arguments[:4], kept)
        ctx.constants = arguments[4:]
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, kept = ctx.saved_tensors  # once: checkpointing computes them anew each time
        _, wants_qkv, wants_bias, _, wants_logit_scale, *others = ctx.needs_input_grad
        grads: Sequence[Tensor | None]
        if torch.is_grad_enabled():  # second derivatives are wanted
            grads = reference.attend_backward(grad, *tensors, *ctx.constants)
        else:
            grads = _gradients(kept, grad, *tensors, *ctx.constants, wants_bias, wants_logit_scale)
        return (
            None,
            grads[0] if wants_qkv else None,
            grads[1] if wants_bias else None,
            None,
            grads[2] if wants_logit_scale else None,
            *[None] * len(others),
        )


def _differentiable(*arguments: Any) -> Tensor:
    # The transforms of torch.func do not see into a Function that an operator calls.
    if torch._C._are_functorch_transforms_active():
        return reference.attend(*arguments)
    return _Function.apply(_forward_without_grad, *arguments)


def _vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    """A new dimension of qkv alone becomes a part of the batch; one of the other tensors is a loop."""
    qkv, *others = arguments
    if in_dims[0] is None or any(dim is not None for dim in in_dims[1:4]):
        return torch.stack([_forward(*items) for items in _items(info, in_dims, arguments)]), 0
    qkv = qkv.movedim(in_dims[0], 0)
    return _forward(qkv.flatten(0, 1), *others).unflatten(0, qkv.shape[:2]), 0


def _vmap_backward(
    info: Any, in_dims: tuple[int | None, ...], *arguments: Any
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """A loop: each item has its own gradient of the bias."""
    grads = [_backward(*items) for items in _items(info, in_dims, arguments)]
    return tuple(torch.stack(parts) for parts in zip(*grads, strict=True)), (0, 0, 0)


def _items(info: Any, in_dims: tuple[int | None, ...], arguments: tuple[Any, ...]) -> list[list[Any]]:
    return [
        [
            argument.select(dim, i) if isinstance(dim, int) else argument
            for argument, dim in zip(arguments, in_dims, strict=True)
        ]
        for i in range(info.batch_size)
    ]


_TENSORS = "Tensor qkv, Tensor? bias, Tensor? mask, Tensor? logit_scale"
_CONSTANTS = "int num_heads, int[2] window, int[2] shift, float scale"

# Twice: `window_attention` has gradients, which take a second passage through Python even where none is wanted.
for _name in ("window_attention", "window_attention_without_grad"):
    library.define(f"{_name}({_TENSORS}, {_CONSTANTS}) -> Tensor")
    # Every backend runs the reference but those that have a kernel.
    library.impl(_name, _run_reference, "CompositeExplicitAutograd")
    if native is not None:
        library.impl(_name, _run_native, "CPU")
    if cuda.kernels is not None:
        library.impl(_name, _run_cuda, "CUDA")
    torch.library.register_fake(f"pyemo::{_name}", _fake, lib=library)
library.define(
    f"window_attention_backward(Tensor grad, {_TENSORS}, {_CONSTANTS}, bool wants_bias, bool wants_logit_scale)"
    " -> (Tensor, Tensor, Tensor)"
)
library.impl("window_attention_backward", _run_reference_backward, "CompositeExplicitAutograd")
if native is not None:
    library.impl("window_attention_backward", _run_native_backward, "CPU")
if cuda.kernels is not None:
    library.impl("window_attention_backward", _run_cuda_backward, "CUDA")
torch.library.register_fake("pyemo::window_attention_backward", _fake_backward, lib=library)
library.impl("window_attention", _differentiable, "Autograd")
if hasattr(torch.library, "register_vmap"):  # new in torch 2.5; before, torch says that there is no batching rule
    torch.library.register_vmap("pyemo::window_attention", _vmap, lib=library)
    torch.library.register_vmap("pyemo::window_attention_without_grad", _vmap, lib=library)
    torch.library.register_vmap("pyemo::window_attention_backward", _vmap_backward, lib=library)

_forward = torch.ops.pyemo.window_attention.default
_forward_without_grad = torch.ops.pyemo.window_attention_without_grad.default
_backward = torch.ops.pyemo.window_attention_backward.default
