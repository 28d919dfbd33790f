"""Scoring a classifier on labelled samples."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyemo.config import ClassifierRecipe
from pyemo.data.batch import IGNORED, Batch, Samples, move
from pyemo.data.inputs import network_inputs
from pyemo.errors import ModelError
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
    decisions: pd.DataFrame
    """``row`` (int64), position in the data set's table, and ``frame`` (int64, -1: the row as a whole) of each."""

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
        title = f"{len(self.truth)} decisions, accuracy {self.scores.accuracy:.2%}"
        # Every sample has a decision: the column "none" is empty.
        figure = confusion_figure(self.scores.confusion[:, :-1], self.labels, title)
        with written_whole(folder / f"{stem}-confusion.png") as temporary:
            figure.savefig(temporary, dpi=150)


@torch.inference_mode()
def evaluate(
    model: EmotionModel, recipe: ClassifierRecipe, samples: Samples, *, mirror: bool = False, batch_size: int = 64
) -> Evaluation:
    """Classify samples, in float32 on the model's device.

    Where frames are labelled, each labelled frame is one decision: the mean probabilities of all windows around it, or those of its step.

    Args:
        model: the network of ``recipe``.
        recipe: inputs and labels.
        samples: what to classify; whole clips or images, windows or sequences.
        mirror: average the probabilities with those of the mirrored faces (test-time augmentation).
        batch_size: samples at a time.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    truth, probabilities, keys = [], [], []
    for first in range(0, len(samples), batch_size):
        positions = list(range(first, min(first + batch_size, len(samples))))
        batch = move(samples[positions], device)
        given = _probabilities(model, recipe, batch)
        if mirror and batch.faces is not None:
            given = (given + _probabilities(model, recipe, replace(batch, faces=batch.faces.flip(-1)))) / 2
        kept = batch.targets.flatten() != IGNORED
        truth.append(batch.targets.flatten()[kept].cpu())
        probabilities.append(given[kept].cpu())
        keys.extend(samples.decisions(positions))
    model.train(was_training)
    decisions = pd.DataFrame(keys, columns=["row", "frame"])
    return _merged(tuple(recipe.labels), decisions, torch.cat(truth).numpy(), torch.cat(probabilities).numpy())


def _probabilities(model: EmotionModel, recipe: ClassifierRecipe, batch: Batch) -> Tensor:
    """(targets, classes) float32."""
    output = model(*network_inputs(recipe.model, batch))
    logits = output.logits
    if batch.targets.ndim == 2:
        if output.steps is None:
            raise ModelError("each frame has a target; the model's fusion gives no logits of steps")
        logits = output.steps.flatten(0, 1)
    return logits.float().softmax(dim=1)


def _merged(
    labels: tuple[str, ...], decisions: pd.DataFrame, truth: np.ndarray, probabilities: np.ndarray
) -> Evaluation:
    """One decision for each row, or frame of a row, in the order in which they first come."""
    groups = decisions.groupby(["row", "frame"], sort=False, dropna=False)
    number = groups.ngroup().to_numpy()
    first = groups.head(1).index.to_numpy()
    count = np.bincount(number)
    mean = np.stack([np.bincount(number, weights=column) for column in probabilities.T], axis=1) / count[:, None]
    merged = decisions.loc[first].reset_index(drop=True)
    return Evaluation(labels, truth[first], mean.astype(np.float32), merged)
