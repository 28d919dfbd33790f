"""Model folders: ``config.yaml`` (the resolved recipe), ``model.safetensors`` and ``card.md``. Nothing is ever unpickled."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyemo import __version__
from pyemo.config import CandideAuRecipe, ClassifierRecipe, LateFusionRecipe, dump_recipe, parse_recipe
from pyemo.errors import ModelError
from pyemo.model import EmotionModel, build_model

CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "card.md"
FORMAT_VERSION = "1"
PACKAGED = Path(__file__).parent
"""Holds the models that come with pyemo."""


@dataclass(frozen=True)
class LoadedModel:
    model: EmotionModel
    """In evaluation mode, on the CPU, float32."""
    recipe: ClassifierRecipe
    folder: Path

    @property
    def card(self) -> str:
        """The model card, Markdown; empty where the folder has none."""
        path = self.folder / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def save_model(
    folder: str | os.PathLike[str],
    model: EmotionModel,
    recipe: ClassifierRecipe,
    card: str,
    *,
    storage: Literal["float32", "float16"] = "float32",
) -> Path:
    """Write a model folder whole: it is there completely or not at all, and a model folder already there is replaced.

    Args:
        folder: where to; its parents are made.
        model: the weights.
        recipe: what :func:`read_model` builds the model from again.
        card: Markdown: data, licence, split, measured figures, command.
        storage: number format of floating-point weights in the file.

    Raises:
        ModelError: ``folder`` is something else than a model folder, or a weight is too large for float16.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and ((folder / CONFIG).is_file() or not any(folder.iterdir()))):
        raise ModelError(f"{folder} is not a model folder; it is not overwritten")
    tensors = {name: _stored(name, tensor, storage) for name, tensor in model.state_dict().items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        (new / CONFIG).write_text(dump_recipe(recipe), encoding="utf-8")
        (new / CARD).write_text(card, encoding="utf-8")
        save_file(tensors, new / WEIGHTS, {"format_version": FORMAT_VERSION, "pyemo_version": __version__})
        shutil.copymode(new / CONFIG, new / WEIGHTS)  # safetensors lets only the owner read it
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except BaseException:
            if old.exists():
                os.replace(old, folder)
            raise
    return folder


def read_model(folder: Path) -> LoadedModel:
    """Build a model from its folder and fill in its weights.

    Raises:
        ModelError: an incomplete folder, an unreadable file, or weights that do not fit the configuration exactly.
        ConfigError: ``config.yaml`` is not a valid recipe.
        PluginError: a plug-in that the model needs is missing or broken.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder} is not a complete model folder: {CONFIG} is missing")
    recipe = parse_recipe((folder / CONFIG).read_text(encoding="utf-8"), str(folder / CONFIG))
    if isinstance(recipe, LateFusionRecipe):
        members = " and ".join(recipe.members.values())
        raise ModelError(f"{recipe.name} joins {members} and has no network of its own; give one of these")
    if isinstance(recipe, CandideAuRecipe):
        raise ModelError(
            f"{recipe.name} ({recipe.system}) decides from landmarks and is no network; here one of faces or voices is needed"
        )
    if not isinstance(recipe, ClassifierRecipe):
        raise ModelError(f"{folder / CONFIG}: expected system: classifier, got {recipe.system}")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder} is not a complete model folder: {WEIGHTS} is missing")
    built = build_model(recipe, initialise=False)
    built.load_state_dict(_read(folder / WEIGHTS, built.state_dict()))
    return LoadedModel(built.eval(), recipe, folder)


def packaged_names() -> list[str]:
    """Models that are part of the package."""
    return sorted(model_folders(PACKAGED))


def model_folders(home: Path) -> list[str]:
    """Names of the model folders in ``home``."""
    return [entry.parent.name for entry in home.glob(f"*/{CONFIG}") if not entry.parent.name.startswith(".")]


def _stored(name: str, tensor: Tensor, storage: str) -> Tensor:
    # A copy each: safetensors refuses tensors that share memory.
    tensor = tensor.detach().to("cpu", copy=True).contiguous()
    if not tensor.is_floating_point():
        return tensor
    stored = tensor.to(getattr(torch, storage))
    if not torch.equal(stored.isfinite(), tensor.isfinite()):
        raise ModelError(f"weight '{name}' has values up to {tensor.abs().max():.3g}, too large for {storage}")
    return stored


def _read(file: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of ``file`` in the dtypes of ``expected``, whose keys and shapes they must have exactly."""
    try:
        with safe_open(file, framework="pt") as stored:
            version = (stored.metadata() or {}).get("format_version", FORMAT_VERSION)
            if version != FORMAT_VERSION:
                raise ModelError(f"{file} has format version {version}; this pyemo reads version {FORMAT_VERSION}")
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is not readable as safetensors: {error}") from error
    problems = []
    if missing := sorted(expected.keys() - tensors.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    for key in sorted(tensors.keys() & expected.keys()):
        found, wanted = tensors[key], expected[key]
        if found.shape != wanted.shape:
            problems.append(f"'{key}' has the shape {tuple(found.shape)}, expected {tuple(wanted.shape)}")
        elif found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"'{key}' is {found.dtype}, expected {wanted.dtype}")
    if problems:
        raise ModelError(f"{file} does not fit {file.with_name(CONFIG)}: " + "; ".join(problems))
    return {key: tensor.to(expected[key].dtype) for key, tensor in tensors.items()}


def _some(keys: list[str]) -> str:
    """The first few: of two architectures that differ, all keys would fill the screen."""
    more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
    return ", ".join(keys[:5]) + more
