"""All figures of one evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from pyemo.evaluation.comparison import bars_figure
from pyemo.evaluation.curves import density_figure, precision_recall_figure, roc_figure
from pyemo.evaluation.embedding import tsne_figure
from pyemo.evaluation.figures import confusion_figure
from pyemo.evaluation.measures import Measures
from pyemo.evaluation.style import save_figure


def write_figures(
    folder: Path,
    stem: str,
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    measures: Measures,
    *,
    name: str,
    features: np.ndarray | None = None,
) -> list[Path]:
    """Write, as PNG and SVG, ``<stem>-confusion-counts``, ``-confusion-shares``, ``-roc``, ``-precision-recall``, ``-density``,
    ``-recall``, ``-precision`` and, with features, ``-tsne``.

    Args:
        folder: made if it is not there.
        stem: how the files' names begin.
        truth: (N,) class indices.
        probabilities: (N, classes).
        labels: names of the classes.
        measures: of the same decisions.
        name: of the model, for titles and legends.
        features: (N, D), :func:`pyemo.evaluation.features.fused_features`.

    Raises:
        DataError: no samples, or too few for t-SNE.
        PyemoError: a file cannot be written.
    """
    accuracy = float(measures.overall["value"]["accuracy"])
    title = f"{name}: {len(truth):,} samples, accuracy {accuracy:.2%}"
    counts = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(counts, (truth, probabilities.argmax(axis=1)), 1)
    intervals = f"{title}\n{fill(measures.note(), 80)}"
    figures = {
        "confusion-counts": confusion_figure(counts, labels, title, kind="counts"),
        "confusion-shares": confusion_figure(counts, labels, title, kind="shares"),
        "roc": roc_figure(truth, probabilities, labels, title),
        "precision-recall": precision_recall_figure(truth, probabilities, labels, title),
        "density": density_figure(truth, probabilities, labels, title),
        "recall": bars_figure({name: measures}, "recall", intervals),
        "precision": bars_figure({name: measures}, "precision", intervals),
    }
    if features is not None:
        figures["tsne"] = tsne_figure(features, truth, labels, f"{name}: fused features (t-SNE)")
    return [path for kind, figure in figures.items() for path in save_figure(figure, folder, f"{stem}-{kind}")]
