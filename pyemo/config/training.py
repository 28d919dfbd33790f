"""How a network is trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pyemo.config.section import NonNegative, Positive, Range, Section


class OptimizerConfig(Section):
    name: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    find_learning_rate: bool = False
    """Take the rate at which the loss falls steepest in a range test over growing rates (Smith 2017), not ``learning_rate``."""
    weight_decay: NonNegative = 0.0
    """Applied to weights of two and more dimensions only."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """SGD's (Nesterov) momentum."""
    betas: Range = [0.9, 0.999]


class ScheduleConfig(Section):
    name: Literal["constant", "cosine", "plateau"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of all steps in which the rate rises linearly from 0 (cosine)."""
    patience: Annotated[int, Field(ge=1)] = 10
    """Epochs without a fall of the validation loss before the rate is multiplied by ``factor`` (plateau)."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5


class LossConfig(Section):
    """Loss of the decision, and of each auxiliary output that the fusion gives (in training), summed with weights."""

    name: Literal["cross-entropy", "focal"] = "cross-entropy"
    class_weights: Literal["none", "inverse-frequency"] | list[float] = "none"
    """Inverse frequency: n / (classes * n_c), from the training rows."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    alpha: Positive = 0.9
    """Focal loss: the factor."""
    gamma: NonNegative = 2.0
    """Focal loss: the exponent."""
    auxiliary: NonNegative | dict[str, NonNegative] = 1.0
    """Weight of the auxiliary outputs: one for all, or by name (those not named: 0)."""


class DistillationConfig(Section):
    """Training towards a trained model's opinion as well (Hinton et al. 2015): (1 - w) * loss + w * T^2 * KL(teacher || student)."""

    teacher: str
    """Name or folder of a model, as for ``pyemo.load``; its labels must be those of the recipe."""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 2.0


class TrainingConfig(Section):
    start_from: str | None = None
    """Name or folder of a model of the same architecture and labels whose weights training starts from; none: random ones."""
    start_partially: bool = False
    """Let that model's architecture differ: what fits by name and shape is taken over, the rest starts at random and is named."""
    epochs: Annotated[int, Field(ge=1)] = 50
    batch_size: Annotated[int, Field(ge=1)] = 128
    train_splits: Annotated[list[str], Field(min_length=1)] = ["train"]
    validation_splits: list[str] = ["validation"]
    """Empty: nothing is validated, the last epoch's weights are kept."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    distillation: DistillationConfig | None = None
    mixup: NonNegative = 0.0
    """alpha of the Beta distribution; 0 switches mixup off."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Exponential moving average of the weights, evaluated and saved instead of the raw ones; 0 switches it off."""
    gradient_clip: NonNegative = 0.0
    """Largest gradient norm; 0 switches clipping off."""
    monitor: Literal["accuracy", "macro F1", "loss"] = "accuracy"
    """What makes an epoch the best: the highest validation accuracy or macro F1, or the lowest validation loss. Each window counts by itself."""
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights become the model: the best one's or the last."""
    early_stopping: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better one before training stops; 0 switches it off."""
    precision: Literal["32", "bf16"] = "32"
    storage: Literal["float32", "float16"] = "float32"
    """Number format of the saved weights."""
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _best_needs_validation(self) -> TrainingConfig:
        if not self.validation_splits and (
            self.early_stopping or self.keep == "best" or self.schedule.name == "plateau"
        ):
            raise ValueError(
                "without validation_splits, keep must be 'last', early_stopping 0 and schedule.name not 'plateau'"
            )
        return self
