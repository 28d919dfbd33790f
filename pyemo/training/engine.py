"""Recipe + manifest -> run folder."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pydantic import BaseModel
from torch import Tensor, nn

from pyemo.config import ClassifierRecipe, dump_recipe, parse_recipe
from pyemo.contracts import Manifest
from pyemo.errors import ConfigError, DataError, ModelError
from pyemo.evaluation.classifier import Evaluation, evaluate_faces
from pyemo.files import check_writable, written_whole
from pyemo.training.averaging import exponential_average
from pyemo.training.card import training_card
from pyemo.training.log import EpochLog
from pyemo.training.losses import class_weights
from pyemo.training.memory import keep_freed_memory
from pyemo.training.module import FaceTraining
from pyemo.training.samples import FaceSamples, ordered_batches, select, shuffled_batches
from pyemo.weights import LoadedModel, load_model, save_model

LAST = "checkpoints/last.ckpt"

_log = logging.getLogger(__name__)


def train(
    recipe: ClassifierRecipe, manifest: Manifest, run: Path, *, data: str, command: str, device: str = "auto"
) -> Path:
    """Train ``recipe`` and return the model folder, ``run/model``.

    The run folder gets ``config.yaml`` (the resolved recipe), ``metrics.csv`` (a line an epoch), ``checkpoints/``, and at the end
    ``model/`` and, where there are validation splits, ``evaluation.json`` and ``evaluation-confusion.png``. A run that was stopped
    goes on after its last whole epoch when called again; on a CPU it then gives the same weights as an uninterrupted one.

    Args:
        manifest: rows with ``split`` and images.
        run: the run folder; new, empty, or of the same recipe.
        data: what the model card says the data is.
        command: what the model card says made it.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: ``run`` belongs to another configuration.
        DataError: splits or labels do not fit.
    """
    keep_freed_memory()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    _claim(run, recipe)
    training = recipe.training
    train_samples = select(manifest, recipe, training.train_splits)
    validation_samples = select(manifest, recipe, training.validation_splits) if training.validation_splits else None
    if len(train_samples) < 2:
        raise DataError(
            f"the splits {', '.join(training.train_splits)} have {len(train_samples)} samples; training needs at least 2"
        )

    torch.manual_seed(training.seed)
    weights = class_weights(training.loss, train_samples.targets, len(recipe.labels))
    # Counted from global_step, not asked from Lightning: its epoch counter lags behind while a resumed run makes its first iterator.
    train_batches = shuffled_batches(
        train_samples, training.batch_size, training.seed, lambda: trainer.global_step // len(train_batches)
    )
    module = FaceTraining(recipe, weights, _teacher(recipe), len(train_batches))
    if training.start_from is not None:
        _start_from(training.start_from, module, training.start_partially)
    trainer = _trainer(recipe, run, device, [EpochLog(run / "metrics.csv"), *_callbacks(recipe, run)])
    last = run / LAST
    with warnings.catch_warnings():
        # Samples are in memory: loader processes would only copy them.
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*Checkpoint directory.*exists and is not empty.*")
        try:
            trainer.fit(
                module,
                train_batches,
                ordered_batches(validation_samples, 256) if validation_samples else None,
                ckpt_path=last if last.is_file() else None,
                weights_only=True,
            )
        except SystemExit:
            if not trainer.interrupted:
                raise
            # Lightning ends the process on Ctrl-C; what to say and which status to end with is the caller's business.
            raise KeyboardInterrupt from None

    _load_kept_weights(module, run, training.keep)
    evaluation = _evaluate(module, recipe, run, validation_samples) if validation_samples else None
    folder = run / "model"
    sizes = {"train": len(train_samples), "validation": len(validation_samples) if validation_samples else 0}
    card = training_card(
        recipe, module.network, data=data, licence=manifest.licence, sizes=sizes, evaluation=evaluation, command=command
    )
    save_model(folder, module.network, recipe, card, storage=training.storage)
    return folder


def _claim(run: Path, recipe: ClassifierRecipe) -> None:
    """Take a run folder for this recipe, or make sure that it is this recipe's already."""
    config = run / "config.yaml"
    if config.is_file():
        there = parse_recipe(config.read_text(encoding="utf-8"), str(config))
        if there != recipe:
            raise ConfigError(
                f"{run} holds a run of another configuration ({_difference(there, recipe)}); give another --out"
            )
        return
    check_writable(run / "checkpoints")
    with written_whole(config) as temporary:
        temporary.write_text(dump_recipe(recipe), encoding="utf-8")


def _difference(there: BaseModel, here: ClassifierRecipe, *sections: str) -> str:
    """The first three keys that differ, in all sections or in those given."""

    def flat(tree: object, prefix: str = "") -> dict[str, object]:
        if not isinstance(tree, dict):
            return {prefix: tree}
        return {
            key: value
            for name, part in tree.items()
            for key, value in flat(part, f"{prefix}.{name}" if prefix else name).items()
        }

    old, new = (flat(recipe.model_dump(include=set(sections) or None)) for recipe in (there, here))
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in changed[:3])


def _start_from(name: str, module: FaceTraining, partially: bool) -> None:
    start = load_model(name)
    same = start.recipe.labels == module.recipe.labels and (partially or start.recipe.model == module.recipe.model)
    if not same:
        raise ModelError(
            f"training.start_from: {name} differs from the recipe ({_difference(start.recipe, module.recipe, 'model', 'labels')})"
        )
    if partially:
        _take_over(name, start.model.state_dict(), module.network)
    else:
        module.network.load_state_dict(start.model.state_dict())


def _take_over(name: str, weights: dict[str, Tensor], network: nn.Module) -> None:
    """What fits by name and shape."""
    own = network.state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and value.shape == own[key].shape}
    parameters = [key for key, _ in network.named_parameters()]
    # A bias as long as there are classes fits any network.
    if not any(fitting[key].ndim > 1 for key in parameters if key in fitting):
        raise ModelError(f"training.start_from: no weight of {name} fits the recipe by name and shape")
    network.load_state_dict(fitting, strict=False)
    if missing := [key for key in parameters if key not in fitting]:
        _log.warning("training.start_from: not in %s, so they start at random: %s", name, ", ".join(missing))


def _teacher(recipe: ClassifierRecipe) -> LoadedModel | None:
    distillation = recipe.training.distillation
    if distillation is None:
        return None
    teacher = load_model(distillation.teacher)
    if list(teacher.recipe.labels) != list(recipe.labels):
        raise ModelError(
            f"the teacher's labels are {', '.join(teacher.recipe.labels)}; the recipe's are {', '.join(recipe.labels)}"
        )
    wanted, given = (part.model.modalities["face"].input.channels for part in (teacher.recipe, recipe))
    if wanted != given:
        raise ModelError(f"the teacher sees {wanted} channels, the recipe's faces have {given}")
    return teacher


def _callbacks(recipe: ClassifierRecipe, run: Path) -> list[Callback]:
    training = recipe.training
    callbacks: list[Callback] = []
    if training.ema_decay > 0:
        callbacks.append(exponential_average(training.ema_decay))
    if training.early_stopping:
        callbacks.append(EarlyStopping("validation_accuracy", mode="max", patience=training.early_stopping))
    folder = run / "checkpoints"
    if training.validation_splits:
        callbacks.append(
            ModelCheckpoint(folder, "best", "validation_accuracy", mode="max", enable_version_counter=False)
        )
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


def _load_kept_weights(module: FaceTraining, run: Path, keep: str) -> None:
    checkpoint = torch.load(run / "checkpoints" / f"{keep}.ckpt", map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])


def _evaluate(module: FaceTraining, recipe: ClassifierRecipe, run: Path, samples: FaceSamples) -> Evaluation:
    evaluation = evaluate_faces(module.network, recipe, samples.crops, samples.targets)
    evaluation.save(run)
    return evaluation
