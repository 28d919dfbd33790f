from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyemo.benchmarking.chart import chart
from pyemo.benchmarking.summary import Measurement, compare, means, read_measurements


def measured(
    implementation: str, median: float, *, case: str = "a", dtype: str = "float32", threads: int = 1
) -> Measurement:
    return Measurement("op", case, dtype, implementation, threads, median, 0.1 * median, 0.9 * median, 5, floor=1.0)


def test_ratios_are_to_the_fastest_baseline_of_the_same_case() -> None:
    found = compare(
        [
            measured("eager", 6.0),
            measured("pyemo", 2.0),
            measured("compiled", 4.0),
            measured("eager", 1.0, dtype="bfloat16"),
            measured("pyemo compiled", 5.0),
            measured("pyemo", 3.0, case="alone"),
        ]
    )
    assert [(one.case, one.dtype, one.implementation, one.ratio) for one in found] == [
        ("a", "float32", "pyemo", 2.0),
        ("a", "float32", "compiled", 1.0),
        ("a", "float32", "pyemo compiled", 0.8),
        ("a", "float32", "eager", pytest.approx(2 / 3)),
        ("a", "bfloat16", "eager", 1.0),
        ("alone", "float32", "pyemo", None),
    ]
    assert [one.share for one in found[:2]] == [0.5, 0.25]
    assert all(one.scaling is None for one in found)


def test_scaling_is_to_the_fewest_threads() -> None:
    found = compare([measured("pyemo", 2.0, threads=4), measured("pyemo", 6.0, threads=1), measured("eager", 9.0)])
    assert [(one.threads, one.implementation, one.scaling) for one in found] == [
        (4, "pyemo", 3.0),
        (1, "pyemo", 1.0),
        (1, "eager", None),
    ]
    assert [one.ratio for one in found] == [None, 1.5, 1.0]


def test_means_are_geometric_over_the_cases_of_an_op_and_dtype() -> None:
    rows = [
        (case, name, dtype, median)
        for dtype in ("float32", "bfloat16")
        for case, ours in (("a", 2.0), ("b", 8.0))
        for name, median in (("eager", 16.0), ("pyemo", ours))
    ]
    rows.append(("c", "pyemo", "float32", 1.0))
    first, second = means(
        compare([measured(name, median, case=case, dtype=dtype) for case, name, dtype, median in rows])
    )
    assert (first.dtype, second.dtype) == ("float32", "bfloat16")
    assert (first.implementation, first.cases, first.least, first.least_case) == ("pyemo", 2, 2.0, "b")
    assert first.geometric_mean == pytest.approx(4.0)


def test_reports_are_read(tmp_path: Path) -> None:
    info = {
        "op": "op",
        "case": "a",
        "dtype": "float32",
        "threads": 1,
        "floor": None,
        "limit": None,
        "items": None,
        "item_count": 0,
    }
    entries = [
        {
            "extra_info": {**info, "implementation": name},
            "stats": {"median": median, "iqr": 0.5, "min": 0.25, "rounds": 7},
        }
        for name, median in (("eager", 4.0), ("pyemo", 1.0))
    ]
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"benchmarks": entries}))
    ours, baseline = read_measurements([report])
    assert (ours.implementation, ours.median, ours.spread, ours.fastest, ours.rounds) == ("pyemo", 1.0, 0.5, 0.25, 7)
    assert (ours.ratio, ours.share, baseline.ratio) == (4.0, None, 1.0)


def test_chart_shows_each_case_and_tells_implementations_apart_without_colour() -> None:
    found = compare(
        [
            measured(name, 1.0 + number, case=case)
            for case in "ab"
            for number, name in enumerate(["eager", "SDPA", "pyemo"])
        ]
    )
    figure = chart([*found, *compare([measured("pyemo", 2.0, dtype="bfloat16")])], "title")
    first, second = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b"]
    assert [label.get_text() for label in second.get_yticklabels()] == ["a"]
    points = {line.get_label(): line for line in first.get_lines()}
    assert {name: line.get_xdata()[0] for name, line in points.items()} == {
        "eager": 1e3,
        "SDPA": 2e3,
        "pyemo": 3e3,
        "floor": 1e3,
    }
    assert len({line.get_marker() for line in points.values()}) == 4
    assert {text.get_text() for text in figure.legends[0].get_texts()} == set(points)
