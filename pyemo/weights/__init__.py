"""Model folders, and the models that come with the package (one folder each, beside this file)."""

from __future__ import annotations

from pyemo.weights.fusion import AnyModel, LoadedFusion, load_any
from pyemo.weights.landmarks import LoadedCandideAu
from pyemo.weights.names import DEFAULT_MODEL, load_model, model_names
from pyemo.weights.store import LoadedModel, save_model

__all__ = [
    "DEFAULT_MODEL",
    "AnyModel",
    "LoadedCandideAu",
    "LoadedFusion",
    "LoadedModel",
    "load_any",
    "load_model",
    "model_names",
    "save_model",
]
