"""Scoring a face classifier on labelled images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyemo.config import ClassifierRecipe
from pyemo.data.faces import to_input
from pyemo.evaluation.classification import Scores, score
from pyemo.evaluation.figures import confusion_figure
from pyemo.files import written_whole
from pyemo.model import EmotionModel


@dataclass(frozen=True)
class Evaluation:
    """What a classifier said about one set of samples."""

    labels: tuple[str, ...]
    truth: np.ndarray
    """(N,) class indices."""
    probabilities: np.ndarray
    """(N, classes) float32, rows sum to 1."""

    @property
    def predictions(self) -> np.ndarray:
        """(N,) class indices."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def scores(self) -> Scores:
        return score([self.labels[i] for i in self.truth], [self.labels[i] for i in self.predictions], self.labels)

    def save(self, folder: Path, stem: str = "evaluation") -> None:
        """Write ``<stem>.json`` and ``<stem>-confusion.png``."""
        with written_whole(folder / f"{stem}.json") as temporary:
            content = {"samples": len(self.truth), **self.scores.as_dict()}
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        title = f"{len(self.truth)} images, accuracy {self.scores.accuracy:.2%}"
        # Every image has a decision: the column "none" is empty.
        figure = confusion_figure(self.scores.confusion[:, :-1], self.labels, title)
        with written_whole(folder / f"{stem}-confusion.png") as temporary:
            figure.savefig(temporary, dpi=150)


@torch.inference_mode()
def evaluate_faces(
    model: EmotionModel,
    recipe: ClassifierRecipe,
    crops: Tensor,
    targets: Tensor,
    *,
    mirror: bool = False,
    batch_size: int = 256,
) -> Evaluation:
    """Classify face crops (N, C, S, S) uint8 with class indices (N,), in float32 on the model's device.

    ``mirror`` averages the probabilities with those of the mirrored image (test-time augmentation).
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for chunk in crops.split(batch_size):
        inputs = to_input(chunk.to(device), recipe.model.modalities["face"].input)
        probabilities = model({"face": inputs[:, None]}).logits.softmax(dim=1)
        if mirror:
            probabilities = (probabilities + model({"face": inputs.flip(3)[:, None]}).logits.softmax(dim=1)) / 2
        parts.append(probabilities.cpu())
    model.train(was_training)
    return Evaluation(tuple(recipe.labels), targets.numpy(), torch.cat(parts).float().numpy())
