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
    evaluation: Evaluation | None,
    command: str,
) -> str:
    """Markdown: what the model is, what it was trained on, what was measured, and the command that made it."""
    training = recipe.training
    parameters = sum(parameter.numel() for parameter in network.parameters())
    kept = "the epoch with the best validation accuracy" if training.keep == "best" else "the last epoch"
    lines = [
        f"# {recipe.name}",
        "",
        recipe.description + ".",
        *(["", f"Architecture: {recipe.source}."] if recipe.source else []),
        "",
        f"- Labels: {', '.join(recipe.labels)}",
        f"- Trainable parameters: {parameters:,}",
        f"- Training data: {data}, splits {', '.join(training.train_splits)} ({sizes['train']:,} images)",
        f"- Licence of the data, which binds users of these weights: {licence}",
        *([f"- Training started from the weights of {training.start_from}"] if training.start_from else []),
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
        lines.append("Nothing: the run had no validation split.")
    else:
        role = "chose the epoch, so the figure flatters" if training.keep == "best" else "chose nothing in this run"
        lines += [
            f"On the {sizes['validation']:,} images of {', '.join(training.validation_splits)} (which {role}):",
            f"accuracy {evaluation.scores.accuracy:.2%}, balanced accuracy {evaluation.scores.balanced_accuracy:.2%}.",
            "",
            "| class | F1 |",
            "|---|---|",
            *(f"| {label} | {scores.f1:.3f} |" for label, scores in evaluation.scores.classes.items()),
        ]
    lines += [
        "",
        "## Limits",
        "",
        "A label names the expression that people saw in a picture. It does not say what a person feels. The data decides whose faces are",
        "read well: age, skin, glasses, pose and light that are rare in it are read worse.",
    ]
    return "\n".join(lines) + "\n"
