"""The mean of several classifiers' probabilities, as logits."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def log_mean_probability(logits: Sequence[Tensor], present: Sequence[Tensor]) -> Tensor:
    """log of the mean of softmax(logits), (B, classes), whose own softmax is that mean.

    Args:
        logits: (B, classes) each.
        present: boolean (B,) each: where a classifier has something to say. Where none has, all count.
    """
    log_probabilities = torch.stack([each.log_softmax(dim=-1) for each in logits])
    counted = torch.stack(list(present))
    counted = counted | ~counted.any(dim=0)
    kept = log_probabilities.masked_fill(~counted.unsqueeze(-1), -math.inf)
    return kept.logsumexp(dim=0) - counted.sum(dim=0).to(kept.dtype).log().unsqueeze(-1)
