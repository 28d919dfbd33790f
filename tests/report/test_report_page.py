from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from report_samples import LABELS, contents, moving, row

from pyemo.errors import ConfigError, PyemoError
from pyemo.palette import SEQUENCE, emotion_colours
from pyemo.report import Verdict, charts, render, write_report

CARD = """# tiny

- Training data: fer2013, splits train (3 images)
- Licence of the data, which binds users of these weights: research use

| class | F1 |
|---|---|
| happy | 0.5 |

<script>bad()</script> ![x](http://example.org/x.png)
"""


def text(page: str) -> str:
    """What a reader sees of the page's own markup, spaces joined."""
    body = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).replace("\N{NO-BREAK SPACE}", " ").split())


def test_words_of_the_page() -> None:
    seen = text(render(contents([row([(0, 10, "happy", 0.9)])], card=CARD, settings={"Model": "tiny"}), None))
    for words in (
        "video · 0:10 · 250 frames · 1 face",
        "100 % of all moments are read as happy; 20 % are enough to call the whole so.",
        "An expression is not a feeling.",
        "It learned from: fer2013, splits train (3 images)",
        "Terms of that data: research use",
        "Model tiny",
    ):
        assert words in seen


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict("sad", {"sad": 3, "neutral": 7}, 0.2, "sad", 0.3, "neutral"), "though neutral is more frequent"),
        (
            Verdict("neutral", {"sad": 1, "neutral": 9}, 0.2, "sad", 0.1, "neutral"),
            "sad, has only 10 % of all moments. 20 %",
        ),
        (
            Verdict("sad", {"sad": 6, "neutral": 4}, None, "sad", 0.6, "sad"),
            "60 % of all moments are read as sad, more",
        ),
        (Verdict("neutral", {"neutral": 4}, 0.2, None, 0.0, "neutral"), "All moments are read as neutral."),
        (Verdict(None, {}, 0.2, None, 0.0, None), "nothing to say about expressions"),
    ],
)
def test_the_verdict_is_explained(verdict: Verdict, words: str) -> None:
    rows = [] if verdict.label is None else [row([(0, 1, "neutral", 0.9)])]
    assert words in text(render(contents(rows, verdict=verdict, labels=("sad", "neutral", "happy")), None))


def test_a_voice_is_averaged_in() -> None:
    scores = {"angry": 0.2, "happy": 0.5, "neutral": 0.3}
    both = Verdict("happy", {"happy": 9}, 0.2, "happy", 1.0, "happy", faces="happy", voice="neutral", scores=scores)
    rows = [row([(0, 1, "happy", 0.9)]), row([(0, 1, "neutral", 0.9)], name="Voice", kind="voice")]
    seen = text(render(contents(rows, verdict=both), None))
    assert (
        "Faces and voice together: happy has the highest mean, 50 %. Alone, the faces are read as happy and the" in seen
    )
    assert "Mean probability of faces and voice" in seen
    assert "1 face · 1 voice" in seen
    alone = Verdict("happy", {}, 0.2, None, 0.0, None, voice="happy", scores=scores)
    heard = text(render(contents(rows[1:], verdict=alone, kind="audio"), None))
    assert "The voice is read as happy: 50 % on average" in heard
    assert "sound · 0:10 · 1 voice" in heard


def test_nothing_from_files_is_interpreted() -> None:
    evil = "</script><script>bad()</script><img src=x onerror=bad()>"
    one = row([(0, 1, "happy", 0.9)], name=evil)
    page = render(contents([one], title=evil, card=CARD, warnings=(evil,), settings={evil: evil}), None)
    assert "<script>bad" not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 3  # data, chart library, own script


def test_of_two_models_the_page_tells_what_both_learned_from() -> None:
    voice = "# voice\n\n- Training data: ravdess (9 clips)\n- Licence of the data: research use\n"
    seen = text(render(contents([row([(0, 1, "happy", 0.9)])], card=CARD + voice), None))
    assert "It learned from: fer2013, splits train (3 images); ravdess (9 clips)" in seen
    assert "Terms of that data: research use" in seen
    assert "research use; research use" not in seen


def test_the_page_asks_no_network() -> None:
    page = render(contents([row([(0, 1, "happy", 0.9)])], card=CARD), None)
    assert "default-src 'none'" in page
    assert not re.search(r"""src=["']?(https?:)?//|<link|url\(""", page)
    assert "(MIT Licensed)" in page  # the library's notice stays
    assert "@import" not in page


def test_movements_are_explained_where_there_are_some() -> None:
    one = row([(0, 1, "happy", 0.9)])
    movements, explained = (
        'id="movements"',
        "Fitted by hand. The line marks 0, the dashed one 1. A movement is not an emotion.",
    )
    page = render(contents([one, moving(one, jaw_drop=np.sin)], measured="Fitted by hand."), None)
    assert movements in page
    assert explained in text(page)
    for other in (
        render(contents([one], measured="Fitted by hand."), None),
        render(contents([moving(one, jaw_drop=np.sin)], kind="image", measured="Fitted by hand."), None),
    ):
        assert movements not in other
        assert explained not in text(other)
    assert "Fitted by hand. A movement is not an emotion." in text(other)  # of the table in the picture's report


def test_half_an_hour_is_small(tmp_path: Path) -> None:
    curves = {f"unit {number}": np.sin for number in range(8)}
    rows = [
        moving(row([(0, 900, "happy", 0.9), (900, 1800, "neutral", 0.4)], name=f"Face {number}"), **curves)
        for number in range(6)
    ]
    path = write_report(contents(rows, duration=1800.0), tmp_path / "long.html")
    assert path.stat().st_size < 5e6
    assert "neighbouring moments are averaged" in text(path.read_text(encoding="utf-8"))


def test_bad_choices_and_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="expected one of link, embed, none"):
        write_report(contents([]), tmp_path / "a.html", "stream")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(PyemoError, match=r"cannot write .*a\.html"):
        write_report(contents([]), tmp_path / "file" / "a.html")
    monkeypatch.setattr(charts, "_PACKAGE", "uplot-absent")
    charts.library.cache_clear()
    with pytest.raises(PyemoError, match="reports need the package uplot-absent"):
        write_report(contents([]), tmp_path / "b.html")
    charts.library.cache_clear()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_every_label_has_a_colour_of_its_own() -> None:
    seven = emotion_colours(
        ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "calm", "contempt", "other")
    )
    assert len(set(seven.values())) == 10
    foreign = emotion_colours((*LABELS, "bored", "curious"))
    assert len(set(foreign.values())) == 5
    assert {foreign["bored"], foreign["curious"]} <= set(SEQUENCE)
