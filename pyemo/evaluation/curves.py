"""ROC and precision-recall curves, and the density of the true class's score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from pyemo.errors import DataError
from pyemo.evaluation.style import class_styles, plain


def roc_figure(truth: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], title: str = "") -> Figure:
    """ROC curve of each class against the rest, and of all decisions together (micro).

    Args:
        truth: (N,) class indices.
        probabilities: (N, classes).
        labels: names of the classes. One without samples, or that has all of them, has no curve and is named so.

    Raises:
        DataError: no samples.
    """
    figure, axes = _panel(truth)
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
    for c, (label, style) in enumerate(class_styles(labels).items()):
        mine = truth == c
        if mine.all() or not mine.any():
            axes.plot([], [], label=f"{label}: no curve, {_what(mine)}", **style)
            continue
        false, true, _ = roc_curve(mine, probabilities[:, c])
        axes.plot(false, true, label=f"{label}: {auc(false, true):.3f}", **style)
    false, true, _ = roc_curve(_one_hot(truth, len(labels)), probabilities.ravel())
    axes.plot(false, true, label=f"micro: {auc(false, true):.3f}", color="black", linewidth=2.2)
    axes.set(xlabel="false positive rate", ylabel="true positive rate (recall)")
    axes.set_title(title, fontsize=10)
    axes.legend(title="area under the curve", loc="lower right", fontsize=8, title_fontsize=8)
    return figure


def precision_recall_figure(
    truth: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], title: str = ""
) -> Figure:
    """Precision-recall curve of each class against the rest, and of all decisions together (micro); arguments as of :func:`roc_figure`."""
    figure, axes = _panel(truth)
    for c, (label, style) in enumerate(class_styles(labels).items()):
        mine = truth == c
        if not mine.any():
            axes.plot([], [], label=f"{label}: no curve, no samples", **style)
            continue
        precision, recall, _ = precision_recall_curve(mine, probabilities[:, c])
        area = average_precision_score(mine, probabilities[:, c])
        axes.plot(recall, precision, drawstyle="steps-post", label=f"{label}: {area:.3f}", **style)
    every = _one_hot(truth, len(labels))
    precision, recall, _ = precision_recall_curve(every, probabilities.ravel())
    area = average_precision_score(every, probabilities.ravel())
    axes.plot(recall, precision, drawstyle="steps-post", label=f"micro: {area:.3f}", color="black", linewidth=2.2)
    axes.set(xlabel="recall", ylabel="precision")
    axes.set_title(title, fontsize=10)
    axes.legend(title="average precision", loc="lower left", fontsize=8, title_fontsize=8)
    return figure


def density_figure(truth: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], title: str = "") -> Figure:
    """How the score of the true class is distributed, class by class: the nearer to 1, the surer and righter.

    Gaussian kernel density (Scott's rule) on the logit, where scores near 0 and 1 have room, drawn over the probability. A class with fewer
    than three different scores is left out and named.

    Raises:
        DataError: no samples.
    """
    figure, axes = _panel(truth, square=False)
    own = np.clip(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-4, 1 - 1e-4)
    at = np.linspace(0.002, 0.998, 499)
    for c, (label, style) in enumerate(class_styles(labels).items()):
        scores = own[truth == c]
        if len(np.unique(scores)) < 3:
            axes.plot([], [], label=f"{label}: too few samples", **style)
            continue
        # Of the logit's density f, the probability's is f(logit p) / (p (1 - p)).
        density = gaussian_kde(np.log(scores / (1 - scores)))(np.log(at / (1 - at))) / (at * (1 - at))
        axes.plot(at, density, label=f"{label}: median {np.median(scores):.2f}", **style)
    # A few classes pile up at the ends; what lies between is to be seen as well.
    heights = [np.asarray(line.get_ydata(), np.float64) for line in axes.lines]
    tallest = [height[(at > 0.03) & (at < 0.97)].max() for height in heights if len(height)]
    axes.set(xlim=(0, 1), ylim=(0, 1.15 * max([*tallest, 1.0])))
    axes.set(xlabel="score of the true class", ylabel="probability density")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8)
    return figure


def _panel(truth: np.ndarray, square: bool = True) -> tuple[Figure, Axes]:
    if not len(truth):
        raise DataError("nothing to draw: the evaluation set is empty")
    figure = Figure(figsize=(6, 5.6) if square else (7, 4.4), layout="constrained")
    axes = figure.add_subplot()
    plain(axes)
    if square:
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    return figure, axes


def _one_hot(truth: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=bool)[truth].ravel()


def _what(mine: np.ndarray) -> str:
    return "all samples" if mine.all() else "no samples"
