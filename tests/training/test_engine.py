from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pyemo.contracts import Manifest
from pyemo.data.recipe_data import RecipeData
from pyemo.data.samples import select
from pyemo.errors import ConfigError, DataError, ModelError, TrainingError
from pyemo.evaluation.classifier import evaluate
from pyemo.training import engine
from pyemo.weights import load_model


def train(recipe, manifest: Manifest, run: Path) -> Path:
    data = RecipeData("bars", manifest, recipe)
    rows, held_out = data.split()
    return engine.train(
        recipe,
        data.samples(rows, training=True),
        None if held_out is None else data.samples(held_out, training=False),
        run,
        data="bars",
        licence=manifest.licence,
        command="pyemo train",
        device="cpu",
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(str(folder)).model.state_dict()


def test_a_run_learns_and_leaves_everything_it_promises(tiny_recipe, bars, run_folder) -> None:
    folder = train(tiny_recipe("training.epochs=12"), bars, run_folder)

    loaded = load_model(str(folder))
    samples = select(bars, loaded.recipe, ["test"])
    evaluation = evaluate(loaded.model, loaded.recipe, samples)
    assert evaluation.scores.accuracy > 0.9
    with (run_folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 13)]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    report = json.loads((run_folder / "evaluation.json").read_text())
    assert np.sum(report["confusion"]["counts"]) == report["samples"] == 30
    assert (run_folder / "evaluation-confusion.png").read_bytes().startswith(b"\x89PNG")
    card = (folder / "card.md").read_text()
    assert "made up, free for all" in card
    assert "pyemo train" in card


class KilledError(Exception):
    pass


def test_a_killed_run_resumes_to_the_same_weights(tiny_recipe, bars, tmp_path, monkeypatch) -> None:
    recipe = tiny_recipe("training.mixup=0.2", "training.keep=last")
    whole = weights(train(recipe, bars, tmp_path / "whole"))

    class KillInSecondEpoch(Callback):
        def on_train_batch_end(self, trainer, *_: object) -> None:
            if trainer.current_epoch == 1:
                raise KilledError

    with monkeypatch.context() as patch:
        ordinary = engine._callbacks
        patch.setattr(engine, "_callbacks", lambda *arguments: [*ordinary(*arguments), KillInSecondEpoch()])
        with pytest.raises(KilledError):
            train(recipe, bars, tmp_path / "killed")
    assert not (tmp_path / "killed" / "model").exists()

    resumed = weights(train(recipe, bars, tmp_path / "killed"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    with (tmp_path / "killed" / "metrics.csv").open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_another_configuration_does_not_take_over_a_run(tiny_recipe, bars, run_folder) -> None:
    train(tiny_recipe("training.epochs=1"), bars, run_folder)
    with pytest.raises(ConfigError, match=r"training\.epochs: 1 there, 2 now"):
        train(tiny_recipe("training.epochs=2"), bars, run_folder)


def test_the_best_epoch_is_kept(tiny_recipe, bars, run_folder) -> None:
    # So large a constant rate that the accuracy goes up and down.
    rough = "training.optimizer={name: sgd, learning_rate: 2.0, momentum: 0.0}"
    recipe = tiny_recipe(
        rough,
        "training.schedule.name=constant",
        "training.epochs=8",
        "training.storage=float32",
        "training.ema_decay=0.0",
    )
    kept = weights(train(recipe, bars, run_folder))
    best, last = (
        torch.load(run_folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last")
    )
    assert best["epoch"] < last["epoch"]
    assert all(torch.equal(best["state_dict"][f"network.{name}"], value) for name, value in kept.items())
    assert not all(torch.equal(last["state_dict"][f"network.{name}"], value) for name, value in kept.items())


def test_an_interrupt_reaches_the_caller_and_the_run_can_go_on(tiny_recipe, bars, run_folder, monkeypatch) -> None:
    class Interrupt(Callback):
        def on_train_batch_end(self, trainer, *_: object) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        ordinary = engine._callbacks
        patch.setattr(engine, "_callbacks", lambda *arguments: [*ordinary(*arguments), Interrupt()])
        with pytest.raises(KeyboardInterrupt):
            train(tiny_recipe(), bars, run_folder)
    signal.signal(signal.SIGINT, handler)
    assert (train(tiny_recipe(), bars, run_folder) / "model.safetensors").is_file()


def test_early_stopping_ends_a_run_that_does_not_improve(tiny_recipe, bars, run_folder) -> None:
    train(
        tiny_recipe("training.epochs=20", "training.early_stopping=2", "training.optimizer.learning_rate=1e-9"),
        bars,
        run_folder,
    )
    with (run_folder / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) < 8


def test_a_student_needs_a_teacher_of_the_same_labels_and_learns_from_it(tiny_recipe, bars, tmp_path) -> None:
    teacher = train(tiny_recipe("training.epochs=16"), bars, tmp_path / "teacher")
    distilled = f"training.distillation={{teacher: {teacher}, weight: 1.0}}"
    # With weight 1 the labels play no part: what the student learns comes from the teacher.
    student = train(tiny_recipe("training.epochs=16", distilled), bars, tmp_path / "student")
    loaded = load_model(str(student))
    samples = select(bars, loaded.recipe, ["test"])
    assert evaluate(loaded.model, loaded.recipe, samples).scores.accuracy > 0.9


def test_training_goes_on_from_a_model(tiny_recipe, bars, tmp_path) -> None:
    first = train(tiny_recipe("training.epochs=12"), bars, tmp_path / "first")
    still = "training.optimizer.learning_rate=1e-12"
    second = train(tiny_recipe("training.epochs=1", f"training.start_from={first}", still), bars, tmp_path / "second")
    loaded = load_model(str(second))
    samples = select(bars, loaded.recipe, ["test"])
    assert evaluate(loaded.model, loaded.recipe, samples).scores.accuracy > 0.9
    options = "model.modalities.face.backbone.options={widths: [8, 16], blocks: [0, 0]}"
    other = tiny_recipe(f"training.start_from={first}", options)
    with pytest.raises(ModelError, match=r"backbone\.options\.blocks: \[0, 1\] there, \[0, 0\] now"):
        train(other, bars, tmp_path / "third")


PARTIALLY = "training.start_partially=true"


def test_training_goes_on_from_a_smaller_model_and_says_what_is_new(tiny_recipe, bars, tmp_path, caplog) -> None:
    first = train(tiny_recipe("training.epochs=12"), bars, tmp_path / "first")
    deeper = "model.modalities.face.backbone.options={widths: [8, 16], blocks: [0, 2]}"
    still = "training.optimizer.learning_rate=1e-12"
    second = train(
        tiny_recipe("training.epochs=1", f"training.start_from={first}", PARTIALLY, deeper, still),
        bars,
        tmp_path / "second",
    )
    before, after = (load_model(str(folder)).model.state_dict() for folder in (first, second))
    weight = "backbones.face.stages.1.2.0.branch.0.0.weight"
    torch.testing.assert_close(after[weight], before[weight])
    assert "stages.1.2.1.branch.0.0.weight" in caplog.text
    assert "stages.1.2.0.branch.0.0.weight" not in caplog.text


def test_a_model_of_which_nothing_fits_is_no_start(tiny_recipe, bars, tmp_path) -> None:
    first = train(tiny_recipe("training.epochs=1"), bars, tmp_path / "first")
    other = "model.modalities.face.backbone.options={widths: [4, 12], blocks: [0, 1]}"
    with pytest.raises(ModelError, match=r"no weight .* fits the recipe by name and shape"):
        train(tiny_recipe(f"training.start_from={first}", PARTIALLY, other), bars, tmp_path / "second")


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", ["plateau", "constant"])
def test_other_optimisers_and_schedules_train(tiny_recipe, bars, run_folder, name, schedule) -> None:
    recipe = tiny_recipe(
        f"training.optimizer.name={name}",
        f"training.schedule.name={schedule}",
        "training.loss.class_weights=inverse-frequency",
    )
    assert (train(recipe, bars, run_folder) / "model.safetensors").is_file()


def test_without_validation_the_last_epoch_is_kept(tiny_recipe, bars, run_folder) -> None:
    recipe = tiny_recipe(
        "training.validation_splits=[]", "training.keep=last", "training.epochs=1", "training.ema_decay=0.0"
    )
    assert (train(recipe, bars, run_folder) / "model.safetensors").is_file()
    assert not (run_folder / "evaluation.json").exists()


def test_a_split_or_label_that_is_not_there_is_named(tiny_recipe, bars, run_folder) -> None:
    with pytest.raises(DataError, match="no rows of split 'dev'; it has test, train, validation"):
        train(tiny_recipe("training.validation_splits=[dev]"), bars, run_folder)
    with pytest.raises(DataError, match="label 'middle', the recipe's are left, right"):
        train(tiny_recipe("labels=[left, right]"), bars, run_folder.with_name("other"))


def test_a_loss_that_is_not_finite_is_an_error(tiny_recipe, bars, run_folder) -> None:
    with pytest.raises(TrainingError, match="learning_rate"):
        train(tiny_recipe("training.optimizer={name: sgd, learning_rate: 1e30}"), bars, run_folder)
