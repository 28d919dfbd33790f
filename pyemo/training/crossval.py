"""Cross-validation of a trained recipe: each fold is a training run that is scored on the rows it never saw."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyemo.config import CandideAuRecipe, ClassifierRecipe, PublishedFigures
from pyemo.data.recipe_data import RecipeData
from pyemo.errors import ConfigError, DataError
from pyemo.evaluation.classification import Scores, score
from pyemo.evaluation.classifier import evaluate
from pyemo.evaluation.measures import Measures, measure
from pyemo.evaluation.predictions import read_predictions, write_predictions
from pyemo.files import written_whole
from pyemo.training.engine import train
from pyemo.weights import load_model

PREDICTIONS = "predictions.csv"
FOLD_COLUMNS = ("fold", "subjects", "samples", "accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True)
class CrossValidation:
    """What all folds, or those done so far, gave."""

    recipe: ClassifierRecipe | CandideAuRecipe
    data: str
    folds: pd.DataFrame
    """A row a fold, :data:`FOLD_COLUMNS`: its number (from 1), who is held out, how many samples, and what they gave."""
    predictions: pd.DataFrame
    """A row a held-out decision: ``fold``, the columns of :func:`pyemo.evaluation.predictions.predictions_table`."""
    scores: Scores
    """Over all folds together; a sample without a decision is wrong."""

    @property
    def truth(self) -> np.ndarray:
        """(predictions,) class indices."""
        index = {label: position for position, label in enumerate(self.recipe.labels)}
        return self.predictions["label"].map(index).to_numpy(np.int64)

    @property
    def probabilities(self) -> np.ndarray:
        """(predictions, classes)."""
        return self.predictions[self.recipe.labels].to_numpy(np.float64)

    @cached_property
    def measures(self) -> Measures:
        """Of the decisions of all folds together, with intervals."""
        subjects = self.predictions["subject"].to_numpy()
        return measure(self.truth, self.probabilities, self.recipe.labels, subjects)

    @property
    def published(self) -> list[PublishedFigures]:
        """The publication's figures for this data set."""
        published = self.recipe.published if isinstance(self.recipe, ClassifierRecipe) else []
        return [figures for figures in published if figures.data == self.data]

    def summary(self) -> dict[str, Any]:
        """Figures over the folds, as they stand in ``results.json``."""
        means = {
            metric: {
                "mean": float(self.folds[metric].mean()),
                "deviation": float(self.folds[metric].std(ddof=1)) if len(self.folds) > 1 else None,
            }
            for metric in ("accuracy", "balanced_accuracy", "macro_f1")
        }
        return {
            **means,
            "folds": self.folds.to_dict("records"),
            "together": self.scores.as_dict(),
            "published": [figures.model_dump(mode="json") for figures in self.published],
        }

    def save(self, folder: Path, extra: dict[str, Any]) -> None:
        """Write ``folds.csv``, ``predictions.csv``, ``measures.csv``, ``measures.json`` and ``results.json`` (:meth:`summary` after
        ``extra``)."""
        self.measures.save(folder)
        for name, table in (("folds", self.folds), ("predictions", self.predictions)):
            with written_whole(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False)
        with written_whole(folder / "results.json") as path:
            path.write_text(
                json.dumps({**extra, **self.summary()}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )


def run_fold(data: RecipeData, numbers: np.ndarray, fold: int, folder: Path, *, command: str, device: str) -> bool:
    """Train on all rows but the fold's, score those, and keep the decisions in ``folder/fold-NN/predictions.csv``.

    A fold that is done is not done again; one that was stopped goes on. The held-out rows decide nothing: no epoch is chosen with them. If the
    recipe wants ``validation_splits``, the training subjects of the next fold validate.

    Returns:
        False if the fold was done before.

    Raises:
        ConfigError: the folder belongs to another configuration.
        DataError: the fold is empty.
    """
    own = folder / f"fold-{fold:02d}"
    if (own / PREDICTIONS).is_file():
        return False
    held_out = np.flatnonzero(numbers == fold)
    rest = numbers != fold
    if not len(held_out) or not rest.any():
        raise DataError(f"fold {fold} of {data.name} holds out {len(held_out)} of {len(numbers)} rows")
    validation = None
    if data.recipe.training.validation_splits:
        present = np.unique(numbers[rest])
        following = present[present > fold]
        chosen = following[0] if len(following) else present[0]
        validation = data.samples(np.flatnonzero(numbers == chosen), training=False)
        rest &= numbers != chosen
    recipe = data.recipe.of_fold(fold)
    model = train(
        recipe,
        data.samples(np.flatnonzero(rest), training=True),
        validation,
        own,
        data=f"{data.name} without fold {fold}",
        licence=data.manifest.licence,
        command=command,
        device=device,
    )
    loaded = load_model(str(model))
    evaluation = evaluate(loaded.model, recipe, data.samples(held_out, training=False))
    evaluation.save(own, "held-out")
    write_predictions(evaluation, data.manifest.table, own / PREDICTIONS)
    return True


def gather(data: RecipeData, numbers: np.ndarray, folder: Path) -> CrossValidation:
    """The decisions of the folds that are done.

    Raises:
        ConfigError: none is.
    """
    rows, tables = [], []
    for fold in np.unique(numbers).tolist():
        file = folder / f"fold-{fold:02d}" / PREDICTIONS
        if not file.is_file():
            continue
        table = read_predictions(file)
        scores = score(table["label"].tolist(), table["prediction"].tolist(), data.recipe.labels)
        subjects = sorted({str(name) for name in table["subject"].dropna()})
        rows.append((fold, " ".join(subjects), len(table), scores.accuracy, scores.balanced_accuracy, scores.macro_f1))
        tables.append(table.assign(fold=fold))
    if not tables:
        raise ConfigError(f"no fold in {folder} is done yet")
    together = pd.concat(tables, ignore_index=True)
    return CrossValidation(
        data.recipe,
        data.name,
        pd.DataFrame(rows, columns=list(FOLD_COLUMNS)),
        together,
        score(together["label"].tolist(), together["prediction"].tolist(), data.recipe.labels),
    )
