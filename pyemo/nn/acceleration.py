"""Swaps the windowed attention, feed-forward networks, dense layers and layer norms of third-party models for faster ones, and back."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from torch import nn

from pyemo.nn.fused import Fused

_ADAPTERS = {
    "timm.models.swin_transformer": "pyemo.nn.timm_swin",
    "timm.models.swin_transformer_v2": "pyemo.nn.timm_swin_v2",
    "timm.models.swin_transformer_v2_cr": "pyemo.nn.timm_swin_v2_cr",
    "timm.models.maxxvit": "pyemo.nn.timm_maxxvit",
    "timm.models.gcvit": "pyemo.nn.timm_gcvit",
    "timm.layers.mlp": "pyemo.nn.timm_mlp",
    "timm.layers.norm": "pyemo.nn.timm_layer_norm",
    "torch.nn.modules.linear": "pyemo.nn.torch_linear",
    "torch.nn.modules.normalization": "pyemo.nn.torch_layer_norm",
    "torchvision.models.swin_transformer": "pyemo.nn.torchvision_swin",
    "torchvision.models.vision_transformer": "pyemo.nn.torchvision_mlp",
    "torchvision.ops.misc": "pyemo.nn.torchvision_mlp",
}
"""Where a class is defined -> what knows how to swap it. Imported only for a model that has such a class."""

_NO_BIAS = "has no position bias: torch's scaled_dot_product_attention serves it"
_NO_BLOCK = "is not in a block of its library, which would partition the windows"
_LEFT_ALONE = {
    "timm.models.davit.WindowAttention": _NO_BIAS,
    "timm.models.efficientvit_msra.LocalWindowAttention": "computes its heads one after the other, each from the last",
    "timm.models.gcvit.WindowAttentionGlobal": _NO_BLOCK,
    "timm.models.hiera.MaskUnitAttention": _NO_BIAS,
    "timm.models.hieradet_sam2.MultiScaleAttention": _NO_BIAS,
    "timm.models.maxxvit.ParallelPartitionAttention": "splits its channels between windows and grids",
    "timm.models.maxxvit.PartitionAttention2d": "keeps its maps channels first",
    "timm.models.nest.Attention": _NO_BIAS,
    "timm.models.swin_transformer.WindowAttention": _NO_BLOCK,
    "timm.models.swin_transformer_v2.WindowAttention": _NO_BLOCK,
    "timm.models.swin_transformer_v2_cr.WindowMultiHeadAttention": _NO_BLOCK,
    "timm.models.tiny_vit.Attention": "its qkv's channels are ordered (head, q|k|v)",
    "timm.models.twins.LocallyGroupedAttn": _NO_BIAS,
    "timm.models.vision_transformer_sam.Attention": "its position bias depends on the queries",
}
"""Windowed attention that the operation cannot compute, or that it would not serve -> why."""


_MANY = {nn.Linear.__name__: "dense layers", nn.LayerNorm.__name__: "layer norms"}
"""Classes of which a model has many -> what they are together."""


@dataclass(frozen=True)
class Entry:
    """One module with windowed attention, one feed-forward network, one layer norm, or one dense layer outside of such a network."""

    name: str
    """Its name in ``model.named_modules()``; empty for the model itself."""
    kind: str
    """Its class, as it was before."""
    swapped: bool
    note: str
    """Why it was left alone, or when a swapped one still takes its original path; may be empty."""


@dataclass(frozen=True)
class AccelerationReport:
    """What :func:`accelerate` did. Prints as a table, in which fused dense layers share a line, and layer norms."""

    entries: tuple[Entry, ...]

    @property
    def swapped(self) -> list[str]:
        """Names of the modules that are fused now."""
        return [entry.name for entry in self.entries if entry.swapped]

    @property
    def left_alone(self) -> dict[str, str]:
        """Name -> reason."""
        return {entry.name: entry.note for entry in self.entries if not entry.swapped}

    def __str__(self) -> str:
        if not self.entries:
            return "no module with a windowed attention, a feed-forward network, a dense layer or a layer norm that pyemo knows"
        alike: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.swapped and not entry.note and entry.kind in _MANY:
                alike.setdefault(entry.kind, []).append(entry)
        together = {kind: entries for kind, entries in alike.items() if len(entries) > 1}
        rows = [("module", "class", "", "note")]
        rows += [
            (e.name or "(model)", e.kind, "fused" if e.swapped else "left alone", e.note)
            for e in self.entries
            if e not in together.get(e.kind, ())
        ]
        rows += [(f"{len(entries)} {_MANY[kind]}", kind, "fused", "") for kind, entries in together.items()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows
        ]
        lines.append(f"{len(self.swapped)} of {len(self.entries)} fused")
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__


def accelerate(model: nn.Module) -> AccelerationReport:
    """Swap every windowed attention of the model that :func:`pyemo.ops.window_attention` can compute for it, MLPs, dense layers and layer norms.

    Windowed attention is known in the Swin Transformers of timm (``swin_transformer``, ``swin_transformer_v2``,
    ``swin_transformer_v2_cr``) and torchvision (``swin_t`` and so on, ``swin_v2_t`` and so on), and timm's MaxViT and GCViT. Roll,
    partition and merge of the windows become a part of the operation. MLPs with a GELU are known in all of timm's and torchvision's
    networks; on a CPU they take large maps in chunks (:func:`pyemo.nn.feed_forward.feed_forward`). Every ``torch.nn.Linear`` and
    ``torch.nn.LayerNorm`` of any model is computed by pyemo's kernels on a CPU, in float32 and bfloat16, unless it is small
    (:func:`pyemo.nn.dense.linear`, :func:`pyemo.nn.layer_norm.layer_norm`). Outputs and gradients stay the same up to rounding; so do
    ``state_dict``, parameters, buffers, names and hooks of modules, and what the model does with other sizes of image.

    A module is swapped in place by giving it a class derived from its own: its parameters are not touched, and it can be copied,
    pickled, compiled and trained as before. It takes its original path when attention weights or hidden activations are to be dropped
    out (``attn_drop`` or ``drop`` in training), when hooks wait for modules that the operation passes over, where the operation has no
    kernel (all but attention: elsewhere than on a CPU, and compiled), and while ``torch.fx`` traces it. To export for another
    runtime, or to quantise, :func:`restore` first.

    In evaluation mode, with no gradient recorded, a module keeps its position bias until the values that it was computed from change.

    Args:
        model: any module; wrapped in ``DistributedDataParallel`` too. A second call changes nothing.

    Returns:
        A report, to be printed or asked: each module with windowed attention, each MLP, each layer norm and each dense layer outside of an
        MLP, whether it is fused, and if not, why.

    >>> import timm
    >>> model = timm.create_model("swin_tiny_patch4_window7_224")
    >>> report = accelerate(model)
    >>> report.swapped[:4]
    ['patch_embed.norm', 'layers.0.blocks.0', 'layers.0.blocks.0.norm1', 'layers.0.blocks.0.attn.qkv']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    entries: list[Entry] = []
    done: set[int] = set()
    fused: type[Fused] | None
    for name, module in model.named_modules():
        if id(module) in done:
            continue
        if isinstance(module, Fused):
            kind, fused, obstacle = module.original(), type(module), None
        else:
            kind = type(module)
            fused, obstacle = _known_class(kind)
            if fused is None and obstacle is None:
                continue
            if fused is not None and obstacle is None:
                obstacle = _obstacle(module, fused)
                if obstacle is None:
                    module.__class__ = fused
        parts = module.modules() if fused is None else fused.parts(module)
        # What is left alone calls its dense layers and layer norms still.
        done.update(id(part) for part in parts if obstacle is None or not isinstance(part, (nn.Linear, nn.LayerNorm)))
        note = obstacle or (module.note() if isinstance(module, Fused) else "")
        entries.append(Entry(name, kind.__name__, obstacle is None, note))
    return AccelerationReport(tuple(entries))


def restore(model: nn.Module) -> int:
    """Undo :func:`accelerate`: every module gets its own class back. Returns how many there were."""
    fused = [module for module in model.modules() if isinstance(module, Fused)]
    for module in fused:
        if type(module).__bases__[1:] != (module.original(),):
            raise ValueError(
                f"{type(module).__name__} was derived from an accelerated module's class since: undo that first"
            )
    for module in fused:
        module.forget()
        module.__class__ = module.original()  # type: ignore[assignment]
    return len(fused)


def _known_class(kind: type) -> tuple[type[Fused] | None, str | None]:
    """What the class is to be swapped for, and why it cannot be; two Nones if it has nothing that could be fused."""
    for base in kind.__mro__:
        reason = _LEFT_ALONE.get(f"{base.__module__}.{base.__qualname__}")
        if reason is not None:
            return None, reason
        if base.__module__ not in _ADAPTERS:
            continue
        known: dict[type, type[Fused]] = importlib.import_module(_ADAPTERS[base.__module__]).FUSED
        if base in known:
            derived = f"{kind.__qualname__} is derived from {base.__name__} and may compute something else"
            return known[base], None if base is kind else derived
    return None, None


def _obstacle(module: nn.Module, fused: type[Fused]) -> str | None:
    if altered := fused.altered(module):
        return altered
    patched = [name for name in (fused.METHOD, "forward") if name in vars(module)]
    if patched:
        return f"{type(module).__name__}.{patched[0]} is replaced on this object"
    return fused.obstacle(module)
