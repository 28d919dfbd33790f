"""Cross-validation of threshold voting on labelled clips.

Yang, Lee, Park, "Develop method to efficiently apply image-based facial emotion classification models to video data": the threshold is
chosen on the training folds and scored on the held-out one, beside Top-1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyemo.config import ThresholdRecipe
from pyemo.contracts import Manifest
from pyemo.data.folds import stratified_folds
from pyemo.errors import ConfigError, DataError
from pyemo.evaluation.classification import NO_LABEL, Scores, score
from pyemo.files import written_whole
from pyemo.recognition.batch import Failure, Listener, recognise_all
from pyemo.recognition.recogniser import Recogniser
from pyemo.recognition.threshold import Votes, search_threshold

_ACCURACIES = ("accuracy", "top1_accuracy")


@dataclass(frozen=True)
class LabelledClip:
    path: str
    label: str
    """One of the labels that the recipe tells apart."""
    subject: str | None
    votes: Votes
    """For these labels. Without any (no face in the clip) the clip has no label, which is wrong, for every threshold and for Top-1."""


def label_clips(
    recipe: ThresholdRecipe, manifest: Manifest, recogniser: Recogniser, out: Path, *, listener: Listener | None = None
) -> tuple[list[LabelledClip], list[Failure]]:
    """Classify the frames of all clips of a data set, once: they are kept in ``out`` and used again by later calls.

    With 3 labels a clip may be labelled with an emotion or with a broad label. Clips that cannot be read, or whose label is neither, are
    left out and come back as failures, after what the reader of the data set had left out.

    Raises:
        ConfigError: the recipe's groups or its neutral do not fit the model's labels.
        DataError: the clips that the recipe can use are too few for its folds, or parts of longer files.
    """
    broad = recipe.groups if recipe.labels == 3 else {label: [label] for label in recogniser.labels}
    Votes.of(np.empty((0, len(recogniser.labels)), np.float32), recogniser.labels).grouped(broad)
    if recipe.neutral not in broad:
        raise ConfigError(f"neutral: {recipe.neutral!r} is not one of the labels {', '.join(broad)}")
    names = {
        **{member: name for name, members in broad.items() for member in members},
        **{name: name for name in broad},
    }
    failures = [Failure(Path(), "DataError", problem) for problem in manifest.problems]
    rows: dict[Path, tuple[str, str | None]] = {}
    table = manifest.table
    if table[["start", "end"]].notna().any(axis=None):
        raise DataError("threshold voting takes whole clips; this data set has parts of files")
    for file, label, subject in zip(table["path"], table["label"], table["subject"], strict=True):
        if label in names:
            rows[Path(file)] = names[label], None if pd.isna(subject) else str(subject)
        else:
            text = f"{file}: label {label!r} is not one of {', '.join(names)}; left out"
            failures.append(Failure(Path(file), "DataError", text))
    _folds(recipe, list(rows.values()))  # better to learn now than after all clips that they are too few
    report = recognise_all(recogniser, list(rows), out, threshold=None, formats=["json"], listener=listener)
    clips = []
    for path, record in report.records.items():
        votes = record["votes"]
        counts, mass = (np.array([votes[kind][label] for label in recogniser.labels]) for kind in ("counts", "mass"))
        label, subject = rows[path]
        clips.append(LabelledClip(str(path), label, subject, Votes(recogniser.labels, counts, mass).grouped(broad)))
    return clips, failures + report.failures


@dataclass(frozen=True)
class ThresholdCrossValidation:
    labels: tuple[str, ...]
    folds: pd.DataFrame
    """A row each: ``fold`` (from 1), ``clips``, ``threshold`` chosen on the other folds, their ``training_accuracy`` with it, and the
    ``accuracy`` and ``top1_accuracy`` of the fold itself."""
    predictions: pd.DataFrame
    """A row for each clip: ``path``, ``label``, ``subject``, ``fold``, ``threshold``, ``prediction``, ``top1`` (both ``none`` without a
    face), and the number of votes for each label."""
    scores: Scores
    """Of the held-out predictions of all folds together."""
    top1_scores: Scores
    thresholds: pd.DataFrame
    """``threshold`` and ``accuracy`` of each candidate on all clips."""
    best_threshold: float
    """Chosen on all clips: the one to use on clips of the same kind. Its accuracy here is not an estimate for new clips."""

    def summary(self) -> dict[str, Any]:
        folds = {name: self.folds[name].to_numpy() for name in _ACCURACIES}
        return {
            "labels": list(self.labels),
            "clips": len(self.predictions),
            "clips_by_label": {label: int((self.predictions["label"] == label).sum()) for label in self.labels},
            "clips_without_face": int((self.predictions["prediction"] == NO_LABEL).sum()),
            # The deviation is the sample's (divided by folds - 1), over folds.
            **{name: {"mean": float(of.mean()), "deviation": float(of.std(ddof=1))} for name, of in folds.items()},
            "thresholds_by_fold": self.folds["threshold"].tolist(),
            "threshold_of_all_clips": self.best_threshold,
            "all_folds": {"threshold": self.scores.as_dict(), "top1": self.top1_scores.as_dict()},
            "accuracy_by_threshold_on_all_clips": self.thresholds.to_dict("list"),
        }

    def save(self, folder: Path, extra: Mapping[str, Any]) -> None:
        """Write ``folds.csv``, ``predictions.csv`` and ``results.json`` (:meth:`summary` after ``extra``)."""
        for name, table in (("folds", self.folds), ("predictions", self.predictions)):
            with written_whole(folder / f"{name}.csv") as path:
                table.to_csv(path, index=False)
        with written_whole(folder / "results.json") as path:
            path.write_text(
                json.dumps({**extra, **self.summary()}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )


def cross_validate(clips: Sequence[LabelledClip], recipe: ThresholdRecipe) -> ThresholdCrossValidation:
    """Choose the threshold on all folds but one, score it on that one, for each fold.

    Folds are stratified by label, and grouped by subject where the recipe says so and a subject is known.

    Raises:
        DataError: too few clips, classes or subjects (:func:`pyemo.data.folds.stratified_folds`).
    """
    fold = _folds(recipe, [(clip.label, clip.subject) for clip in clips])
    truth = [clip.label for clip in clips]
    labels = clips[0].votes.labels
    candidates = [clip.votes.candidates(recipe.neutral) for clip in clips]
    top1 = [candidate.top for candidate in candidates]
    predictions: list[str | None] = [None] * len(clips)
    chosen = np.empty(len(clips))
    rows = []
    for number in range(recipe.folds):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        threshold, accuracy = search_threshold(
            [candidates[n] for n in outside], [truth[n] for n in outside], recipe.thresholds
        )
        chosen[inside] = threshold
        for n in inside:
            predictions[n] = candidates[n].verdict(threshold)
        hits, top1_hits = ([given[n] == truth[n] for n in inside] for given in (predictions, top1))
        rows.append((number + 1, len(inside), threshold, accuracy.max(), np.mean(hits), np.mean(top1_hits)))
    best, accuracy = search_threshold(candidates, truth, recipe.thresholds)
    table = pd.DataFrame(
        {
            "path": [clip.path for clip in clips],
            "label": truth,
            "subject": [clip.subject for clip in clips],
            "fold": fold + 1,
            "threshold": chosen,
            "prediction": [label or NO_LABEL for label in predictions],
            "top1": [label or NO_LABEL for label in top1],
            **{f"votes_{label}": [int(clip.votes.counts[n]) for clip in clips] for n, label in enumerate(labels)},
        }
    )
    return ThresholdCrossValidation(
        labels=labels,
        folds=pd.DataFrame(rows, columns=["fold", "clips", "threshold", "training_accuracy", *_ACCURACIES]),
        predictions=table,
        scores=score(truth, predictions, labels),
        top1_scores=score(truth, top1, labels),
        thresholds=pd.DataFrame({"threshold": recipe.thresholds, "accuracy": accuracy}),
        best_threshold=best,
    )


def _folds(recipe: ThresholdRecipe, clips: Sequence[tuple[str, str | None]]) -> np.ndarray:
    labels, subjects = [label for label, _ in clips], [subject for _, subject in clips]
    grouped = recipe.group_by_subject and any(subject is not None for subject in subjects)
    return stratified_folds(labels, recipe.folds, recipe.seed, subjects if grouped else None)
