"""Contents -> HTML: one file with its styles, its script, its chart library and its data inside."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from pyemo import __version__
from pyemo.palette import emotion_colours
from pyemo.report.charts import library
from pyemo.report.contents import Contents, Verdict
from pyemo.report.series import encoded, thinned
from pyemo.report.video import Medium

_CARD_FACTS = {"Training data": "It learned from", "Licence of the data": "Terms of that data"}


def render(contents: Contents, medium: Medium | None) -> str:
    """The page. Whatever comes from files (names, labels, the card) is escaped; the page asks nothing of any network.

    Raises:
        PyemoError: the chart library is not installed.
    """
    script, style = library()
    shown, colours = thinned(contents.rows), emotion_colours(contents.labels)
    data = {
        "timed": contents.timed,
        "duration": contents.duration,
        "labels": contents.labels,
        "colours": colours,
        "rows": [encoded(row, thin, contents.timed) for row, thin in zip(contents.rows, shown, strict=True)],
    }
    return _template().render(
        contents=contents,
        medium=medium,
        facts=_facts(contents),
        noun=_noun(contents),
        reasons=_reasons(contents.verdict, _noun(contents)),
        bars=_bars(contents),
        colours=colours,
        curves=any(row.curves for row in contents.rows),
        thin=sum(len(row.start) for row in shown) < sum(len(row.start) for row in contents.rows),
        card=Markup(_markdown(contents.card)),
        card_facts=_card_facts(contents.card),
        version=__version__,
        chart_script=_inline(script),
        chart_style=_inline(style),
        style=_inline(_asset("report.css")),
        script=_inline(_asset("report.js")),
        # Within a script element only "<" could end it.
        data=Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = _percent
    return environment.from_string(_asset("report.html.jinja"))


def _asset(name: str) -> str:
    return (files("pyemo.report") / "assets" / name).read_text(encoding="utf-8")


def _inline(text: str) -> Markup:
    """Script or style to stand in the page as it is; none of ours has a closing tag in it."""
    return Markup(re.sub(r"</(?=script|style)", r"<\\/", text, flags=re.IGNORECASE))


def clock(seconds: float) -> str:
    """``3:07`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _facts(contents: Contents) -> list[str]:
    """The line under the title."""
    faces, voices = (sum(row.kind == kind for row in contents.rows) for kind in ("face", "voice"))
    facts = [{"sequence": "image sequence", "audio": "sound"}.get(contents.kind, contents.kind)]
    if contents.duration is not None:
        facts.append(clock(contents.duration))
    if contents.kind in ("video", "sequence"):
        facts.append(f"{contents.frames:,} frames")
    if contents.kind != "audio":
        facts.append(_count(faces, "face") if faces else "no face")
    if voices:
        facts.append(_count(voices, "voice"))
    return facts


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + "s" * (number != 1)


def _noun(contents: Contents) -> str:
    """What casts the votes."""
    return "faces" if contents.kind == "image" else "moments"


def _reasons(verdict: Verdict, noun: str) -> str:
    """Why the clip has its label, in a sentence."""
    if verdict.label is None:
        return "No face was found and no voice was heard, so there is nothing to say about expressions."
    if verdict.voice is not None:
        return _heard(verdict)
    if verdict.threshold is None:
        most = _percent(verdict.votes[verdict.label] / sum(verdict.votes.values()))
        return f"{most} of all {noun} are read as {verdict.label}, more than as anything else."
    if verdict.emotion is None:
        return f"All {noun} are read as {verdict.top}."
    share, wanted = _percent(verdict.share), _percent(verdict.threshold)
    if verdict.share >= verdict.threshold:
        also = "" if verdict.top == verdict.emotion else f", though {verdict.top} is more frequent"
        return f"{share} of all {noun} are read as {verdict.emotion}; {wanted} are enough to call the whole so{also}."
    return (
        f"The most frequent emotion, {verdict.emotion}, has only {share} of all {noun}. {wanted} would be needed, so the most "
        f"frequent label counts: {verdict.top}."
    )


def _heard(verdict: Verdict) -> str:
    """The same where a voice was heard."""
    mean = _percent(verdict.scores[verdict.label or ""])
    if verdict.faces is None:
        return f"The voice is read as {verdict.label}: {mean} on average, more than anything else."
    alone = f"Alone, the faces are read as {verdict.faces} and the voice as {verdict.voice}."
    return f"Faces and voice together: {verdict.label} has the highest mean, {mean}. {alone}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _bars(contents: Contents) -> list[dict[str, Any]]:
    """The lines of the verdict's table, the largest share first: of the faces' votes, or with a voice of the mean probability."""
    verdict, colours = contents.verdict, emotion_colours(contents.labels)
    if verdict.voice is None:
        total = max(sum(verdict.votes.values()), 1)
        shares = {label: votes / total for label, votes in verdict.votes.items() if votes}
    else:
        shares = verdict.scores
    return [
        {"label": label, "share": shares[label], "colour": colours[label]}
        for label in sorted(shares, key=lambda label: -shares[label])
    ]


def _markdown(card: str) -> str:
    # HTML in a card is shown, not interpreted: a card comes with a model, which may come from anywhere.
    return MarkdownIt("commonmark", {"html": False}).enable("table").disable("image").render(card)


def _card_facts(card: str) -> list[tuple[str, str]]:
    """What the card says about training, in words for people: (question, answer); of several models all that they say."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^- ([^:\n]+): (.+)$", card, flags=re.MULTILINE):
        for key, question in _CARD_FACTS.items():
            if name.startswith(key):
                found.setdefault(question, []).append(value)
    return [(question, "; ".join(dict.fromkeys(answers))) for question, answers in found.items()]
