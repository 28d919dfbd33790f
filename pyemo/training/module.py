"""What happens in one training and one validation step."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyemo.config import ClassifierRecipe, OptimizerConfig, ScheduleConfig
from pyemo.data.faces import to_input
from pyemo.errors import TrainingError
from pyemo.model import EmotionModel, build_model
from pyemo.training.augmentation import FaceAugmentation
from pyemo.training.losses import cross_entropy, distillation
from pyemo.weights import LoadedModel

Batch = tuple[Tensor, Tensor]


class FaceTraining(lightning.LightningModule):
    """Trains an :class:`EmotionModel` on batches of face crops (B, C, S, S) uint8 and class indices (B,).

    Logs ``train_loss``, ``train_accuracy`` (of the augmented images, against the unmixed labels), ``validation_loss`` (cross entropy
    without smoothing) and ``validation_accuracy``, each the mean over the epoch's samples.
    """

    def __init__(
        self, recipe: ClassifierRecipe, weights: Tensor | None, teacher: LoadedModel | None, epoch_steps: int
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.steps = epoch_steps * recipe.training.epochs
        self.face_input = recipe.model.modalities["face"].input
        self.network: EmotionModel = build_model(recipe).to(memory_format=torch.channels_last)
        self.augmentation = FaceAugmentation(recipe.augmentation)
        self.register_buffer("class_weights", weights, persistent=False)
        # In a list, so that its weights are neither trained, averaged nor saved.
        self._teacher = [teacher]
        self._generator: torch.Generator | None = None

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        # Not in on_train_epoch_start: Lightning leaves that out for the first epoch after a resume.
        if batch_index > 0:
            return
        seed = self.recipe.training.seed * 1_000_003 + self.current_epoch
        torch.manual_seed(seed)
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        training = self.recipe.training
        crops, targets = batch
        images = self.augmentation(crops, self._generator)
        probabilities = F.one_hot(targets, len(self.recipe.labels)).float()
        if training.mixup > 0:
            images, probabilities = self._mix(images, probabilities, training.mixup)
        logits = self._logits(self.network, images)
        loss = cross_entropy(logits, probabilities, self.class_weights, training.loss.label_smoothing)  # type: ignore[arg-type]
        if training.distillation is not None:
            softened = distillation(logits, self._teacher_logits(images), training.distillation.temperature)
            loss = torch.lerp(loss, softened, training.distillation.weight)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the training loss is {loss.item()} in epoch {self.current_epoch}; lower optimizer.learning_rate"
            )
        self._log("train", len(targets), loss=loss, accuracy=(logits.argmax(1) == targets).float().mean())
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        crops, targets = batch
        logits = self._logits(self.network, crops)
        self._log(
            "validation",
            len(targets),
            loss=F.cross_entropy(logits, targets),
            accuracy=(logits.argmax(1) == targets).float().mean(),
        )

    def configure_optimizers(self) -> Any:
        training = self.recipe.training
        optimizer = make_optimizer(self.network, training.optimizer)
        if training.schedule.name == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=training.schedule.factor, patience=training.schedule.patience
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "validation_loss"}}
        schedule = make_schedule(optimizer, training.schedule, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        inputs = to_input(images, self.face_input).contiguous(memory_format=torch.channels_last)
        return network({"face": inputs[:, None]}).logits.float()

    def _teacher_logits(self, images: Tensor) -> Tensor:
        teacher = self._teacher[0]
        assert teacher is not None
        teacher_input = teacher.recipe.model.modalities["face"].input
        if teacher_input.size != self.face_input.size:
            images = F.interpolate(images, size=(teacher_input.size,) * 2, mode="bilinear", antialias=True)
        with torch.no_grad():
            inputs = to_input(images, teacher_input).contiguous(memory_format=torch.channels_last)
            return teacher.model.to(self.device).eval()({"face": inputs[:, None]}).logits.float()

    def _mix(self, images: Tensor, probabilities: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """Mixup (Zhang et al. 2018): one factor a batch, each sample with one of a random permutation."""
        factor = float(torch.distributions.Beta(alpha, alpha).sample())
        order = torch.randperm(len(images), device=images.device, generator=self._generator)
        return torch.lerp(images[order], images, factor), torch.lerp(probabilities[order], probabilities, factor)

    def _log(self, stage: str, samples: int, **values: Tensor) -> None:
        self.log_dict(
            {f"{stage}_{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            batch_size=samples,
        )


def make_optimizer(network: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay only for weights of two and more dimensions (not for biases and normalisation)."""
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    betas = (config.betas[0], config.betas[1])
    if config.name == "sgd":
        return torch.optim.SGD(groups, config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
    if config.name == "adam":
        return torch.optim.Adam(groups, config.learning_rate, betas=betas)
    return torch.optim.AdamW(groups, config.learning_rate, betas=betas)


def make_schedule(
    optimizer: torch.optim.Optimizer, config: ScheduleConfig, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Factor of the learning rate by step: 1, or a linear rise and half a cosine down to 0."""

    def factor(step: int) -> float:
        if config.name == "constant":
            return 1.0
        warmup = config.warmup * steps
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1.0, steps - warmup))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
