"""What a trained model looks at in the faces it has judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from pyemo.config import ClassifierRecipe
from pyemo.data.batch import Samples, move
from pyemo.data.inputs import network_inputs
from pyemo.errors import ModelError
from pyemo.evaluation.attention import attention_maps
from pyemo.evaluation.attention_figure import attention_figure
from pyemo.evaluation.classifier import Evaluation
from pyemo.model import EmotionModel

_MOST = 8


@dataclass(frozen=True)
class Chosen:
    """A decision to look at."""

    sample: int
    """Position among the samples."""
    decision: int
    """Position in the evaluation."""


def looking_figure(model: EmotionModel, recipe: ClassifierRecipe, samples: Samples, evaluation: Evaluation) -> Figure:
    """Attention maps over eight faces: of each class in turn the surest right decision, then the surest wrong one.

    Of clips the middle step is shown, and decided on, beside the whole sound where there is one. Where several streams see the face, the
    first one's network is looked into.

    Raises:
        ModelError: the model sees no faces, or has nothing to look into.
    """
    streams = recipe.model.face_inputs
    if not streams:
        raise ModelError(f"{recipe.name} sees no faces; there is nothing to draw attention over")
    first = next(iter(streams))
    device = next(model.parameters()).device
    faces, maps, captions, method = [], [], [], ""
    for chosen in chosen_decisions(samples, evaluation):
        batch = move(samples[[chosen.sample]], device)
        assert batch.faces is not None  # a recipe with a stream of faces has them
        values, masks = network_inputs(recipe.model, batch)
        step = _middle(batch.face_mask, batch.faces.shape[1])
        still = {name: x[:, step : step + 1] if name in streams else x for name, x in values.items()}
        there = {name: mask[:, step : step + 1] if name in streams else mask for name, mask in masks.items()}

        def forward(network: nn.Module, images: Tensor, still: dict = still, there: dict = there) -> Tensor:
            logits: Tensor = network({**still, first: images[:, None]}, there).logits
            return logits

        heat, method = attention_maps(model, still[first][:, 0], forward, within=f"backbones.{first}")
        face = batch.faces[0, step].cpu().numpy()
        faces.append(face[0] if len(face) == 1 else face.transpose(1, 2, 0))
        maps.append(heat[0])
        truth, decided = (evaluation.labels[of[chosen.decision]] for of in (evaluation.truth, evaluation.predictions))
        score = evaluation.probabilities[chosen.decision].max()
        captions.append(
            f"{truth}: right, {score:.0%}" if truth == decided else f"{truth}: read as {decided}, {score:.0%}"
        )
    return attention_figure(np.stack(faces), np.stack(maps), captions, f"{recipe.name}: {method}")


def chosen_decisions(samples: Samples, evaluation: Evaluation) -> list[Chosen]:
    """At most eight whole rows: of each class the surest right decision, and after those of each class the surest wrong one."""
    position = {int(row): number for number, row in reversed(list(enumerate(samples.rows.tolist())))}
    surest = np.argsort(-evaluation.probabilities.max(axis=1), kind="stable")
    right = evaluation.predictions == evaluation.truth
    found: list[Chosen] = []
    for wanted in (True, False):
        for c in range(len(evaluation.labels)):
            mine = surest[(evaluation.truth[surest] == c) & (right[surest] == wanted)]
            if len(mine) and len(found) < _MOST:
                found.append(Chosen(position[int(evaluation.decisions["row"].iloc[mine[0]])], int(mine[0])))
    return found


def _middle(mask: Tensor | None, steps: int) -> int:
    """The middle one of the steps that exist."""
    there = torch.arange(steps) if mask is None else mask[0].nonzero().flatten().cpu()
    return int(there[len(there) // 2]) if len(there) else 0
