from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from pyemo.config import load_recipe
from pyemo.contracts import FusionOutput
from pyemo.errors import DataError, ModelError, PyemoError
from pyemo.evaluation.attention_figure import attention_figure
from pyemo.evaluation.comparison import FrozenAndFineTuned, bars_figure, comparison_table, frozen_table, markdown
from pyemo.evaluation.curves import density_figure, precision_recall_figure, roc_figure
from pyemo.evaluation.embedding import tsne, tsne_figure
from pyemo.evaluation.features import fused_features
from pyemo.evaluation.figures import confusion_figure
from pyemo.evaluation.measures import Measures, measure
from pyemo.evaluation.style import save_figure
from pyemo.model import build_model

LABELS = ("angry", "happy", "neutral")


def made_up(sharpness: float = 1.5, samples: int = 150) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, samples)
    logits = random.normal(size=(samples, 3)) + sharpness * np.eye(3)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def measured(sharpness: float = 1.5) -> Measures:
    return measure(*made_up(sharpness), LABELS, draws=50)


def test_files_are_a_picture_and_a_drawing_with_text(tmp_path: Path) -> None:
    counts = np.array([[5, 1, 0], [0, 0, 0], [2, 2, 6]])
    png, svg = save_figure(confusion_figure(counts, LABELS, "title of it"), tmp_path / "new", "confusion")
    picture = cv2.imread(str(png))
    assert picture is not None
    assert min(picture.shape[:2]) > 700
    texts = ["".join(text.itertext()) for text in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "title of it" in texts
    again = save_figure(confusion_figure(counts, LABELS, "title of it"), tmp_path / "again", "confusion")[1]
    assert again.read_bytes() == svg.read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(PyemoError, match="cannot write"):
        save_figure(confusion_figure(counts, LABELS, ""), tmp_path / "file", "x")


def test_confusion_as_counts_and_as_shares() -> None:
    counts = np.array([[5, 1, 0], [0, 0, 0], [2, 2, 6]])
    texts = {
        kind: [text.get_text() for text in confusion_figure(counts, LABELS, "", kind=kind).axes[0].texts]  # type: ignore[arg-type]
        for kind in ("both", "counts", "shares")
    }
    assert texts["both"][0] == "5\n83%"
    assert texts["counts"] == ["5", "1", "0", "–", "–", "–", "2", "2", "6"]
    assert texts["shares"] == ["83%", "17%", "0%", "–", "–", "–", "20%", "20%", "60%"]


def test_curves_say_their_areas() -> None:
    truth, probabilities = made_up()
    roc = [text.get_text() for text in roc_figure(truth, probabilities, LABELS).axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    own = precision_recall_figure(truth, probabilities, LABELS).axes[0].get_legend()
    assert own is not None
    for c, label in enumerate(LABELS):
        assert roc[c] == f"{label}: {roc_auc_score(truth == c, probabilities[:, c]):.3f}"
        area = average_precision_score(truth == c, probabilities[:, c])
        assert own.get_texts()[c].get_text() == f"{label}: {area:.3f}"
    styles = {
        (line.get_color(), line.get_linestyle()) for line in roc_figure(truth, probabilities, LABELS).axes[0].lines
    }
    assert len(styles) == 5  # classes, micro and the diagonal, also without colour
    alone = roc_figure(np.zeros(9, int), probabilities[:9], LABELS).axes[0].get_legend()
    assert alone is not None
    assert [text.get_text() for text in alone.get_texts()][:2] == [
        "angry: no curve, all samples",
        "happy: no curve, no samples",
    ]


def test_density_is_one() -> None:
    truth, probabilities = made_up(3.0, 600)
    axes = density_figure(truth, probabilities, LABELS).axes[0]
    for line in axes.lines:
        x, y = (np.asarray(values, float) for values in line.get_data())
        assert np.trapezoid(y, x) == pytest.approx(1, abs=0.12)
        inside = probabilities[np.arange(600), truth]
        assert x[np.argmax(y)] > 0.8
        assert inside.mean() > 0.6
    few = density_figure(truth[:4], probabilities[:4], LABELS).axes[0].get_legend()
    assert few is not None
    assert any("too few samples" in text.get_text() for text in few.get_texts())


def test_tsne_keeps_groups_together() -> None:
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 40)
    features = random.normal(size=(120, 60)) + 12 * np.eye(3, 60)[truth]
    placed = tsne(features)
    distances = np.linalg.norm(placed[:, None] - placed[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (truth[distances.argmin(axis=1)] == truth).mean() > 0.98
    figure = tsne_figure(features, truth, LABELS)
    assert [len(points.get_offsets()) for points in figure.axes[0].collections] == [40, 40, 40]  # type: ignore[arg-type]


def test_comparison_of_models() -> None:
    results = {"weak": measured(0.3), "strong": measured(3.0)}
    table = comparison_table(results)
    assert list(table.index) == ["weak", "strong"]
    assert table["accuracy"].is_monotonic_increasing
    strong = table.loc["strong"]
    assert strong["f1_low"] < strong["f1"] < strong["f1_high"]
    assert strong["recall"] == pytest.approx(strong["balanced_accuracy"])
    pairs = frozen_table({"net": FrozenAndFineTuned(results["weak"], results["strong"])})
    assert pairs.loc["net", "accuracy_gain"] == pytest.approx(strong["accuracy"] - table.loc["weak", "accuracy"])
    lines = markdown(table).splitlines()
    assert lines[0].startswith("| model | samples | accuracy | balanced accuracy | precision")
    assert lines[3].startswith(
        f"| strong | 150 | {100 * strong['accuracy']:.2f} % ({100 * strong['accuracy_low']:.2f} to "
    )
    assert "| +" in markdown(pairs)
    bars = bars_figure(results, "recall").axes[0].patches
    assert len(bars) == 2 * 5
    assert bars[5].get_height() == pytest.approx(results["strong"].classes["recall"].iloc[0])  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="different classes"):
        comparison_table({**results, "other": measure(np.array([0, 1]), np.eye(2), ("x", "y"), draws=0)})
    with pytest.raises(DataError, match="nothing to compare"):
        comparison_table({})


def test_attention_figure_shows_each_face_twice() -> None:
    faces = np.full((5, 8, 8), 100, np.uint8)
    figure = attention_figure(faces, np.zeros((5, 4, 4), np.float32), ["happy"] * 5, "t")
    shown = [panel for panel in figure.axes if panel.images]
    assert len(shown) == 5
    assert [len(panel.images) for panel in shown] == [3] * 5
    with pytest.raises(DataError, match="as many faces as maps"):
        attention_figure(faces, np.zeros((4, 4, 4)), ["x"] * 5)


def test_fused_features_are_what_the_logits_are_made_of() -> None:
    recipe = load_recipe("compact-resnet")
    model = build_model(recipe).eval()  # type: ignore[arg-type]
    faces = torch.randn(3, 1, 1, 48, 48)
    with torch.no_grad(), fused_features(model) as seen:
        first = model({"face": faces}).logits
        model({"face": faces[:1]})
    features = seen.array()
    assert len(features) == 4
    layer = next(part for part in reversed(list(model.modules())) if isinstance(part, torch.nn.Linear))
    with torch.no_grad():
        torch.testing.assert_close(layer(torch.from_numpy(features[:3])), first)
    np.testing.assert_allclose(features[3], features[0], atol=1e-5)
    xception = build_model(load_recipe("mini-xception")).eval()  # type: ignore[arg-type]
    with torch.no_grad(), fused_features(xception) as seen:
        xception({"face": torch.randn(2, 1, 1, 64, 64)})
    assert seen.array().shape[0] == 2
    assert seen.array().shape[1] > 7


class Untouched(nn.Module):
    def forward(self, x: Tensor) -> FusionOutput:
        return FusionOutput(x)


def test_a_model_without_a_last_layer_has_no_fused_features() -> None:
    model = Untouched()
    with pytest.raises(ModelError, match="no linear layer's output is its logits"), fused_features(model):
        model(torch.randn(2, 3))


@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure, density_figure])
def test_an_empty_set_is_named(draw: object) -> None:
    with pytest.raises(DataError, match="evaluation set is empty"):
        draw(np.empty(0, int), np.empty((0, 3)), LABELS)  # type: ignore[operator]
    with pytest.raises(DataError, match="at least 5 samples"):
        tsne(np.zeros((3, 4)))
