"""Training, scoring and cross-validating ``candide-au`` on a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn
import torch

from pyemo import __version__
from pyemo.candide_au.measuring import Progress
from pyemo.candide_au.model import CandideAuModel, save_candide_au, train_model
from pyemo.candide_au.samples import Samples, class_indices, read_samples
from pyemo.candide_au.svm import SvmClassifier
from pyemo.config.candide_au import CandideAuRecipe
from pyemo.contracts import Manifest
from pyemo.data.folds import check_disjoint
from pyemo.data.recipe_data import fold_numbers
from pyemo.errors import DataError
from pyemo.evaluation.classification import Scores, score
from pyemo.evaluation.classifier import Evaluation
from pyemo.evaluation.figures import confusion_figure
from pyemo.files import written_whole

LANDMARKS, MODEL = "landmarks.safetensors", "model"


@dataclass(frozen=True)
class RowEvaluation:
    """What a model said about the rows of a data set; of a clip, by the mean of its frames' probabilities."""

    evaluation: Evaluation
    """Of the rows with a face."""
    scores: Scores
    """Of all rows; where no face was found there is no decision, and that is wrong."""

    def save(self, folder: Path, stem: str = "evaluation") -> None:
        """Write ``<stem>.json`` and ``<stem>-confusion.png``."""
        without = int(self.scores.confusion[:, -1].sum())
        content = {"rows": int(self.scores.confusion.sum()), "rows_without_face": without, **self.scores.as_dict()}
        with written_whole(folder / f"{stem}.json") as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        title = f"{content['rows'] - without} decisions, accuracy {self.evaluation.scores.accuracy:.2%}"
        figure = confusion_figure(self.scores.confusion[:, :-1], self.scores.labels, title)
        with written_whole(folder / f"{stem}-confusion.png") as temporary:
            figure.savefig(temporary, dpi=150)


def train_candide_au(
    recipe: CandideAuRecipe, manifest: Manifest, out: Path, *, data: str, command: str, progress: Progress | None = None
) -> Path:
    """Measure, train and write ``out/model/``; an interrupted run goes on with the landmarks in ``out``.

    Args:
        recipe: what to train.
        manifest: its splits named by the recipe are used; where it has no splits, all rows, of which the first of the recipe's folds validates
            if anything is to. No subject may be in training and validation.
        out: run folder.
        data: name of the data set, for the card.
        command: what was called, for the card.
        progress: called with the inputs measured and in all.

    Returns:
        The model folder. Beside it ``validation.json`` and its figure, if there are validation rows, and ``problems.txt``.

    Raises:
        DataError: no rows of the training splits with the recipe's labels, or too few to train on.
    """
    splits = manifest.table["split"]
    targets = class_indices(manifest, recipe)
    train, held_out, shares = _sides(manifest, recipe)
    train = train & (targets >= 0)
    held_out = held_out & (targets >= 0)
    if not train.any():
        present = ", ".join(sorted({str(split) for split in splits}))
        raise DataError(f"no labelled rows in the splits {', '.join(recipe.train_splits)}; the data set has {present}")
    check_disjoint(manifest, train, held_out)
    samples = read_samples(manifest, recipe, file=out / LANDMARKS, progress=progress)
    with written_whole(out / "problems.txt") as temporary:
        temporary.write_text("".join(f"{problem}\n" for problem in samples.problems), encoding="utf-8")
    model = _fit(recipe, manifest, samples, targets, train, held_out)
    evaluation = None
    if held_out.any():
        evaluation = evaluate_rows(model, samples.of(held_out), targets, held_out)
        evaluation.save(out, "validation")
    card = _card(model, manifest, shares, data=data, command=command, train=int(train.sum()), evaluation=evaluation)
    return save_candide_au(out / MODEL, model, card)


def evaluate_candide_au(
    model: CandideAuModel,
    manifest: Manifest,
    rows: np.ndarray,
    *,
    file: Path | None = None,
    progress: Progress | None = None,
) -> RowEvaluation:
    """Score a model on the rows of a data set where ``rows`` (boolean) is true; ``file`` keeps the landmarks.

    Raises:
        DataError: none of the rows has a label of the model.
    """
    targets = class_indices(manifest, model.recipe)
    wanted = rows & (targets >= 0)
    if not wanted.any():
        raise DataError(f"none of the {int(rows.sum())} rows has one of the labels {', '.join(model.labels)}")
    samples = read_samples(manifest, model.recipe, file=file, progress=progress)
    return evaluate_rows(model, samples.of(wanted), targets, wanted)


def cross_validate_candide_au(
    recipe: CandideAuRecipe,
    manifest: Manifest,
    folds: np.ndarray,
    *,
    file: Path | None = None,
    progress: Progress | None = None,
) -> list[RowEvaluation]:
    """Train without each fold and score on it.

    Args:
        recipe: what to train; without validation rows, the dense network trains all its epochs.
        manifest: the data set.
        folds: (rows,) fold of each row (:func:`pyemo.data.folds.assign_folds`).
        file: keeps the landmarks.
        progress: called with the inputs measured and in all.

    Raises:
        DataError: as in training.
    """
    targets = class_indices(manifest, recipe)
    samples = read_samples(manifest, recipe, file=file, progress=progress)
    nobody = np.zeros(len(targets), bool)
    evaluations = []
    for fold in np.unique(folds):
        held_out, train = (folds == fold) & (targets >= 0), (folds != fold) & (targets >= 0)
        model = _fit(recipe, manifest, samples, targets, train, nobody)
        evaluations.append(evaluate_rows(model, samples.of(held_out), targets, held_out))
    return evaluations


def evaluate_rows(model: CandideAuModel, samples: Samples, targets: np.ndarray, wanted: np.ndarray) -> RowEvaluation:
    """Score samples of the rows where ``wanted`` (rows,) is true; ``targets`` (rows,) are their class indices."""
    probabilities = model.probabilities(samples.features)
    rows, position = np.unique(samples.rows, return_inverse=True)
    count = np.bincount(position, minlength=len(rows))
    summed = np.zeros((len(rows), len(model.labels)))
    np.add.at(summed, position, probabilities)
    mean = (summed / count[:, None]).astype(np.float32)
    decided = dict(zip(rows.tolist(), mean.argmax(axis=1).tolist(), strict=True))
    labels = model.labels
    scores = score(
        [labels[targets[row]] for row in np.flatnonzero(wanted)],
        [labels[decided[row]] if row in decided else None for row in np.flatnonzero(wanted).tolist()],
        labels,
    )
    decisions = pd.DataFrame({"row": rows, "frame": np.full(len(rows), -1)})
    return RowEvaluation(Evaluation(labels, targets[rows], mean, decisions), scores)


def _sides(manifest: Manifest, recipe: CandideAuRecipe) -> tuple[np.ndarray, np.ndarray, tuple[str, str]]:
    """Which rows train and which validate, (rows,) bool each, and what these parts of the data set are called."""
    splits = manifest.table["split"]
    if splits.notna().any():
        train, held_out = (
            splits.isin(names).to_numpy(bool) for names in (recipe.train_splits, recipe.validation_splits)
        )
        return train, held_out, (f"splits {', '.join(recipe.train_splits)}", ", ".join(recipe.validation_splits))
    if not recipe.validation_splits:
        return np.ones(len(splits), bool), np.zeros(len(splits), bool), ("all rows", "")
    numbers = fold_numbers(manifest, recipe)
    first = numbers == numbers.min()
    return ~first, first, (f"without fold {numbers.min()}", f"fold {numbers.min()}")


def _fit(
    recipe: CandideAuRecipe,
    manifest: Manifest,
    samples: Samples,
    targets: np.ndarray,
    train: np.ndarray,
    held_out: np.ndarray,
) -> CandideAuModel:
    chosen, other = samples.of(train), samples.of(held_out)
    if not len(chosen.features):
        raise DataError(f"no face with landmarks in the {int(train.sum())} training rows")
    # Frames of one clip without a subject must share a group too.
    subjects = manifest.table["subject"].tolist()
    groups: list[str | None] = [
        subjects[row] if isinstance(subjects[row], str) else f"row {row}" for row in chosen.rows.tolist()
    ]
    validation = other.features, targets[other.rows]
    return train_model(recipe, chosen.features, targets[chosen.rows], groups, validation)


def _card(
    model: CandideAuModel,
    manifest: Manifest,
    shares: tuple[str, str],
    *,
    data: str,
    command: str,
    train: int,
    evaluation: RowEvaluation | None,
) -> str:
    recipe, classifier = model.recipe, model.classifier
    kind = {
        "svm-linear": "linear support vector machines, one for each pair of classes",
        "svm-poly": f"support vector machines with a polynomial kernel of degree {recipe.classifier.degree}, one for each pair of classes",
        "ssvm": "one linear support vector machine for all classes, trained on the structured hinge (Crammer and Singer)",
        "dense": "a dense network with one hidden layer",
    }[recipe.classifier.name]
    detail = (
        f"C = {classifier.c:g}" if isinstance(classifier, SvmClassifier) else f"weights of epoch {classifier.epochs}"
    )
    features = "eight action units of Candide-3" if recipe.features == "au" else "68 landmarks"
    lines: Sequence[str] = [
        f"# {recipe.name}",
        "",
        recipe.description + ".",
        *(["", f"Method: {recipe.source}."] if recipe.source else []),
        "",
        f"- Labels: {', '.join(recipe.labels)}",
        f"- Classifier: {kind} ({detail}), of {features}",
        f"- Shape of a face taken from: {recipe.personalise}"
        if recipe.features == "au"
        else "- Place, size and roll removed",
        f"- Training data: {data}, {shares[0]} ({train:,} rows)",
        f"- Licence of the data, which binds users of this model: {manifest.licence}",
        "- The landmark model was trained on iBUG 300-W, whose terms exclude commercial use; Candide-3 is free for research",
        f"- Made by pyemo {__version__} (PyTorch {torch.__version__}, scikit-learn {sklearn.__version__}) with",
        "",
        f"      {command}",
        "",
        "## Measured",
        "",
        *_figures(evaluation, recipe, shares[1]),
        "",
        "## Limits",
        "",
        "A label names the expression that people saw in a picture. It does not say what a person feels. Landmarks are found in faces that look",
        "roughly into the camera, in fair light; without a picture of the person at rest, the shape of a face is taken for a movement.",
    ]
    return "\n".join(lines) + "\n"


def _figures(evaluation: RowEvaluation | None, recipe: CandideAuRecipe, share: str) -> list[str]:
    if evaluation is None:
        return ["Nothing: the run had no validation rows."]
    scores = evaluation.scores
    role = "chose the epoch, so the figure flatters" if recipe.classifier.name == "dense" else "chose nothing"
    return [
        f"On the {int(scores.confusion.sum()):,} rows of {share} (which {role}):",
        f"accuracy {scores.accuracy:.2%}, balanced accuracy {scores.balanced_accuracy:.2%};",
        f"{int(scores.confusion[:, -1].sum()):,} rows without a face count as wrong.",
        "",
        "| class | F1 |",
        "|---|---|",
        *(f"| {label} | {one.f1:.3f} |" for label, one in scores.classes.items()),
    ]
