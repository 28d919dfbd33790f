"""The published recipes on networks small enough to train in a second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from small_worlds import aff_wild2, faces_by_class, liris_cse, rafd, ravdess

from pyemo.config import ClassifierRecipe, load_recipe
from pyemo.data.batch import Samples
from pyemo.data.recipe_data import RecipeData, open_recipe_data
from pyemo.training.engine import train

STILL = (
    "augmentation={mirror: 0.0, crop: 0.0, blur_probability: 0.0, contrast: [1.0, 1.0], noise: 0.0, scale: [1.0, 1.0], shift: 0.0, "
    "rotation: 0.0, shear: 0.0}"
)
RESNET = "{name: timm, options: {architecture: test_resnet, in_channels: 3}}"
TOKENS = RESNET.replace("in_channels: 3", "in_channels: 3, tokens: true")
LSTM = "{name: lstm, options: {hidden_size: 24}}"

FACE = [
    "model.modalities.face.input.size=32",
    f"model.modalities.face.backbone={RESNET}",
    f"model.modalities.face.aggregator={LSTM}",
    "sampling.frames=3",
]
VOICE = [
    "model.modalities.voice.input.slice_frames=50",
    "model.modalities.voice.input.slice_hop=25",
    "model.modalities.voice.input.size=[32, 32]",
    "model.modalities.voice.backbone={name: timm, options: {architecture: test_resnet, in_channels: 1, modality: voice}}",
    f"model.modalities.voice.aggregator={LSTM}",
]
MFM_FACE = [
    "model.modalities.face.input.size=48",
    f"model.modalities.face.backbone={TOKENS}",
]
MFM_VOICE = [
    "model.modalities.voice.input.sample_rate=16000",
    "model.modalities.voice.input.n_fft=512",
    "model.modalities.voice.input.hop_length=128",
    "model.modalities.voice.input.n_mels=32",
    "model.modalities.voice.input.slice_frames=16",
    "model.modalities.voice.input.slice_hop=16",
    "model.modalities.voice.input.size=[48, 48]",
    f"model.modalities.voice.backbone={TOKENS.replace('tokens', 'modality: voice, tokens')}",
]
WINDOWS = "sampling.windows=[{frames: 2, majority: 0.8}, {frames: 4, majority: 0.5}]"

SHRUNKEN: dict[str, tuple[str, list[str]]] = {
    "mmvt": (
        "liris-cse",
        [
            f"model.modalities.{stream}.{change}"
            for stream in ("rgb", "hematoxylin")
            for change in ("input.size=32", f"backbone={RESNET}")
        ]
        + ["labels=[happy, sad]", "model.fusion.options={hidden_dim: 64}", "training.early_stopping=0"],
    ),
    "cnn-1": ("rafd", ["model.modalities.face.input.size=40"]),
    "cnn-2": ("rafd", ["model.modalities.face.input.size=40"]),
    "cnn-3": ("rafd", ["model.modalities.face.input.size=62", "model.modalities.face.backbone.options.image_size=62"]),
    "vgg-face": ("folder", ["model.modalities.face.input.size=32", f"model.modalities.face.backbone={RESNET}"]),
    "ver": ("ravdess", FACE),
    "ser": ("ravdess", [*VOICE, "training.epochs=18"]),
    "n0-late": ("ravdess", FACE + VOICE),
    "n0": ("ravdess", FACE + VOICE),
    "n1": ("ravdess", FACE + VOICE),
    "mrpn": ("ravdess", FACE + VOICE),
    "mfm-image": ("aff-wild2", MFM_FACE),
    "mfm-audio": ("aff-wild2", [*MFM_VOICE, WINDOWS]),
    "mfm": ("aff-wild2", [*MFM_FACE, *MFM_VOICE, WINDOWS, "model.fusion.options={layers: 1, heads: 4}"]),
    "regnet-transformer": (
        "aff-wild2",
        [
            "model.modalities.face.input.size=32",
            f"model.modalities.face.backbone={RESNET}",
            "model.fusion.options={heads: 2, head_dim: 16, feed_forward: 32, dropout: 0.5}",
            "sampling.sequences=3",
            "training.optimizer.find_learning_rate=false",
            "training.batch_size=2",
            "training.epochs=40",
        ],
    ),
}
"""Recipe -> data set and overrides."""

_WORLDS = {
    "ravdess": ravdess,
    "liris-cse": liris_cse,
    "rafd": rafd,
    "folder": faces_by_class,
    "aff-wild2": lambda root: aff_wild2(
        root,
        {"a": ["happy"] * 4, "b": ["sad"] * 4, "c": ["angry"] * 4, "d": ["neutral"] * 4},
    ),
}


@dataclass(frozen=True)
class Trained:
    """What became of a shrunken recipe."""

    recipe: ClassifierRecipe
    data: RecipeData
    samples: Samples
    """All of it, for evaluation."""
    run: Path
    model: Path


def world(name: str, folder: Path) -> str:
    """The data set of that name below ``folder``, made when it is not there: ``NAME:ROOT``."""
    root = folder / name
    if not root.exists():
        _WORLDS[name](root)
    return f"{name}:{root}"


def shrunken(name: str, *overrides: str) -> ClassifierRecipe:
    """A recipe with a small network that trains fast; its loss, schedule, sampling and fusion stay."""
    fast = [
        STILL,
        "training.epochs=14",
        "training.monitor=loss",
        "training.batch_size=4",
        "training.optimizer.learning_rate=1e-3",
    ]
    if load_recipe(name).model.kinds == ("voice",):  # type: ignore[union-attr]
        fast = fast[1:]
    if name.startswith(("mfm", "regnet")):
        fast.remove("training.monitor=loss")  # theirs is the macro F1
    recipe = load_recipe(name, [*fast, *SHRUNKEN[name][1], *overrides])
    assert isinstance(recipe, ClassifierRecipe)
    return recipe


def train_shrunken(name: str, folder: Path, parts: Mapping[str, Path]) -> Trained:
    """Trained on all of the data, and validated on it: to see whether it can learn it by heart."""
    started = [
        f"model.modalities.{modality}.start_from={parts[part]}"
        for modality, part in (("face", "ver"), ("voice", "ser"))
        if part in parts
    ]
    recipe = shrunken(name, *started)
    data = open_recipe_data(world(SHRUNKEN[name][0], folder), recipe, folder / f"{SHRUNKEN[name][0]}-prepared")
    rows = np.arange(len(data.manifest.table))
    samples = data.samples(rows, training=False)
    run = folder / "runs" / name
    model = train(
        recipe,
        data.samples(rows, training=True),
        samples,
        run,
        data=data.name,
        licence=data.manifest.licence,
        command=f"pyemo train {name}",
        device="cpu",
    )
    return Trained(recipe, data, samples, run, model)
