"""Features in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from pyemo.errors import DataError
from pyemo.evaluation.style import class_markers

_MOST = 3000
_FEWEST = 5
_PERPLEXITY = 30.0
_DIMENSIONS = 50


def tsne(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008) of features (N, D), above 50 dimensions first projected on their 50 main ones: (N, 2).

    Raises:
        DataError: fewer than five samples, or features that are not finite.
    """
    if features.ndim != 2 or len(features) < _FEWEST:
        raise DataError(f"t-SNE needs features (N, D) of at least {_FEWEST} samples, got the shape {features.shape}")
    if not np.isfinite(features).all():
        raise DataError("features are not all finite")
    size = min(_DIMENSIONS, len(features))
    if features.shape[1] > size:
        features = PCA(size, random_state=seed).fit_transform(features)
    perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
    placed: np.ndarray = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    return placed


def tsne_figure(
    features: np.ndarray, truth: np.ndarray, labels: Sequence[str], title: str = "", *, seed: int = 0
) -> Figure:
    """Each sample where t-SNE puts its features, in its class's colour and shape; of more than 3,000, that many at random.

    Distances between far groups and sizes of groups mean nothing in t-SNE; neighbours do.

    Args:
        features: (N, D), for instance the fused features before the last layer (:mod:`pyemo.evaluation.features`).
        truth: (N,) class indices.

    Raises:
        DataError: as of :func:`tsne`, or the arrays differ in length.
    """
    if len(features) != len(truth):
        raise DataError(f"expected a class for each of {len(features)} rows of features, got {len(truth)}")
    if len(features) > _MOST:
        chosen = np.sort(np.random.default_rng(seed).choice(len(features), _MOST, replace=False))
        features, truth = features[chosen], truth[chosen]
    placed = tsne(features, seed=seed)
    figure = Figure(figsize=(7, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for c, (label, style) in enumerate(class_markers(labels).items()):
        mine = placed[truth == c]
        axes.scatter(mine[:, 0], mine[:, 1], s=14, linewidths=0, alpha=0.75, label=f"{label} ({len(mine)})", **style)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, markerscale=1.6)
    return figure
