"""Finding a model by its name."""

from __future__ import annotations

import os
from pathlib import Path

from pyemo import assets
from pyemo.errors import ModelError, did_you_mean
from pyemo.weights.store import CARD, CONFIG, PACKAGED, WEIGHTS, LoadedModel, model_folders, packaged_names, read_model

DEFAULT_MODEL = "face-and-voice"
"""What the name ``default`` stands for."""

_HUB = "hf-hub:"


def load_model(model: str | os.PathLike[str]) -> LoadedModel:
    """Load a trained model by its name, its folder or its place on the Hugging Face Hub.

    Args:
        model: the name of a model of the package or of an imported one (``pyemo assets``); a folder; or
            ``hf-hub:organisation/name``, with ``@revision`` if wanted. A name wins over a folder of that name: write ``./name`` for it.

    Raises:
        ModelError: no such model, an incomplete folder, an unreadable file, weights that do not fit the configuration exactly, or a model
            that joins others and has no weights of its own (``default`` is one; :func:`pyemo.weights.load_any`).
        AssetError: the name is that of a weight file which has not been imported.
        ConfigError: ``config.yaml`` is not a valid recipe.
        PluginError: a plug-in that the model needs is missing or broken.
    """
    return read_model(locate(model))


def model_names() -> list[str]:
    """Models that are found by name without fetching anything, ``default`` aside."""
    return sorted({*packaged_names(), *model_folders(assets.models_home())})


def locate(model: str | os.PathLike[str]) -> Path:
    """The folder of a model; arguments and errors as for :func:`load_model`."""
    name = os.fspath(model)
    if name.startswith(_HUB):
        return _fetch(name)
    if isinstance(model, str) and not {os.sep, os.altsep or os.sep} & set(name):
        plain = DEFAULT_MODEL if name == "default" else name
        for home in (PACKAGED, assets.models_home()):
            if plain in model_folders(home):
                return home / plain
        if plain in assets.ASSETS and assets.ASSETS[plain].is_model:
            from pyemo.weights.keras import import_mini_xception  # h5py is slow to import

            return import_mini_xception(assets.path(plain), plain)
    folder = Path(model)
    if folder.is_dir():
        return folder
    known = ["default", *model_names()]
    raise ModelError(
        f"no model is called {name!r}, and no folder is there"
        + did_you_mean(name, known, ".")
        + f" Known by name: {', '.join(known)}."
    )


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
