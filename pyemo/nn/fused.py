"""What the swapped classes have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pyemo.ops.native import native
from pyemo.ops.windows import has_kernel

_LARGEST_KEPT = 2**21
"""Elements of a position bias that is kept between calls, 8 MB: that of 32 heads and windows of 16x16."""
_PLAIN: dict[str, tuple[type[nn.Module], ...]] = {"attn_drop": (nn.Dropout, nn.Identity), "softmax": (nn.Softmax,)}
"""Submodules of an attention that need not be called, and of which classes they may be for that."""


class Fused(nn.Module):
    """Mixed into a third party's class, before it: the third party's forward with some of its parts fused."""

    METHOD: ClassVar[str] = "forward"
    """The method of the original class that this one replaces."""

    DROPPED: ClassVar[str]
    """What :meth:`dropped_share` is a share of, for people."""

    @classmethod
    def original(cls) -> type[nn.Module]:
        """The third party's class."""
        return cls.__mro__[cls.__mro__.index(Fused) + 1]

    @classmethod
    def obstacle(cls, module: Any) -> str | None:
        """Why this module of the original class cannot be swapped."""
        return None

    @classmethod
    def altered(cls, module: Any) -> str | None:
        """What stands in the place of a part of the original that fusing passes over: it may do something else."""
        raise NotImplementedError

    @classmethod
    def parts(cls, module: Any) -> list[nn.Module]:
        """What is fused with the module, itself included: there is nothing to be asked about it on its own."""
        return list(module.modules())

    def passed_over(self) -> list[nn.Module]:
        """Submodules that are no longer called, though their parameters and submodules are used."""
        return list(self.children())

    def serves(self, x: Tensor) -> bool:
        """Whether the operation is of use for such a tensor."""
        raise NotImplementedError

    def dropped_share(self) -> float:
        """Share that training drops out, which the operation does not."""
        raise NotImplementedError

    def note(self) -> str:
        """When the original path is taken still; may be empty."""
        p = self.dropped_share()
        return f"in training not fused: {self.DROPPED} are dropped out (p={p:g})" if p else ""

    def fuses(self, x: Tensor) -> bool:
        """Whether this call takes the fused path. (``torch.fx`` calls with something that is no tensor.)"""
        if not isinstance(x, Tensor) or not self.serves(x) or self.altered(self):
            return False
        parts = self.passed_over()
        if self.dropped_share() > 0 and (self.training or any(part.training for part in parts)):
            return False
        return not any(
            part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
            for part in parts
        )

    def forget(self) -> None:
        """Drop what was kept between calls."""


class FusedAttention(Fused):
    """Windowed attention, by :func:`pyemo.ops.window_attention`."""

    DROPPED = "attention weights"
    ATTENTION: ClassVar[type[nn.Module] | None] = None
    """The class of the original's ``attn``, if it has one."""

    @classmethod
    def altered(cls, module: Any) -> str | None:
        if cls.ATTENTION is None:
            return None
        if type(module.attn) is not cls.ATTENTION:
            return f"its attention is a {type(module.attn).__name__}, not a {cls.ATTENTION.__name__}"
        for name, kinds in _PLAIN.items():
            part = module.attn._modules.get(name)
            if part is not None and type(part) not in kinds:
                return f"its {name} is a {type(part).__name__}"
        return None

    @classmethod
    def obstacle(cls, module: Any) -> str | None:
        if native is None:
            return "pyemo was built without its native module"
        if cls.ATTENTION is not None and "forward" in vars(module.attn):
            return f"{cls.ATTENTION.__name__}.forward is replaced on this object"
        return None

    @classmethod
    def parts(cls, module: Any) -> list[nn.Module]:
        if cls.ATTENTION is None or not hasattr(module, "attn"):
            return super().parts(module)
        # Its dense layers are called as they were.
        return [module, *(part for part in module.attn.modules() if not isinstance(part, nn.Linear))]

    def passed_over(self) -> list[nn.Module]:
        if self.ATTENTION is None:
            return []
        attn: Any = self.attn
        return [attn, *(attn._modules[name] for name in _PLAIN if name in attn._modules)]

    def serves(self, x: Tensor) -> bool:
        return has_kernel(x)

    def dropped_share(self) -> float:
        attn: Any = self.attn
        return getattr(attn.attn_drop, "p", 0.0)  # nn.Identity has none

    def kept(self, sources: Sequence[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        """``compute()``, or its last result if no gradient is recorded and the sources, on which alone it depends, have not changed.

        Values are compared, not versions: ``parameter.data`` can be written to without a trace.
        """
        if (
            self.training
            or torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch._C._are_functorch_transforms_active()
        ):
            return compute()
        last: tuple[list[Tensor], Tensor] | None = vars(self).get("_kept")
        if last is not None and len(last[0]) == len(sources) and all(map(_same, last[0], sources)):
            return last[1]
        result = compute()
        result = result if result.dtype == torch.float64 else result.float()
        if result.numel() <= _LARGEST_KEPT:
            vars(self)["_kept"] = [source.detach().clone() for source in sources], result
        return result

    def forget(self) -> None:
        vars(self).pop("_kept", None)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_kept"}


def gather(table: Tensor, index: Tensor, tokens: int) -> Tensor:
    """(positions, heads) at (N, N) positions -> (heads, N, N). Many times faster than ``table[index]``, backwards above all."""
    return table.t().index_select(1, index.flatten()).view(-1, tokens, tokens)


def logit_factor(logit_scale: Tensor) -> Tensor:
    """(heads,): the factor of SwinV2's cosine attention, at most 100, from its logarithm."""
    return logit_scale.flatten().clamp(max=math.log(100.0)).exp()


def continuous_position_bias(fused: FusedAttention, attn: Any) -> Tensor:
    """SwinV2's: a small network of the relative positions. (heads, N, N)."""
    index, coordinates = attn.relative_position_index, attn.relative_coords_table

    def compute() -> Tensor:
        with torch.autocast(index.device.type, enabled=False):
            table = 16 * torch.sigmoid(attn.cpb_mlp(coordinates).view(-1, attn.num_heads))
        return gather(table, index, attn.window_size[0] * attn.window_size[1])

    return fused.kept((*attn.cpb_mlp.parameters(), coordinates, index), compute)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
