"""What happens in one training and one validation step."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyemo.config import ClassifierRecipe, OptimizerConfig, ScheduleConfig
from pyemo.contracts import FusionOutput
from pyemo.data.batch import IGNORED, Batch
from pyemo.data.inputs import network_inputs
from pyemo.errors import ModelError, TrainingError
from pyemo.evaluation.classification import macro_f1
from pyemo.model import EmotionModel, build_model
from pyemo.training.augmentation import FaceAugmentation
from pyemo.training.augmented import AugmentedBatch, augmented
from pyemo.training.losses import distillation, multi_term_loss
from pyemo.training.voice_augmentation import VoiceAugmentation
from pyemo.weights import LoadedModel


class ModelTraining(lightning.LightningModule):
    """Trains an :class:`EmotionModel` on batches of crops and sounds.

    Logs ``train_loss``, ``train_accuracy`` (of the augmented samples, against the unmixed labels), ``validation_loss`` (cross entropy
    of the decision without smoothing) and ``validation_accuracy``, each the mean over the epoch's samples, or over their steps where these
    have targets; and ``validation_macro_f1``, over the classes that occur among them.
    """

    def __init__(
        self, recipe: ClassifierRecipe, weights: Tensor | None, teacher: LoadedModel | None, epoch_steps: int
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.steps = epoch_steps * recipe.training.epochs
        self.learning_rate = recipe.training.optimizer.learning_rate
        self.network: EmotionModel = build_model(recipe).to(memory_format=torch.channels_last)
        self.augmentation = FaceAugmentation(recipe.augmentation)
        self.voice_augmentation = VoiceAugmentation(recipe.voice_augmentation)
        self.register_buffer("class_weights", weights, persistent=False)
        # In a list, so that its weights are neither trained, averaged nor saved.
        self._teacher = [teacher]
        self._generator: torch.Generator | None = None
        self._confusion = torch.zeros(len(recipe.labels), len(recipe.labels), dtype=torch.int64)

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        # Not in on_train_epoch_start: Lightning leaves that out for the first epoch after a resume.
        if batch_index > 0:
            return
        seed = self.recipe.training.seed * 1_000_003 + self.current_epoch
        torch.manual_seed(seed)
        self._generator = torch.Generator(self.device).manual_seed(seed)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        training = self.recipe.training
        changed = augmented(batch, self.recipe, self.augmentation, self.voice_augmentation, self._generator)
        classes = {"": len(self.recipe.labels)} | {name: len(values) for name, values in self.recipe.targets.items()}
        targets = {"": batch.targets, **batch.others}
        shares = {name: _one_hot(target, classes[name]) for name, target in targets.items()}
        if training.mixup > 0:
            shares = self._mix(changed, shares, training.mixup)
        output = self.network(*changed.inputs(self.recipe.model))
        logits, kept = _decisions(output, batch)
        main = shares[""].flatten(0, -2)[kept]
        loss = multi_term_loss(
            training.loss,
            output,
            (logits, main),
            # Scorers decide for samples, so they have nothing to learn from where only steps have targets.
            {name: share for name, share in shares.items() if share.ndim == 2},
            self.class_weights,  # type: ignore[arg-type]
        )
        if training.distillation is not None:
            softened = distillation(logits, self._teacher_logits(changed, batch), training.distillation.temperature)
            loss = torch.lerp(loss, softened, training.distillation.weight)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the training loss is {loss.item()} in epoch {self.current_epoch}; lower optimizer.learning_rate"
            )
        truth = batch.targets.flatten()[kept]
        self._log("train", len(truth), loss=loss, accuracy=(logits.argmax(1) == truth).float().mean())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._confusion.zero_()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        logits, kept = _decisions(self.network(*network_inputs(self.recipe.model, batch)), batch)
        truth = batch.targets.flatten()[kept]
        self._log(
            "validation",
            len(truth),
            loss=F.cross_entropy(logits, truth),
            accuracy=(logits.argmax(1) == truth).float().mean(),
        )
        classes = len(self._confusion)
        cells = torch.bincount((truth * classes + logits.argmax(1)).cpu(), minlength=classes**2)
        self._confusion += cells.reshape(classes, classes)

    def on_validation_epoch_end(self) -> None:
        self.log("validation_macro_f1", macro_f1(self._confusion.numpy()))

    def configure_optimizers(self) -> Any:
        training = self.recipe.training
        optimizer = make_optimizer(self.network, training.optimizer, self.learning_rate)
        if training.schedule.name == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=training.schedule.factor, patience=training.schedule.patience
            )
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "validation_loss"}}
        schedule = make_schedule(optimizer, training.schedule, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _teacher_logits(self, changed: AugmentedBatch, batch: Batch) -> Tensor:
        teacher = self._teacher[0]
        assert teacher is not None
        with torch.no_grad():
            inputs = changed.inputs(teacher.recipe.model)
            output: FusionOutput = teacher.model.to(self.device).eval()(*inputs)
            return _decisions(output, batch)[0]

    def _mix(self, changed: AugmentedBatch, shares: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
        """Mixup (Zhang et al. 2018): one factor a batch, each sample with one of a random permutation."""
        factor = float(torch.distributions.Beta(alpha, alpha).sample())
        samples = len(shares[""])
        order = torch.randperm(samples, device=self.device, generator=self._generator)
        changed.mix(order, factor)
        return {name: torch.lerp(share[order], share, factor) for name, share in shares.items()}

    def _log(self, stage: str, samples: int, **values: Tensor) -> None:
        self.log_dict(
            {f"{stage}_{name}": value for name, value in values.items()},
            on_step=False,
            on_epoch=True,
            batch_size=samples,
        )


def _one_hot(targets: Tensor, classes: int) -> Tensor:
    """(..., classes) float32; zeros where a target is ignored."""
    shares = F.one_hot(targets.clamp(min=0), classes).float()
    return shares * (targets != IGNORED).unsqueeze(-1)


def _decisions(output: FusionOutput, batch: Batch) -> tuple[Tensor, Tensor]:
    """Logits (N, classes) float32 of the decisions that have a target, and which of the batch's flattened targets those are.

    Raises:
        ModelError: the steps have targets, but the fusion decides for samples only.
    """
    kept = batch.targets.flatten() != IGNORED
    if batch.targets.ndim == 1:
        return output.logits.float()[kept], kept
    if output.steps is None:
        raise ModelError(
            "sampling.sequences gives each frame a target; the fusion gives no logits of steps (concat-residual does)"
        )
    return output.steps.float().flatten(0, 1)[kept], kept


def make_optimizer(network: nn.Module, config: OptimizerConfig, learning_rate: float) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay only for weights of two and more dimensions (not for biases and normalisation)."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    decayed = [parameter for parameter in trained if parameter.ndim > 1]
    plain = [parameter for parameter in trained if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    betas = (config.betas[0], config.betas[1])
    if config.name == "sgd":
        return torch.optim.SGD(groups, learning_rate, momentum=config.momentum, nesterov=config.momentum > 0)
    if config.name == "adam":
        return torch.optim.Adam(groups, learning_rate, betas=betas)
    return torch.optim.AdamW(groups, learning_rate, betas=betas)


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
