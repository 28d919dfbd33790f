"""Recipe + manifest -> run folder."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from pyemo.config import ClassifierRecipe, dump_recipe, parse_recipe
from pyemo.data.batch import Samples
from pyemo.errors import ConfigError, DataError, ModelError
from pyemo.evaluation.classifier import evaluate
from pyemo.files import check_writable, written_whole
from pyemo.training.averaging import exponential_average
from pyemo.training.card import training_card
from pyemo.training.loading import ordered_batches, shuffled_batches
from pyemo.training.log import EpochLog
from pyemo.training.losses import class_weights
from pyemo.training.memory import keep_freed_memory
from pyemo.training.module import ModelTraining
from pyemo.training.rate_finder import find_learning_rate
from pyemo.training.start import difference, start
from pyemo.weights import LoadedModel, load_model, save_model

LAST = "checkpoints/last.ckpt"
_VALIDATION_BATCH = 64


def train(
    recipe: ClassifierRecipe,
    samples: Samples,
    validation: Samples | None,
    run: Path,
    *,
    data: str,
    licence: str,
    command: str,
    device: str = "auto",
) -> Path:
    """Train ``recipe`` and return the model folder, ``run/model``.

    The run folder gets ``config.yaml`` (the resolved recipe), ``metrics.csv`` (a line an epoch), ``checkpoints/``, and at the end
    ``model/`` and, where there are validation samples, ``evaluation.json`` and ``evaluation-confusion.png``. A run that was stopped
    goes on after its last whole epoch when called again; on a CPU it then gives the same weights as an uninterrupted one.

    Args:
        samples: to train on.
        validation: to validate on after each epoch; None: nothing is.
        run: the run folder; new, empty, or of the same recipe.
        data: what the model card says the data is.
        licence: what it says of the data's licence.
        command: what it says made the model.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: ``run`` belongs to another configuration.
        DataError: fewer than two training samples.
        ModelError: a model to start from or to learn from does not fit.
        TrainingError: the loss is not finite any more.
    """
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    _claim(run, recipe)
    training = recipe.training
    if len(samples) < 2:
        raise DataError(f"there are {len(samples)} training samples; training needs at least 2")

    torch.manual_seed(training.seed)
    weights = class_weights(training.loss, samples.class_counts())
    # Counted from global_step, not asked from Lightning: its epoch counter lags behind while a resumed run makes its first iterator.
    batches = shuffled_batches(
        samples,
        training.batch_size,
        training.seed,
        lambda: trainer.global_step // len(batches),
        recipe.sampling,
    )
    module = ModelTraining(recipe, weights, _teacher(recipe), len(batches))
    start(recipe, module.network)
    trainer = _trainer(recipe, run, device, [EpochLog(run / "metrics.csv"), *_callbacks(recipe, run, validation)])
    last = run / LAST
    validation_batches = None if validation is None else ordered_batches(validation, _VALIDATION_BATCH)
    with warnings.catch_warnings():
        # Samples are in memory: loader processes would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists and is not empty.*")
        warnings.filterwarnings("ignore", ".*but have no `val_dataloader`.*")
        if training.optimizer.find_learning_rate and not last.is_file():
            module.learning_rate = find_learning_rate(module, batches, run)
        try:
            trainer.fit(
                module, batches, validation_batches, ckpt_path=last if last.is_file() else None, weights_only=True
            )
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning ends the process on Ctrl-C; what to say and which status to end with is the caller's business.
            raise KeyboardInterrupt from None

    _load_kept_weights(module, run, training.keep)
    evaluation = None
    if validation is not None:
        evaluation = evaluate(module.network, recipe, validation)
        evaluation.save(run)
    sizes = {"train": len(samples), "validation": len(validation) if validation is not None else 0}
    card = training_card(
        recipe,
        module.network,
        data=data,
        licence=licence,
        sizes=sizes,
        unit=samples.unit,
        evaluation=evaluation,
        command=command,
    )
    return save_model(run / "model", module.network, recipe, card, storage=training.storage)


def _claim(run: Path, recipe: ClassifierRecipe) -> None:
    """Take a run folder for this recipe, or make sure that it is this recipe's already."""
    config = run / "config.yaml"
    if config.is_file():
        there = parse_recipe(config.read_text(encoding="utf-8"), str(config))
        if there != recipe:
            raise ConfigError(
                f"{run} holds a run of another configuration ({difference(there, recipe)}); give another --out"
            )
        return
    check_writable(run / "checkpoints")
    with written_whole(config) as temporary:
        temporary.write_text(dump_recipe(recipe), encoding="utf-8")


def _teacher(recipe: ClassifierRecipe) -> LoadedModel | None:
    distillation = recipe.training.distillation
    if distillation is None:
        return None
    teacher = load_model(distillation.teacher)
    if list(teacher.recipe.labels) != list(recipe.labels):
        raise ModelError(
            f"the teacher's labels are {', '.join(teacher.recipe.labels)}; the recipe's are {', '.join(recipe.labels)}"
        )
    if set(teacher.recipe.model.kinds) - set(recipe.model.kinds):
        raise ModelError(
            f"the teacher needs {' and '.join(teacher.recipe.model.kinds)}, the recipe has {' and '.join(recipe.model.kinds)} only"
        )
    return teacher


def _callbacks(recipe: ClassifierRecipe, run: Path, validation: Samples | None) -> list[Callback]:
    training = recipe.training
    monitored = f"validation_{training.monitor.lower().replace(' ', '_')}"
    mode = "min" if training.monitor == "loss" else "max"
    callbacks: list[Callback] = []
    if training.ema_decay > 0:
        callbacks.append(exponential_average(training.ema_decay))
    if training.early_stopping:
        callbacks.append(EarlyStopping(monitored, mode=mode, patience=training.early_stopping))
    folder = run / "checkpoints"
    if validation is not None:
        callbacks.append(ModelCheckpoint(folder, "best", monitored, mode=mode, enable_version_counter=False))
    # After the best one: it carries that one's state.
    callbacks.append(ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False))
    return callbacks


def _trainer(recipe: ClassifierRecipe, run: Path, device: str, callbacks: list[Callback]) -> lightning.Trainer:
    training = recipe.training
    return lightning.Trainer(
        accelerator={"cuda": "gpu"}.get(device, device),
        devices=1,
        precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        max_epochs=training.epochs,
        gradient_clip_val=training.gradient_clip or None,
        callbacks=callbacks,
        default_root_dir=run,
        logger=False,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        num_sanity_val_steps=0,
    )


def _load_kept_weights(module: ModelTraining, run: Path, keep: str) -> None:
    checkpoint = torch.load(run / "checkpoints" / f"{keep}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
