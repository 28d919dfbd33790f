"""Model folders: ``config.yaml`` (the resolved recipe), ``model.safetensors`` and ``card.md``. Nothing is ever unpickled."""

from __future__ import annotations

import difflib
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

from pyemo import __version__, assets
from pyemo.config import ClassifierRecipe, dump_recipe, parse_recipe
from pyemo.errors import ModelError
from pyemo.model import EmotionModel, build_model

DEFAULT_FACE_MODEL = "compact-resnet"
"""What the name ``default`` stands for."""

CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "card.md"
FORMAT_VERSION = "1"
_HUB = "hf-hub:"
_PACKAGED = Path(__file__).parent


@dataclass(frozen=True)
class LoadedModel:
    model: EmotionModel
    """In evaluation mode, on the CPU, float32."""
    recipe: ClassifierRecipe
    folder: Path


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
        recipe: what :func:`load_model` builds the model from again.
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


def load_model(model: str | os.PathLike[str] = "default") -> LoadedModel:
    """Build a model from its folder and fill in its weights.

    Args:
        model: ``default``; the name of a model of the package or of an imported one (``pyemo assets``); a folder; or
            ``hf-hub:organisation/name``, with ``@revision`` if wanted. A name wins over a folder of that name: write ``./name`` for it.

    Raises:
        ModelError: no such model, an incomplete folder, an unreadable file, or weights that do not fit the configuration exactly.
        AssetError: the name is that of a weight file which has not been imported.
        ConfigError: ``config.yaml`` is not a valid recipe.
        PluginError: a plug-in that the model needs is missing or broken.
    """
    folder = _locate(model)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a complete model folder: {name} is missing")
    recipe = parse_recipe((folder / CONFIG).read_text(encoding="utf-8"), str(folder / CONFIG))
    if not isinstance(recipe, ClassifierRecipe):
        raise ModelError(f"{folder / CONFIG}: expected system: classifier, got {recipe.system}")
    built = build_model(recipe)
    built.load_state_dict(_read(folder / WEIGHTS, built.state_dict()))
    return LoadedModel(built.eval(), recipe, folder)


def model_names() -> list[str]:
    """Models that :func:`load_model` finds by name without fetching anything, ``default`` aside."""
    return sorted({*packaged_names(), *_folders(assets.models_home())})


def packaged_names() -> list[str]:
    """Models that are part of the package."""
    return sorted(_folders(_PACKAGED))


def _locate(model: str | os.PathLike[str]) -> Path:
    name = os.fspath(model)
    if name.startswith(_HUB):
        return _fetch(name)
    if isinstance(model, str) and not {os.sep, os.altsep or os.sep} & set(name):
        plain = DEFAULT_FACE_MODEL if name == "default" else name
        for home in (_PACKAGED, assets.models_home()):
            if plain in _folders(home):
                return home / plain
        if plain in assets.ASSETS and assets.ASSETS[plain].is_model:
            from pyemo.weights.keras import import_mini_xception

            return import_mini_xception(assets.path(plain), plain)
    folder = Path(model)
    if folder.is_dir():
        return folder
    known = ["default", *model_names()]
    near = difflib.get_close_matches(name, known, n=1)
    raise ModelError(
        f"no model is called {name!r}, and no folder is there"
        + (f"; did you mean '{near[0]}'?" if near else ".")
        + f" Known by name: {', '.join(known)}."
    )


def _folders(home: Path) -> list[str]:
    return [entry.parent.name for entry in home.glob(f"*/{CONFIG}") if not entry.parent.name.startswith(".")]


def _fetch(name: str) -> Path:
    import huggingface_hub

    repository, _, revision = name.removeprefix(_HUB).partition("@")
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS, CARD]
            )
        )
    except Exception as error:  # its own errors, those of its HTTP client and of the file system
        raise ModelError(
            f"cannot fetch {name}: {type(error).__name__}: {error} "
            "(without a network, copy the model folder to this machine and give its path)"
        ) from error


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
        problems.append(f"missing {', '.join(missing)}")
    if unexpected := sorted(tensors.keys() - expected.keys()):
        problems.append(f"unexpected {', '.join(unexpected)}")
    for key in sorted(tensors.keys() & expected.keys()):
        found, wanted = tensors[key], expected[key]
        if found.shape != wanted.shape:
            problems.append(f"'{key}' has the shape {tuple(found.shape)}, expected {tuple(wanted.shape)}")
        elif found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"'{key}' is {found.dtype}, expected {wanted.dtype}")
    if problems:
        raise ModelError(f"{file} does not fit {file.with_name(CONFIG)}: " + "; ".join(problems))
    return {key: tensor.to(expected[key].dtype) for key, tensor in tensors.items()}
