"""What a person does with a report, done by a driver in headless Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_samples import Browser, contents, row
from synthetic import write_clip

from pyemo.report import write_report

FACE = row([(0, 2, "happy", 0.9), (2, 4, "neutral", 0.4), (6, 10, "angry", 0.8)], pictures=2)
OTHER = row([(3, 7, "neutral", 0.7)], name="Face 1")
VOICE = row([(0, 10, "angry", 0.6)], name="Voice", kind="voice", pictures=0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    clip = write_clip(folder / "clip.avi", [{40: "happy"}] * 250)
    return write_report(contents([FACE, OTHER, VOICE], source=clip), folder / "clip.html")


def test_opens_without_a_word_on_the_console(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    assert [name.text for name in chromium.all(".row .who b")] == ["Face 0", "Face 1", "Voice"]
    assert [state.text for state in chromium.all(".row .who small")] == ["happy 90 %", "not seen", "angry 60 %"]
    assert chromium.run("document.querySelector('#unplayable').hidden")
    assert len(chromium.all(".person img")) == 3
    assert chromium.errors() == []


def test_the_canvas_shows_the_labels(chromium: Browser, page: Path) -> None:
    chromium.open(page)

    def pixel(share: float) -> list[int]:
        place = f"Math.round({share} * c.width), Math.round(0.6 * c.height), 1, 1"
        return chromium.run(
            f"(c => [...c.getContext('2d').getImageData({place}).data])(document.querySelector('.chart canvas'))"
        )

    assert pixel(0.1) == [0xF0, 0xE4, 0x42, 255]  # happy
    assert pixel(0.8) == [0xD5, 0x5E, 0x00, 255]  # angry
    assert pixel(0.5)[3] == 0  # away
    unsure = {tuple(pixel(0.3 + step / 1000)) for step in range(8)}
    assert len(unsure) > 1  # hatched
    assert (0x9A, 0x9A, 0x9A, 255) not in unsure  # and faded


def test_a_click_seeks_and_the_row_tells(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.8, click=True)
    chromium.wait("Math.abs(document.querySelector('video').currentTime - 8) < 0.05")
    assert chromium.time == pytest.approx(8, abs=0.05)
    assert chromium.all(".row .who small")[0].text == "angry 80 %"
    chromium.mouse(chromium.all(".chart .u-over")[1], 0.3, click=True)
    chromium.wait("Math.abs(document.querySelector('video').currentTime - 3) < 0.05")
    assert chromium.all(".row .who small")[0].text == "neutral 40 %, unsure"
    assert chromium.run("document.querySelector('#moments-of').textContent") == "Face 1"
    assert chromium.errors() == []


def test_playback_moves_the_line(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 2")
    chromium.run("document.querySelector('video').play()")
    chromium.wait("+document.querySelector('.chart').getAttribute('aria-valuenow') > 0.3")
    chromium.run("document.querySelector('video').pause()")
    left = chromium.run("new DOMMatrix(getComputedStyle(document.querySelector('.playhead')).transform).e")
    width = chromium.run("document.querySelector('.chart .u-over').clientWidth")
    assert left / width * 10 == pytest.approx(chromium.time, abs=0.3)
    assert chromium.errors() == []


def test_the_keyboard_does_all_of_it(chromium: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    for _ in range(40):
        chromium.press(Keys.TAB)
        if chromium.run("document.activeElement.classList.contains('chart')"):
            break
    assert chromium.run("document.activeElement.getAttribute('aria-label')") == "Time, Face 0"
    chromium.press(Keys.END)
    assert chromium.time == 10
    chromium.press(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert chromium.time == 9
    assert chromium.run("document.activeElement.getAttribute('aria-valuetext')") == "0:09.0, angry 80 %"
    chromium.press("+")  # from 5 to 10 s now
    left = chromium.run("new DOMMatrix(getComputedStyle(document.querySelector('.playhead')).transform).e")
    assert left / chromium.run("document.querySelector('.chart').clientWidth") == pytest.approx(0.8, abs=0.01)
    chromium.press(Keys.HOME)
    assert chromium.time == 0
    chromium.press(Keys.SPACE)
    chromium.wait("!document.querySelector('video').paused")
    chromium.press(Keys.SPACE)
    chromium.wait("document.querySelector('video').paused")
    assert chromium.errors() == []


def test_hovering_tells_the_three_most_probable(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    over = chromium.all(".chart .u-over")[0]
    chromium.mouse(over, 0.1)
    chromium.wait("!document.querySelector('#tip').hidden")
    assert chromium.all("#tip")[0].text.splitlines() == ["0:01.0 · Face 0", "happy 90 %", "angry 5 %", "neutral 5 %"]
    chromium.mouse(over, 0.5)
    assert chromium.all("#tip")[0].text.splitlines()[1:] == ["not seen"]
    chromium.mouse(over, 0.3)
    assert "unsure" in chromium.all("#tip")[0].text


def test_zoom_by_dragging_and_back(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.2, drag=0.4)
    # Half of the width is now a fifth of half of the clip.
    chromium.mouse(chromium.all(".chart .u-over")[2], 0.5, click=True)
    assert chromium.time == pytest.approx(3, abs=0.1)
    chromium.run("document.querySelector('#zoom-all').click()")
    chromium.mouse(chromium.all(".chart .u-over")[2], 0.5, click=True)
    assert chromium.time == pytest.approx(5, abs=0.1)


def test_moments_thumbnails_and_legend(chromium: Browser, page: Path) -> None:
    chromium.open(page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    texts = [moment.text.replace("\n", " ") for moment in chromium.all("#moments li")]
    assert texts == ["happy 90 % 0:00.0 – 0:02.0", "neutral 40 % 0:02.0 – 0:04.0", "angry 80 % 0:06.0 – 0:10.0"]
    chromium.run("document.querySelectorAll('#moments button')[2].click()")
    assert chromium.time == 6
    assert chromium.run("[...document.querySelectorAll('#moments li')].map(l => l.className)") == ["", "", "current"]
    chromium.run("document.querySelectorAll('.faces button')[1].click()")
    assert chromium.time == pytest.approx(0.2)
    chromium.run("[...document.querySelectorAll('#legend button')].find(b => b.textContent === 'angry').click()")
    assert [moment.text.split()[0] for moment in chromium.all("#moments li")] == ["angry"]
    assert chromium.run("document.querySelector('#moments-of').textContent") == "Face 0: angry"


@pytest.mark.parametrize("dark", [False, True])
def test_phone_width_and_colour_schemes(chromium: Browser, page: Path, dark: bool) -> None:
    chromium.open(page, width=390, dark=dark)
    assert chromium.run("document.documentElement.scrollWidth") == chromium.run("innerWidth") == 390
    red, green, blue = eval(chromium.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb"))
    assert (red + green + blue < 100) == dark
    assert chromium.run("document.querySelector('.chart').clientWidth") > 330
    assert chromium.errors() == []


def test_half_an_hour_with_many_faces(chromium: Browser, tmp_path: Path) -> None:
    parts = [
        (60.0 * minute, 60.0 * minute + 50, ("happy", "neutral", "angry")[minute % 3], 0.8) for minute in range(30)
    ]
    rows = [row(parts[number:], name=f"Face {number}") for number in range(12)]
    page = write_report(contents(rows, duration=1800.0, frames=45000), tmp_path / "long.html")
    chromium.open(page)
    assert len(chromium.all(".chart")) == 8
    chromium.run("document.querySelector('#more-charts').click()")
    assert len(chromium.all(".chart")) == 12
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.5, click=True)
    assert chromium.time == pytest.approx(900, abs=3)
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.5, drag=0.52)
    chromium.run("document.querySelector('#zoom-all').click()")
    assert chromium.errors() == []


def test_without_a_clip_and_without_times(chromium: Browser, tmp_path: Path) -> None:
    import numpy as np

    from pyemo.report import Row

    nothing = np.full(5, np.nan)
    five = Row("Face 0", "face", "happy", nothing, nothing, np.tile(np.float32([0.1, 0.8, 0.1]), (5, 1)))
    sequence = contents([five], kind="sequence", duration=None, frames=5)
    chromium.open(write_report(sequence, tmp_path / "sequence.html"))
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.5, click=True)
    assert chromium.run("document.querySelector('.chart').getAttribute('aria-valuetext')") == "image 3, happy 80 %"
    assert [moment.text.replace("\n", " ") for moment in chromium.all("#moments li")] == ["happy 80 % image 1 to 5"]
    picture = contents([five], kind="image", duration=None, frames=1)
    chromium.open(write_report(picture, tmp_path / "image.html"))
    assert [cell.text for cell in chromium.all(".person .number")] == ["80 %", "10 %", "10 %"]
    chromium.open(write_report(contents([]), tmp_path / "nobody.html"))
    assert chromium.all(".label")[0].text == "no face"
    assert chromium.errors() == []


def test_a_clip_that_was_moved_is_explained(chromium: Browser, page: Path, tmp_path: Path) -> None:
    alone = tmp_path / "moved.html"
    alone.write_bytes(page.read_bytes())
    chromium.open(alone)
    chromium.wait("!document.querySelector('#unplayable').hidden")
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.8, click=True)
    assert chromium.time == pytest.approx(8, abs=0.05)
