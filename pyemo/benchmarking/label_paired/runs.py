"""One run: a method, a condition and a seed, trained, scored on the test split and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pyemo.benchmarking.label_paired.data import InMemory
from pyemo.benchmarking.label_paired.methods import CONDITIONS, LATE_AVERAGE, METHODS, SINGLE, recipe_of
from pyemo.config import ClassifierRecipe
from pyemo.data.recipe_data import RecipeData
from pyemo.data.samples import rows_of_splits
from pyemo.errors import ConfigError
from pyemo.evaluation.classification import score
from pyemo.evaluation.classifier import evaluate
from pyemo.evaluation.predictions import predictions_table, read_predictions
from pyemo.files import written_whole
from pyemo.training.engine import train
from pyemo.weights import load_model

RESULT, PREDICTIONS = "result.json", "predictions.csv"
_TEST = ["test"]


@dataclass(frozen=True)
class Run:
    seed: int
    condition: str
    method: str

    @property
    def trained_as(self) -> Run:
        """The run whose training this is: wrong voices do not reach a network that hears none."""
        return Run(self.seed, "clean", self.method) if self.method == "face" else self

    def folder(self, out: Path) -> Path:
        own = self.trained_as
        return out / "runs" / f"seed-{own.seed}" / own.condition / own.method

    def needs(self) -> tuple[Run, ...]:
        return tuple(Run(self.seed, self.condition, name) for name in METHODS[self.method].needs)


@dataclass(frozen=True)
class Training:
    """What made a network; zeros where nothing is trained."""

    training_samples: int
    epochs: int
    parameters: int
    """Those that are trained."""
    seconds: float
    """Of the epochs together."""


@dataclass(frozen=True)
class Result:
    """Scores on the test split, and the figures of :class:`Training`."""

    seed: int
    condition: str
    method: str
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    test_samples: int
    training_samples: int
    epochs: int
    parameters: int
    seconds: float


def plan(seeds: Sequence[int], conditions: Sequence[str], methods: Sequence[str]) -> list[Run]:
    """Seed after seed, so that an unfinished study has whole seeds; each run after those it needs."""
    return [Run(seed, condition, method) for seed in seeds for condition in conditions for method in methods]


def do(run: Run, base: ClassifierRecipe, data: InMemory, out: Path, *, command: str, device: str) -> bool:
    """Train and score a run, unless it is done; one that was stopped goes on after its last whole epoch.

    Returns:
        Whether there was something to do.

    Raises:
        ConfigError: the folder holds a run of another configuration or of other rows.
    """
    folder = run.folder(out)
    singles = {need.method: need.folder(out) / "model" for need in run.needs()}
    settings = {"recipe": _settings(run, base), "rows": _fingerprint(data.manifest.table)}
    if (folder / RESULT).is_file():
        if _read(folder)["settings"] != settings:
            raise ConfigError(f"{folder} holds a run of another configuration or of other data; give another --out")
        return False
    if run.method == LATE_AVERAGE:
        table, figures = _averaged(run, base, out), Training(0, 0, 0, 0.0)
    else:
        table, figures = _trained(run, base, singles, data, folder, command, device)
    scores = score(table["label"].tolist(), table["prediction"].tolist(), base.labels)
    with written_whole(folder / PREDICTIONS) as path:
        table.to_csv(path, index=False)
    own = run.trained_as
    result = Result(
        own.seed,
        own.condition,
        own.method,
        scores.accuracy,
        scores.balanced_accuracy,
        scores.macro_f1,
        test_samples=len(table),
        **asdict(figures),
    )
    with written_whole(folder / RESULT) as path:
        path.write_text(json.dumps({**asdict(result), "settings": settings}, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # for going on; nothing will
    return True


def results(runs: Sequence[Run], out: Path) -> pd.DataFrame:
    """A row (:class:`Result`) for each of the runs that is done."""
    rows = []
    for run in runs:
        if (run.folder(out) / RESULT).is_file():
            content = _read(run.folder(out))
            del content["settings"]
            rows.append({**content, "condition": run.condition})
    return pd.DataFrame(rows, columns=list(Result.__dataclass_fields__))


def _trained(
    run: Run,
    base: ClassifierRecipe,
    singles: Mapping[str, Path],
    data: InMemory,
    folder: Path,
    command: str,
    device: str,
) -> tuple[pd.DataFrame, Training]:
    """The test's decisions, and what the training took."""
    own = run.trained_as
    recipe = recipe_of(base, METHODS[run.method], CONDITIONS[own.condition], run.seed, singles)
    table = data.manifest.table
    rows = RecipeData("label-paired", data.manifest, recipe, data)
    training = rows.samples(rows_of_splits(table, list(recipe.training.train_splits)), training=True)
    model = train(
        recipe,
        training,
        None,
        folder,
        data=f"label-paired (RAVDESS voices beside FER2013 faces of the same label), seed {run.seed}, {own.condition}",
        licence=data.manifest.licence,
        command=command,
        device=device,
    )
    loaded = load_model(str(model))
    evaluation = evaluate(loaded.model, recipe, rows.samples(rows_of_splits(table, _TEST), training=False))
    epochs = pd.read_csv(folder / "metrics.csv")
    figures = Training(
        training_samples=len(training),
        epochs=len(epochs),
        parameters=sum(part.numel() for part in loaded.model.parameters() if part.requires_grad),
        seconds=round(float(epochs["seconds"].sum()), 2),
    )
    return predictions_table(evaluation, table), figures


def _averaged(run: Run, base: ClassifierRecipe, out: Path) -> pd.DataFrame:
    """The decisions by the mean of the single networks' probabilities."""
    tables = [read_predictions(Run(run.seed, run.condition, name).folder(out) / PREDICTIONS) for name in SINGLE]
    first = tables[0]
    for other in tables[1:]:
        if not first[["row", "label"]].equals(other[["row", "label"]]):
            raise ConfigError(f"{run.folder(out)}: the single networks were tested on different rows")
    labels = list(base.labels)
    mean = sum(table[labels].to_numpy() for table in tables) / len(tables)
    decided = [labels[best] for best in mean.argmax(axis=1)]
    return first.assign(prediction=decided, **{label: mean[:, n] for n, label in enumerate(labels)})


def _settings(run: Run, base: ClassifierRecipe) -> dict[str, Any]:
    """What decides about a run, without the place of its folder."""
    method = METHODS[run.method]
    condition = CONDITIONS[run.trained_as.condition]
    if method.fusion is None:
        return {need: _settings(Run(run.seed, run.condition, need), base) for need in method.needs}
    return recipe_of(base, method, condition, run.seed, {name: Path(name) for name in SINGLE}).model_dump(mode="json")


def _fingerprint(table: pd.DataFrame) -> str:
    """Of the pairs and their splits, wherever the files are."""
    names = [
        (Path(voice).name, Path(face).name, label, split)
        for voice, face, label, split in zip(table["voice"], table["path"], table["label"], table["split"], strict=True)
    ]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    return content
