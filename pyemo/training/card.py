"""The model card that a training run writes."""

from __future__ import annotations

from collections.abc import Mapping

import lightning
import torch
from torch import nn

from pyemo import __version__
from pyemo.config import ClassifierRecipe
from pyemo.evaluation.classifier import Evaluation


def training_card(
    recipe: ClassifierRecipe,
    network: nn.Module,
    *,
    data: str,
    licence: str,
    sizes: Mapping[str, int],
    unit: str,
    evaluation: Evaluation | None,
    command: str,
) -> str:
    """Markdown: what the model is, what it was trained on, what was measured, and the command that made it.

    ``sizes``: of ``train`` and ``validation``, counted in ``unit`` (images, clips, frames ...).
    """
    training = recipe.training
    parameters = sum(parameter.numel() for parameter in network.parameters())
    best = f"the epoch with the {'lowest' if training.monitor == 'loss' else 'best'} validation {training.monitor}"
    kept = best if training.keep == "best" else "the last epoch"
    started = {name: part.start_from for name, part in recipe.model.modalities.items() if part.start_from}
    lines = [
        f"# {recipe.name}",
        "",
        recipe.description + ".",
        *(["", f"Architecture: {recipe.source}."] if recipe.source else []),
        "",
        f"- Labels: {', '.join(recipe.labels)}",
        f"- Trainable parameters: {parameters:,}",
        f"- Training data: {data} ({sizes['train']:,} {unit})",
        f"- Licence of the data, which binds users of these weights: {licence}",
        *([f"- Training started from the weights of {training.start_from}"] if training.start_from else []),
        *(f"- Part {name} started from that of {start}" for name, start in started.items()),
        *([f"- Distilled from {training.distillation.teacher}"] if training.distillation else []),
        f"- Weights of {kept}, {training.epochs} epochs at most, seed {training.seed}",
        f"- Made by pyemo {__version__} (PyTorch {torch.__version__}, Lightning {lightning.__version__}) with",
        "",
        f"      {command}",
        "",
        "## Measured",
        "",
    ]
    if evaluation is None:
        lines.append("Nothing: nothing was held out for validation.")
    else:
        role = "chose the epoch, so the figure flatters" if training.keep == "best" else "chose nothing in this run"
        lines += [
            f"On the {sizes['validation']:,} {unit} held out for validation (which {role}), {len(evaluation.truth):,} decisions:",
            f"accuracy {evaluation.scores.accuracy:.2%}, balanced accuracy {evaluation.scores.balanced_accuracy:.2%}, "
            f"macro F1 {evaluation.scores.macro_f1:.3f}.",
            "",
            "| class | F1 |",
            "|---|---|",
            *(f"| {label} | {scores.f1:.3f} |" for label, scores in evaluation.scores.classes.items()),
        ]
    lines += [
        "",
        "## Limits",
        "",
        *_limits(recipe.model.kinds),
    ]
    return "\n".join(lines) + "\n"


def _limits(kinds: tuple[str, ...]) -> list[str]:
    seen = "saw and heard"
    if len(kinds) == 1:
        seen = {"face": "saw in a picture", "voice": "heard in a voice"}[kinds[0]]
    rare = {
        "face": "whose faces are read well: age, skin, glasses, pose and light",
        "voice": "whose voices are read well: age, accent, language, microphone and noise",
    }
    return [
        f"A label names the expression that people {seen}. It does not say what a person feels.",
        *(f"The data decides {rare[kind]} that are rare in it are read worse." for kind in kinds),
    ]
