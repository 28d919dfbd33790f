from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyemo.config import LossConfig
from pyemo.errors import ConfigError
from pyemo.training.losses import class_weights, cross_entropy, distillation


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_targets_give_pytorchs_cross_entropy(weighted: bool, smoothing: float) -> None:
    logits, targets = torch.randn(12, 5), torch.randint(0, 5, (12,))
    weights = torch.rand(5) + 0.5 if weighted else None
    ours = cross_entropy(logits, F.one_hot(targets, 5).float(), weights, smoothing)
    torch.testing.assert_close(ours, F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing))


def test_inverse_frequency_weights() -> None:
    targets = torch.tensor([0, 0, 0, 1])
    torch.testing.assert_close(
        class_weights(LossConfig(class_weights="inverse-frequency"), targets, 2), torch.tensor([4 / 6, 2.0])
    )
    with pytest.raises(ConfigError, match="class 2 has no training sample"):
        class_weights(LossConfig(class_weights="inverse-frequency"), targets, 3)
    with pytest.raises(ConfigError, match="expected 3 weights, one a class, got 2"):
        class_weights(LossConfig(class_weights=[1.0, 2.0]), targets, 3)


def test_distillation_is_the_scaled_divergence() -> None:
    student, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    torch.testing.assert_close(distillation(student, teacher, 3.0), 9 * (p * (p / q).log()).sum(1).mean())
    assert float(distillation(teacher, teacher, 3.0)) == pytest.approx(0)
