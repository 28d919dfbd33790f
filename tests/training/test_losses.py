from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pyemo.config import LossConfig
from pyemo.contracts import FusionOutput
from pyemo.errors import ConfigError
from pyemo.training.losses import class_weights, cross_entropy, distillation, focal, multi_term_loss


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_targets_give_pytorchs_cross_entropy(weighted: bool, smoothing: float) -> None:
    logits, targets = torch.randn(12, 5), torch.randint(0, 5, (12,))
    weights = torch.rand(5) + 0.5 if weighted else None
    ours = cross_entropy(logits, F.one_hot(targets, 5).float(), weights, smoothing)
    torch.testing.assert_close(ours, F.cross_entropy(logits, targets, weight=weights, label_smoothing=smoothing))


def test_inverse_frequency_weights() -> None:
    inverse = LossConfig(class_weights="inverse-frequency")
    torch.testing.assert_close(class_weights(inverse, torch.tensor([3, 1])), torch.tensor([4 / 6, 2.0]))
    with pytest.raises(ConfigError, match="class 2 has no training sample"):
        class_weights(inverse, torch.tensor([3, 1, 0]))
    with pytest.raises(ConfigError, match="expected 3 weights, one a class, got 2"):
        class_weights(LossConfig(class_weights=[1.0, 2.0]), torch.tensor([3, 1, 1]))


def test_focal_loss_is_its_equation() -> None:
    logits, targets = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0])
    p = logits.softmax(1)[range(6), targets]
    expected = (-0.9 * (1 - p) ** 2 * p.log()).mean()
    torch.testing.assert_close(focal(logits, F.one_hot(targets, 5).double(), None, 0.9, 2.0), expected)
    without = focal(logits, F.one_hot(targets, 5).double(), None, 1.0, 0.0)
    torch.testing.assert_close(without, F.cross_entropy(logits, targets))


def test_scorers_and_further_targets_add_their_losses() -> None:
    torch.manual_seed(0)
    main, face, valence = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 2)
    emotion, sign = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 0, 1, 1])
    shares = {"": F.one_hot(emotion, 3).float(), "valence": F.one_hot(sign, 2).float()}
    output = FusionOutput(main, {"face": face, "valence": valence, "valence/face": valence})

    def total(**options: object) -> torch.Tensor:
        return multi_term_loss(LossConfig(**options), output, (main, shares[""]), shares, None)

    parts = [F.cross_entropy(main, emotion), F.cross_entropy(face, emotion), F.cross_entropy(valence, sign)]
    torch.testing.assert_close(total(), parts[0] + parts[1] + 2 * parts[2])
    torch.testing.assert_close(total(auxiliary=0.5), parts[0] + (parts[1] + 2 * parts[2]) / 2)
    torch.testing.assert_close(total(auxiliary={"face": 2.0}), parts[0] + 2 * parts[1])
    with pytest.raises(ConfigError, match="gives no output 'voice'; it gives face, valence, valence/face"):
        total(auxiliary={"voice": 1.0})
    with pytest.raises(ConfigError, match="2 outputs 'valence'; no target of the recipe"):
        multi_term_loss(LossConfig(), output, (main, shares[""]), {"": shares[""]}, None)


def test_distillation_is_the_scaled_divergence() -> None:
    student, teacher = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 4, dtype=torch.float64)
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    torch.testing.assert_close(distillation(student, teacher, 3.0), 9 * (p * (p / q).log()).sum(1).mean())
    assert float(distillation(teacher, teacher, 3.0)) == pytest.approx(0)
