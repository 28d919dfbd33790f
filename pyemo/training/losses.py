"""Losses. They read a model's :class:`~pyemo.contracts.FusionOutput` and nothing else of the model."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from pyemo.config import LossConfig
from pyemo.contracts import FusionOutput
from pyemo.errors import ConfigError


def class_weights(config: LossConfig, counts: Tensor) -> Tensor | None:
    """One weight a class, (classes,) float32, or None: given, or n / (classes * n_c) from the ``counts`` (classes,) of training samples.

    Raises:
        ConfigError: a weight too many or too few, or a class without a training sample has no inverse frequency.
    """
    if config.class_weights == "none":
        return None
    classes = len(counts)
    if config.class_weights == "inverse-frequency":
        if (counts == 0).any():
            raise ConfigError(
                f"loss.class_weights: class {int((counts == 0).nonzero()[0])} has no training sample, so no inverse frequency"
            )
        return counts.sum() / (classes * counts.float())
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


def focal(logits: Tensor, probabilities: Tensor, weights: Tensor | None, alpha: float, gamma: float) -> Tensor:
    """Focal loss -alpha * (1 - p)^gamma * log p (Lin et al. 2017, equation 5), p the probability of the true class, mean over the samples.

    ``logits`` and ``probabilities`` (B, classes); with soft targets the classes' terms are summed by their shares. ``weights`` (classes,)
    multiply the classes' terms.
    """
    log_p = F.log_softmax(logits, dim=1)
    terms = -alpha * (1 - log_p.exp()) ** gamma * log_p * probabilities
    return (terms if weights is None else terms * weights).sum(dim=1).mean()


def decision_loss(config: LossConfig, logits: Tensor, probabilities: Tensor, weights: Tensor | None) -> Tensor:
    """The recipe's loss of one decision: ``logits`` and target ``probabilities`` (B, classes) -> a number."""
    if config.name == "focal":
        if config.label_smoothing > 0:
            probabilities = torch.lerp(
                probabilities, torch.full_like(probabilities, 1 / logits.shape[1]), config.label_smoothing
            )
        return focal(logits, probabilities, weights, config.alpha, config.gamma)
    return cross_entropy(logits, probabilities, weights, config.label_smoothing)


def multi_term_loss(
    config: LossConfig,
    output: FusionOutput,
    main: tuple[Tensor, Tensor],
    others: Mapping[str, Tensor],
    weights: Tensor | None,
) -> Tensor:
    """The decision's loss and those of the auxiliary outputs, weighted by ``config.auxiliary`` (the thesis's equations 30 to 32).

    Args:
        config: kind and weights.
        output: what the model gave.
        main: logits and target probabilities of the decision, (N, classes) each: of the samples, or of the steps where these have targets.
        others: target probabilities (B, its classes): of the main target under ``""``, if the samples have one each, of further ones by name.
        weights: of the main target's classes.

    Raises:
        ConfigError: ``config.auxiliary`` names an output that the fusion does not give, or the fusion gives one for an unknown target.
    """
    loss = decision_loss(config, *main, weights)
    if isinstance(config.auxiliary, dict) and (unknown := sorted(config.auxiliary.keys() - output.auxiliary.keys())):
        given = ", ".join(output.auxiliary) or "none"
        raise ConfigError(f"loss.auxiliary: the fusion gives no output {unknown[0]!r}; it gives {given}")
    for name, logits in output.auxiliary.items():
        factor = config.auxiliary.get(name, 0.0) if isinstance(config.auxiliary, dict) else config.auxiliary
        if factor == 0:
            continue
        target = name.partition("/")[0]
        probabilities = others.get(target, others.get(""))
        if probabilities is None or probabilities.shape[1] != logits.shape[1]:
            raise ConfigError(
                f"the fusion gives {logits.shape[1]} outputs '{name}'; no target of the recipe has that name and as many classes"
            )
        loss = loss + factor * decision_loss(
            config, logits.float(), probabilities, None if target in others else weights
        )
    return loss


def distillation(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of the softened distributions, mean over the batch (Hinton, Vinyals, Dean 2015, section 2)."""
    student = F.log_softmax(logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)
