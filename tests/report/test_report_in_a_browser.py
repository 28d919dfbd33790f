"""What a person does with a report, done by a driver in headless Chromium."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_samples import Browser, contents, moving, row
from synthetic import write_clip

from pyemo.report import write_report

FACE = row([(0, 2, "happy", 0.9), (2, 4, "neutral", 0.4), (6, 10, "angry", 0.8)], pictures=2)
OTHER = row([(3, 7, "neutral", 0.7)], name="Face 1")
VOICE = row([(0, 10, "angry", 0.6)], name="Voice", kind="voice", pictures=0)
MOVING = moving(  # not measured from 8 to 9 s
    FACE, jaw_drop=lambda time: np.where((time < 8) | (time >= 9), time / 10, np.nan), brow_lower=lambda _: -0.5
)
OTHER_MOVING = moving(OTHER, jaw_drop=lambda _: 0.25, brow_lower=lambda _: 1.5)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    clip = write_clip(folder / "clip.avi", [{40: "happy"}] * 250)
    return write_report(contents([FACE, OTHER, VOICE], source=clip), folder / "clip.html")


@pytest.fixture(scope="module")
def moving_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moving")
    clip = write_clip(folder / "clip.avi", [{40: "happy"}] * 250)
    # As in results, the voice comes first.
    return write_report(contents([VOICE, MOVING, OTHER_MOVING], source=clip), folder / "clip.html")


def movements(chromium: Browser) -> list[str]:
    """Heading and values as they stand."""
    heading = chromium.all("#movements-title")[0].text
    return [heading, *(" ".join(item.text.split()) for item in chromium.all("#movements li"))]


def line(chromium: Browser, position: int, share: float) -> list[int]:
    """In the columns of pixels about this share of the width of a chart of a movement: where they have the line's blue, from above."""
    return chromium.run(
        f"""((c, found = new Set()) => {{
            const copy = Object.assign(document.createElement('canvas'), {{ width: 3, height: c.height }}).getContext('2d');
            copy.drawImage(c, 1 - Math.round({share} * c.width), 0);
            const {{ data }} = copy.getImageData(0, 0, 3, c.height);
            for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 150 && data[i + 2] > data[i] + 60) found.add(Math.floor(i / 12));
            return [...found];
        }})(document.querySelectorAll('.curve canvas')[{position}])"""
    )


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


def test_movements_are_those_of_the_chosen_face(chromium: Browser, moving_page: Path) -> None:
    chromium.open(moving_page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    # The voice is chosen at first, and has none.
    assert movements(chromium) == ["Movements of Face 0", "jaw drop AU 1 0.00", "brow lower AU 2 −0.50"]
    chromium.mouse(chromium.all(".chart .u-over")[2], 0.4, click=True)
    assert movements(chromium) == ["Movements of Face 1", "jaw drop AU 1 0.25", "brow lower AU 2 1.50"]
    assert line(chromium, 0, 0.6)
    assert not line(chromium, 0, 0.8)
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.7, click=True)
    assert chromium.run("document.querySelector('#moments-of').textContent") == "Voice"
    assert movements(chromium)[0] == "Movements of Face 1"
    chromium.mouse(chromium.all(".chart .u-over")[1], 0.7, click=True)
    assert movements(chromium)[1:] == ["jaw drop AU 1 0.70", "brow lower AU 2 −0.50"]
    assert chromium.errors() == []


def test_a_click_on_a_movement_seeks_and_the_values_follow(chromium: Browser, moving_page: Path) -> None:
    chromium.open(moving_page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    curve = chromium.all(".curve .u-over")[1]
    chromium.mouse(curve, 0.7, click=True)
    chromium.wait("Math.abs(document.querySelector('video').currentTime - 7) < 0.05")
    assert chromium.time == pytest.approx(7, abs=0.05)
    assert movements(chromium)[1:] == ["jaw drop AU 1 0.70", "brow lower AU 2 −0.50"]
    assert chromium.run("document.querySelector('#moments-of').textContent") == "Face 0"
    left = "new DOMMatrix(getComputedStyle(document.querySelector('.curve .playhead')).transform).e"
    assert chromium.run(f"{left} / document.querySelector('.curve').clientWidth") == pytest.approx(0.7, abs=0.005)
    chromium.mouse(curve, 0.85)
    chromium.wait("!document.querySelector('#tip').hidden")
    assert chromium.all("#tip")[0].text.splitlines() == ["0:08.5 · Face 0", "brow lower −0.50"]
    chromium.mouse(curve, 0.85, click=True)
    assert movements(chromium)[1:] == ["jaw drop AU 1 –", "brow lower AU 2 −0.50"]
    chromium.mouse(curve, 0.5, click=True)
    assert movements(chromium)[1:] == ["jaw drop AU 1 –", "brow lower AU 2 –"]
    assert chromium.errors() == []


def test_movements_are_drawn_where_they_were_measured(chromium: Browser, moving_page: Path) -> None:
    chromium.open(moving_page)
    low, high = line(chromium, 0, 0.1), line(chromium, 0, 0.75)
    assert min(low) > 30
    assert max(high) < 20
    assert not line(chromium, 0, 0.5)  # away
    assert not line(chromium, 0, 0.85)
    assert line(chromium, 1, 0.85)


def test_movements_zoom_with_the_timeline(chromium: Browser, moving_page: Path) -> None:
    chromium.open(moving_page)
    chromium.wait("document.querySelector('video').readyState >= 1")
    chart, curve = chromium.all(".chart .u-over")[1], chromium.all(".curve .u-over")[0]
    chromium.mouse(curve, 0.2, drag=0.4)
    for over in (chart, curve):
        chromium.mouse(over, 0.5, click=True)
        assert chromium.time == pytest.approx(3, abs=0.1)
        chromium.mouse(over, 0.1, click=True)
    chromium.run("document.querySelector('#zoom-all').click()")
    chromium.mouse(chart, 0.6, drag=0.8)
    chromium.mouse(curve, 0.5, click=True)
    assert chromium.time == pytest.approx(7, abs=0.1)
    assert line(chromium, 0, 0.9)
    chromium.run("document.querySelector('#zoom-all').click()")
    chromium.mouse(curve, 0.05, click=True)
    assert chromium.time == pytest.approx(0.5, abs=0.05)
    assert chromium.errors() == []


def test_a_long_curve_is_averaged_until_one_looks_closely(chromium: Browser, tmp_path: Path) -> None:
    parts = [(0, 600, "happy", 0.8), (620, 622, "happy", 0.8), (660, 1800, "angry", 0.8)]
    shaking = moving(row(parts), jaw_drop=lambda time: np.rint(time * 25) % 2)
    chromium.open(write_report(contents([shaking], duration=1800.0), tmp_path / "long.html"))
    middle = line(chromium, 0, 0.2)
    assert middle
    assert 19 < min(middle) <= max(middle) < 25
    assert line(chromium, 0, 621 / 1800)  # about one pixel wide
    assert not line(chromium, 0, 0.35)  # away
    place = "Math.round(0.2 * c.width), 40, 1, 1"
    happy = f"(c => [...c.getContext('2d').getImageData({place}).data])(document.querySelector('.chart canvas'))"
    assert chromium.run(happy) == [0xF0, 0xE4, 0x42, 255]
    for _ in range(9):  # 3.5 s
        chromium.run("document.querySelector('#zoom-in').click()")
    shown = [row for share in np.linspace(0.45, 0.55, 40) for row in line(chromium, 0, share)]
    assert min(shown) < 6
    assert max(shown) > 38
    assert chromium.errors() == []


@pytest.mark.parametrize("dark", [False, True])
def test_phone_width_and_colour_schemes(chromium: Browser, moving_page: Path, dark: bool) -> None:
    chromium.open(moving_page, width=390, dark=dark)
    assert chromium.run("document.documentElement.scrollWidth") == chromium.run("innerWidth") == 390
    red, green, blue = eval(chromium.run("getComputedStyle(document.body).backgroundColor").removeprefix("rgb"))
    assert (red + green + blue < 100) == dark
    assert chromium.run("document.querySelector('.chart').clientWidth") > 330
    assert chromium.run("document.querySelector('.curve').clientWidth") > 330
    assert line(chromium, 0, 0.75)
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
    from pyemo.report import Row

    nothing = np.full(5, np.nan)
    five = Row("Face 0", "face", "happy", nothing, nothing, np.tile(np.float32([0.1, 0.8, 0.1]), (5, 1)))
    sequence = contents([five], kind="sequence", duration=None, frames=5)
    chromium.open(write_report(sequence, tmp_path / "sequence.html"))
    chromium.mouse(chromium.all(".chart .u-over")[0], 0.5, click=True)
    assert chromium.run("document.querySelector('.chart').getAttribute('aria-valuetext')") == "image 3, happy 80 %"
    assert [moment.text.replace("\n", " ") for moment in chromium.all("#moments li")] == ["happy 80 % image 1 to 5"]
    assert chromium.all("#movements") == []
    mouth = moving(five, jaw_drop=lambda _: np.arange(5) / 10)
    chromium.open(write_report(contents([mouth], kind="sequence", duration=None, frames=5), tmp_path / "moving.html"))
    chromium.mouse(chromium.all(".curve .u-over")[0], 0.5, click=True)
    assert movements(chromium) == ["Movements of Face 0", "jaw drop AU 1 0.20"]
    picture = contents([mouth], kind="image", duration=None, frames=1)
    chromium.open(write_report(picture, tmp_path / "image.html"))
    assert [cell.text for cell in chromium.all(".person .number")] == ["80 %", "10 %", "10 %", "0.00"]
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
