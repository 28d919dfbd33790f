"""Losses. They read a model's :class:`~pyemo.contracts.FusionOutput` and nothing else of the model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.config import LossConfig
from pyemo.errors import ConfigError


def class_weights(config: LossConfig, targets: Tensor, classes: int) -> Tensor | None:
    """One weight a class, (classes,) float32, or None: given, or n / (classes * n_c) from the training ``targets``.

    Raises:
        ConfigError: a weight too many or too few, or a class without a training sample has no inverse frequency.
    """
    if config.class_weights == "none":
        return None
    if config.class_weights == "inverse-frequency":
        counts = torch.bincount(targets, minlength=classes)
        if (counts == 0).any():
            raise ConfigError(
                f"loss.class_weights: class {int((counts == 0).nonzero()[0])} has no training sample, so no inverse frequency"
            )
        return len(targets) / (classes * counts.float())
    if len(config.class_weights) != classes:
        raise ConfigError(
            f"loss.class_weights: expected {classes} weights, one a class, got {len(config.class_weights)}"
        )
    return torch.tensor(config.class_weights, dtype=torch.float32)


def cross_entropy(logits: Tensor, probabilities: Tensor, weights: Tensor | None, label_smoothing: float) -> Tensor:
    """Weighted cross entropy with soft targets.

    ``logits`` and ``probabilities`` (B, classes). The mean is weighted by the targets' weights, as PyTorch does it for class indices, so that hard
    targets give ``torch.nn.functional.cross_entropy(logits, index, weight)``.
    """
    if weights is None:
        return F.cross_entropy(logits, probabilities, label_smoothing=label_smoothing)
    total = F.cross_entropy(logits, probabilities, weight=weights, label_smoothing=label_smoothing, reduction="sum")
    return total / (probabilities * weights).sum()


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of the softened distributions, mean over the batch (Hinton, Vinyals, Dean 2015, section 2)."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
