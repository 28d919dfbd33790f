from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pyemo import plugins
from pyemo.contracts import Manifest
from pyemo.data.labels import BASIC_EMOTIONS, OUTSIDE, TAXONOMIES, basic_emotion, in_order, to_common


@pytest.mark.parametrize(
    ("name", "emotion"),
    [("Anger", "angry"), ("HAPPINESS", "happy"), ("fearful", "fear"), (" surprised ", "surprise"), ("NEU", "neutral")],
)
def test_other_names(name: str, emotion: str) -> None:
    assert basic_emotion(name) == emotion


def test_basic_names_are_their_own() -> None:
    assert tuple(map(basic_emotion, BASIC_EMOTIONS)) == BASIC_EMOTIONS


def test_others_are_none() -> None:
    assert [basic_emotion(name) for name in ("calm", "contempt", "other", "")] == [None] * 4


def test_order() -> None:
    assert in_order({"zeal", "neutral", "calm", "angry"}) == ("angry", "neutral", "calm", "zeal")


def made(labels: list[str | None], names: tuple[str, ...], **columns: list[object]) -> Manifest:
    table = pd.DataFrame({"path": [f"{n}.wav" for n in range(len(labels))], "label": labels, **columns}, dtype=object)
    table[["subject", "split"]] = None
    table[["start", "end"]] = np.nan
    return Manifest(table, names, images=np.arange(len(labels), dtype=np.uint8)[:, None, None], problems=("earlier",))


def test_every_data_set_of_the_table_says_what_it_loses() -> None:
    readers = {item.name for item in plugins.info() if item.group == "datasets" and item.distribution == "pyemo"}
    # Some have whatever labels their users give them; label-paired joins two others.
    assert set(TAXONOMIES) == readers - {"folder", "manifest", "prepared", "label-paired"}
    for taxonomy in TAXONOMIES.values():
        assert taxonomy.lost
        outside = set(taxonomy.labels) - set(BASIC_EMOTIONS)
        assert outside <= set(OUTSIDE)
        assert taxonomy.lost.startswith("nothing") <= (not outside)
    assert {label for taxonomy in TAXONOMIES.values() for label in taxonomy.labels} >= set(BASIC_EMOTIONS)


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("fer2013", "angry disgust fear happy sad surprise neutral"),
        ("ferplus", "neutral happy surprise sad angry disgust fear contempt"),
        ("ravdess", "neutral calm happy sad angry fear disgust surprise"),
        ("cremad", "angry disgust fear happy neutral sad"),
        ("aff-wild2", "neutral angry disgust fear happy sad surprise other"),
        ("ck-plus", "neutral angry contempt disgust fear happy sad surprise"),
        ("jaffe", "angry disgust fear happy neutral sad surprise"),
        ("rafd", "angry disgust fear happy neutral sad surprise contempt"),
        ("duckees", "happy sad fear disgust neutral pride embarrassment"),
    ],
)
def test_the_order_of_a_data_sets_own_numbers(name: str, labels: str) -> None:
    assert TAXONOMIES[name].labels == tuple(labels.split())


def test_words_are_found_whatever_their_case() -> None:
    assert TAXONOMIES["aff-wild2"].name(" happiness ") == "happy"
    assert TAXONOMIES["cremad"].name("F") == "fear"
    assert TAXONOMIES["cremad"].name("contempt") is None


def test_to_common_merges_drops_and_counts() -> None:
    labels: list[str | None] = ["neutral", "calm", "calm", "happy", "contempt", "bored", "Happiness"]
    manifest = to_common(made(labels, ("neutral", "calm", "happy", "contempt", "bored", "Happiness")))
    assert manifest.table["label"].tolist() == ["neutral", "neutral", "neutral", "happy", "happy"]
    assert manifest.labels == ("happy", "neutral")
    assert manifest.table.index.tolist() == list(range(5))
    assert manifest.images is not None
    assert manifest.images.ravel().tolist() == [0, 1, 2, 3, 6]
    assert manifest.problems == (
        "earlier",
        f"label 'calm': 2 rows count as neutral ({OUTSIDE['calm'].why})",
        f"label 'contempt': 1 rows left out ({OUTSIDE['contempt'].why})",
        "label 'bored': 1 rows left out (not in the table of labels)",
        "label 'Happiness': 1 rows are called happy",
    )


def test_to_common_leaves_common_labels_alone() -> None:
    before = made(["angry", "neutral"], ("angry", "neutral"))
    after = to_common(before)
    pd.testing.assert_frame_equal(after.table, before.table)
    assert (after.labels, after.problems) == (before.labels, before.problems)


def test_to_common_merges_probabilities() -> None:
    shares = [np.array([0.2, 0.3, 0.4, 0.1], np.float32), np.array([0, 0, 0.5, 0.5], np.float32)]
    manifest = to_common(made(["happy", "happy"], ("neutral", "calm", "happy", "contempt"), probabilities=list(shares)))
    assert manifest.labels == ("happy", "neutral")
    np.testing.assert_allclose(np.stack(manifest.table["probabilities"]), [[4 / 9, 5 / 9], [1, 0]], rtol=1e-6)


def test_to_common_needs_no_frame_labels_in_every_row() -> None:
    frames: list[object] = [np.array([0, 1, -1, 2], np.int16), None]
    manifest = to_common(made([None, "sad"], ("other", "sad", "calm"), frame_labels=frames))
    assert manifest.labels == ("sad", "neutral")
    assert manifest.table["frame_labels"].iloc[0].tolist() == [-1, 0, -1, 1]
    assert manifest.table["frame_labels"].iloc[1] is None
    assert manifest.table["label"].tolist() == [None, "sad"]
