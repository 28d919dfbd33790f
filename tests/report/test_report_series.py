from __future__ import annotations

import base64
import warnings

import numpy as np
import pytest
from report_samples import RATE, moving, row

from pyemo.report import Curve, Row
from pyemo.report.series import NOT_MEASURED, encoded, jpeg_uri, thinned
from pyemo.report.uncertainty import uncertain_stretches


def stretches(*parts: tuple[float, float, str, float]) -> list[tuple[float, float]]:
    one = row(parts)
    return uncertain_stretches(one.start, one.end, one.probabilities)


def test_less_than_half_is_unsure() -> None:
    found = stretches((0, 1, "happy", 0.9), (1, 2, "happy", 0.45), (2, 3, "angry", 0.51))
    assert found == [(pytest.approx(1), pytest.approx(2))]
    assert stretches((0, 1, "happy", 0.9)) == []
    assert uncertain_stretches(np.empty(0), np.empty(0), np.empty((0, 3))) == []


def test_flicker_is_joined_or_dropped() -> None:
    unsure, sure = 0.4, 0.9
    joined = stretches((0, 1, "happy", unsure), (1, 1.2, "happy", sure), (1.2, 2, "happy", unsure))
    assert joined == [(0.0, pytest.approx(2))]
    apart = stretches((0, 1, "happy", unsure), (1, 1.4, "happy", sure), (1.4, 2, "happy", unsure))
    assert apart == [(0.0, pytest.approx(1)), (pytest.approx(1.4), pytest.approx(2))]
    assert stretches((0, 1, "happy", sure), (1, 1.2, "happy", unsure), (1.2, 2, "happy", sure)) == []


def test_an_absence_ends_a_stretch() -> None:
    away = stretches((0, 1, "happy", 0.4), (1.2, 2, "happy", 0.4))
    assert away == [(0.0, pytest.approx(1)), (pytest.approx(1.2), pytest.approx(2))]


def test_thinning_averages_neighbours_but_not_across_an_absence() -> None:
    one = row([(0, 2, "happy", 0.9), (2, 4, "neutral", 0.8), (5, 9, "happy", 0.6)])
    (thin,) = thinned([one], most=40)
    assert len(thin.start) <= 45
    np.testing.assert_allclose(thin.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert not any((start < 4.5) & (end > 4.5) for start, end in zip(thin.start, thin.end, strict=True))
    assert (thin.start[0], thin.end[-1]) == (0, pytest.approx(9))
    # Time-weighted means stay.
    weights = (thin.end - thin.start)[:, None]
    np.testing.assert_allclose(
        (weights * thin.probabilities).sum(axis=0), one.probabilities.sum(axis=0) / RATE, rtol=1e-4
    )
    assert thinned([one], most=1000) == [one]


def test_thinning_averages_what_was_measured() -> None:
    jaw = np.float32([0, 1, 0.5, np.nan, np.nan, np.nan, 0.2, 0.4])
    start = np.array([0, 1, 2, 3, 4, 5, 10, 11], np.float64)  # away from 6 to 10
    one = Row("Face 0", "face", "happy", start, start + 1, np.full((8, 3), 1 / 3), curves=(Curve("jaw drop", "", jaw),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (thin,) = thinned([one], most=4)
    assert thin.start.tolist() == [0, 2, 4, 10]
    np.testing.assert_allclose(thin.curves[0].values, [0.5, 0.5, np.nan, 0.3], rtol=1e-6)
    assert (thin.curves[0].name, thin.curves[0].values.dtype) == ("jaw drop", np.float32)


def test_curves_are_exact_to_half_a_thousandth() -> None:
    one = moving(row([(0, 2, "happy", 0.7)]), jaw_drop=lambda time: np.where(time < 1, 0.7 * time - 0.2, np.nan))
    one.curves[0].values[0] = 30  # a failed fit
    (code,) = encoded(one, one, timed=True)["curves"]
    assert (code["name"], code["code"]) == ("jaw drop", "AU 1")
    steps = np.frombuffer(base64.b64decode(code["values"]), "<i2")
    assert steps[0] == 2000
    np.testing.assert_allclose(steps[1:25] / 1000, one.curves[0].values[1:25], atol=0.0005 + 1e-6)
    assert (steps[25:] == NOT_MEASURED).all()


def test_encoding_is_exact_to_half_a_step() -> None:
    one = row([(1, 3, "happy", 0.7), (3, 4, "neutral", 0.4)])
    code = encoded(one, one, timed=True)
    start = np.frombuffer(base64.b64decode(code["start"]), "<f4")
    probabilities = np.frombuffer(base64.b64decode(code["probabilities"]), np.uint8).reshape(len(start), -1)
    np.testing.assert_allclose(start, one.start, atol=1e-6)
    np.testing.assert_allclose(probabilities / 255, one.probabilities, atol=0.5 / 255)
    assert code["unsure"] == [[3.0, 4.0]]
    assert code["unsureShare"] == pytest.approx(1 / 3, abs=1e-3)
    assert code["pictures"][0]["image"].startswith("data:image/jpeg;base64,/9j/")


def test_without_times_moments_are_numbered() -> None:
    one = Row("Face 0", "face", "happy", np.full(3, np.nan), np.full(3, np.nan), np.full((3, 3), 1 / 3, np.float32))
    code = encoded(one, one, timed=False)
    assert np.frombuffer(base64.b64decode(code["start"]), "<f4").tolist() == [0, 1, 2]
    assert code["unsure"] == []
    assert code["unsureShare"] == 1


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="Face 0: 3 times, but 2 rows"):
        Row("Face 0", "face", "happy", np.zeros(3), np.zeros(3), np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"expected start and end \(N,\)"):
        Row("Face 0", "face", "happy", np.zeros(3), np.zeros(2), np.zeros((3, 3), np.float32))
    curve = Curve("jaw drop", "AU 26/27", np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"Face 0: 3 times, but the curve jaw drop has the shape \(2,\)"):
        Row("Face 0", "face", "happy", np.zeros(3), np.zeros(3), np.zeros((3, 3), np.float32), curves=(curve,))


def test_jpeg_keeps_the_channels_apart() -> None:
    import cv2

    uri = jpeg_uri(np.full((16, 16, 3), (200, 100, 0), np.uint8))
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), (0, 100, 200), atol=3)
