"""Keras HDF5 weights of mini-Xception -> a model folder. Read with h5py; TensorFlow is not needed."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from pyemo import assets
from pyemo.config import ClassifierRecipe, FaceInput, ModalityConfig, ModelConfig, PluginConfig
from pyemo.errors import ModelError
from pyemo.model import EmotionModel, build_model
from pyemo.weights.store import packaged_names, save_model

_LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]

_SOURCE = 'Arriaga, Valdenegro-Toro, Ploeger, "Real-time Convolutional Neural Networks for Emotion and Gender Classification", 2017'

_CARD = """# {name}

mini-Xception (Arriaga, Valdenegro-Toro, Ploeger 2017), converted from Keras weights by `pyemo assets import`.

- Source file: `{file}`, SHA-256 `{sha256}`
- Input: grey 64x64 faces, intensities scaled to [-1, 1]
- Classes: {labels}
- Licence of the weights: {licence}
- Training data: {data}

pyemo did not train these weights: the augmentation and training parts of `config.yaml` are its defaults, not the authors' settings.
"""


def import_mini_xception(file: Path, name: str) -> Path:
    """Convert a Keras mini-Xception for the seven FER2013 classes into the imported model ``name``.

    Raises:
        ModelError: ``name`` cannot be given, the file is not readable as HDF5, or its layers are not those of mini-Xception.
    """
    layers = _read_layers(file)
    checksum = assets.sha256(file)
    known = next((asset for asset in assets.ASSETS.values() if asset.sha256 == checksum), None)
    reserved = {"default", *packaged_names(), *assets.ASSETS} - {known.name if known else None}
    if name in reserved or not re.fullmatch(r"\w[\w.-]*", name):
        raise ModelError(
            f"an imported model cannot be called {name!r}: that is no plain name, or the name of another model or weight file"
        )
    face = ModalityConfig(
        input=FaceInput(size=64, channels=1, normalization="fixed", mean=0.5, std=0.5),
        backbone=PluginConfig(name="mini-xception"),
    )
    recipe = ClassifierRecipe(
        name=name,
        system="classifier",
        description="mini-Xception with weights imported from Keras",
        source=_SOURCE,
        labels=_LABELS,
        model=ModelConfig(modalities={"face": face}, fusion=PluginConfig(name="identity")),
    )
    model = build_model(recipe)
    _fill(model, layers, file)
    card = _CARD.format(
        name=name,
        file=file.name,
        sha256=checksum,
        labels=", ".join(recipe.labels),
        licence=known.licence if known else "not known to pyemo; ask whoever gave you the file",
        data="FER2013 (Kaggle challenge data, research use)" if known else "not known to pyemo",
    )
    return save_model(assets.models_home() / name, model, recipe, card)


def _read_layers(file: Path) -> dict[str, list[dict[str, np.ndarray]]]:
    """Kind of layer -> the weights of each layer by name, in the order in which the layers were made."""
    found: dict[str, list[tuple[int, dict[str, np.ndarray]]]] = defaultdict(list)
    try:
        with h5py.File(file) as hdf5:
            group = hdf5.get("model_weights", hdf5)
            for layer in map(_text, group.attrs["layer_names"]):
                weights = {
                    path.split("/")[-1].removesuffix(":0"): group[layer][path][()]
                    for path in map(_text, group[layer].attrs["weight_names"])
                }
                if weights:
                    # Keras numbers layers of a kind as they are made (conv2d, conv2d_1, ...).
                    kind, number = re.fullmatch(r"(.+?)(?:_(\d+))?", layer).groups()  # type: ignore[union-attr]
                    found[kind].append((int(number or 0), weights))
    except (OSError, KeyError, AttributeError) as error:
        raise ModelError(f"{file} is not readable as Keras HDF5 weights: {error}") from error
    return {
        kind: [weights for _, weights in sorted(layers, key=lambda item: item[0])] for kind, layers in found.items()
    }


def _fill(model: EmotionModel, layers: dict[str, list[dict[str, np.ndarray]]], file: Path) -> None:
    net: Any = model.backbones["face"]
    plain = [net.stem[0], net.stem[3], *(block.shortcut[0] for block in net.blocks), net.head]
    depthwise = [block.body[index] for block in net.blocks for index in (0, 4)]
    pointwise = [block.body[index] for block in net.blocks for index in (1, 5)]
    norms = [net.stem[1], net.stem[4]]
    for block in net.blocks:  # the authors make the shortcut first
        norms += [block.shortcut[1], block.body[2], block.body[6]]
    expected = {
        "conv2d": len(plain),
        "separable_conv2d": len(depthwise),
        "batch_normalization": len(norms),
    }
    if (counts := {kind: len(found) for kind, found in layers.items()}) != expected:
        raise ModelError(f"{file} is not mini-Xception: it has the layers {counts}, expected {expected}")
    with torch.no_grad():
        for index, (conv, weights) in enumerate(zip(plain, layers["conv2d"], strict=True)):
            _copy(conv.weight, weights, "kernel", f"{file}: convolution {index}", (3, 2, 0, 1))
            if conv.bias is not None:
                _copy(conv.bias, weights, "bias", f"{file}: convolution {index}")
        for index, weights in enumerate(layers["separable_conv2d"]):
            where = f"{file}: separable convolution {index}"
            _copy(depthwise[index].weight, weights, "depthwise_kernel", where, (2, 3, 0, 1))
            _copy(pointwise[index].weight, weights, "pointwise_kernel", where, (3, 2, 0, 1))
        for index, (norm, weights) in enumerate(zip(norms, layers["batch_normalization"], strict=True)):
            assert isinstance(norm, nn.BatchNorm2d)
            where = f"{file}: batch normalisation {index}"
            for target, key in (
                (norm.weight, "gamma"),
                (norm.bias, "beta"),
                (norm.running_mean, "moving_mean"),
                (norm.running_var, "moving_variance"),
            ):
                assert target is not None
                _copy(target, weights, key, where)


def _copy(
    target: Tensor, weights: dict[str, np.ndarray], key: str, where: str, axes: tuple[int, ...] | None = None
) -> None:
    """``axes``: where Keras (height, width, in, out) keeps what PyTorch has (out, in, height, width)."""
    if key not in weights:
        raise ModelError(f"{where} has no {key}, only {', '.join(weights)}")
    value = weights[key].transpose(axes) if axes else weights[key]
    if value.shape != tuple(target.shape):
        raise ModelError(f"{where}: {key} has the shape {weights[key].shape}, which does not fit mini-Xception")
    target.copy_(torch.from_numpy(np.ascontiguousarray(value)))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
