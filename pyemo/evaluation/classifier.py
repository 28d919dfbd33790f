"""Scoring a face classifier on labelled images."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score
from torch import Tensor

from pyemo.config import ClassifierRecipe
from pyemo.data.faces import to_input
from pyemo.evaluation.figures import confusion_figure
from pyemo.model import EmotionModel


@dataclass(frozen=True)
class Evaluation:
    """Figures of a classifier on one set of samples."""

    labels: tuple[str, ...]
    truth: np.ndarray
    """(N,) class indices."""
    probabilities: np.ndarray
    """(N, classes) float32, rows sum to 1."""

    @property
    def predictions(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        return float(accuracy_score(self.truth, self.predictions))

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur (unweighted average recall)."""
        return float(balanced_accuracy_score(self.truth, self.predictions))

    @property
    def f1(self) -> dict[str, float]:
        """F1 of each class; 0 for one that is neither there nor predicted."""
        scores = f1_score(self.truth, self.predictions, labels=range(len(self.labels)), average=None, zero_division=0)
        return {label: float(score) for label, score in zip(self.labels, scores, strict=True)}

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) counts; rows are the truth."""
        return confusion_matrix(self.truth, self.predictions, labels=range(len(self.labels)))

    def as_dict(self) -> dict[str, object]:
        return {
            "samples": len(self.truth),
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": float(np.mean(list(self.f1.values()))),
            "f1": self.f1,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
        }

    def save(self, folder: Path, stem: str = "evaluation") -> None:
        """Write ``<stem>.json`` and ``<stem>-confusion.png``."""
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{stem}.json.part"
        temporary.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, folder / f"{stem}.json")
        figure = confusion_figure(
            self.confusion, self.labels, f"{len(self.truth)} images, accuracy {self.accuracy:.2%}"
        )
        image = folder / f".{stem}-confusion.part.png"
        figure.savefig(image, dpi=150)
        os.replace(image, folder / f"{stem}-confusion.png")


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
