"""Made-up reports, and a browser to open them in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyemo.report import Contents, Curve, Picture, Row, Verdict

LABELS = ("angry", "happy", "neutral")
RATE = 25


def row(
    stretches: Sequence[tuple[float, float, str, float]], name: str = "Face 0", kind: str = "face", pictures: int = 1
) -> Row:
    """Stretches (from, to, label, its probability), a moment each 1/25 s; the other labels share the rest."""
    starts, ends, probabilities = [], [], []
    for begin, finish, label, share in stretches:
        count = round((finish - begin) * RATE)
        starts.append(begin + np.arange(count) / RATE)
        ends.append(starts[-1] + 1 / RATE)
        others = (1 - share) / (len(LABELS) - 1)
        probabilities.append(np.tile([share if own == label else others for own in LABELS], (count, 1)))
    image = np.full((96, 96, 3), (200, 120, 40), np.uint8)
    first = stretches[0]
    return Row(
        name=name,
        kind=kind,  # type: ignore[arg-type]
        label=first[2],
        start=np.concatenate(starts),
        end=np.concatenate(ends),
        probabilities=np.concatenate(probabilities).astype(np.float32),
        pictures=tuple(Picture(first[0] + 0.2 * number, first[2], first[3], image) for number in range(pictures)),
    )


def moving(one: Row, **movements: Callable[[np.ndarray], Any]) -> Row:
    """The row with curves: name -> its values at these times. The first is called AU 1."""
    curves = (
        Curve(name.replace("_", " "), f"AU {number}", np.full(one.start.shape, values(one.start), np.float32))
        for number, (name, values) in enumerate(movements.items(), 1)
    )
    return replace(one, curves=tuple(curves))


def contents(rows: Sequence[Row], **changes: Any) -> Contents:
    winners = [LABELS[best] for one in rows for best in one.probabilities.argmax(axis=1)]
    votes = {label: winners.count(label) for label in LABELS}
    share = votes["happy"] / max(len(winners), 1)
    fields: dict[str, Any] = {
        "title": "clip.mp4",
        "kind": "video",
        "labels": LABELS,
        "rows": tuple(rows),
        "verdict": Verdict("happy" if rows else None, votes, 0.2, "happy", share, "happy"),
        "duration": 10.0,
        "frames": 250,
    }
    return Contents(**{**fields, **changes})


class Browser:
    """Headless Chromium with a page open."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get_log("browser")
        self.driver.get(page.resolve().as_uri())
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def wait(self, condition: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 30, 0.05).until(lambda _: self.run(condition), condition)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def mouse(self, element: Any, across: float, *, click: bool = False, drag: float | None = None) -> None:
        """Move to a place of an element (share of its width), and there click or drag on to another."""
        from selenium.webdriver.common.action_chains import ActionChains

        width = element.size["width"]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        actions = ActionChains(self.driver, 20).move_to_element_with_offset(element, round((across - 0.5) * width), 0)
        if click:
            actions.click()
        if drag is not None:
            actions.click_and_hold().move_by_offset(round((drag - across) * width), 0).release()
        actions.perform()

    @property
    def time(self) -> float:
        """Where the timeline is."""
        return float(self.run("document.querySelector('.chart').getAttribute('aria-valuenow')"))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]
