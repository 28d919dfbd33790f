"""``pyemo bench`` on suites made for the purpose, with the real conftest; and one real case."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from pyemo.benchmarking import suites
from pyemo.cli import main

Pyemo = Callable[..., tuple[int, str, str]]

SUITE = """
import time

import pytest
import torch

RIGHT, WRONG = torch.ones(3), torch.tensor([1.0, 1.0, 1.1])


def implementation(seconds, result=RIGHT):
    def call():
        time.sleep(seconds)
        return result

    return call


def run(compare, case, **implementations):
    compare(
        "sleeping",
        case,
        torch.float32,
        implementations,
        expected=RIGHT.double(),
        tolerance=1e-3,
        rounds=4,
        moved_bytes=1 << 16,
        items=("naps", 2),
    )


@pytest.mark.scaling
def test_good(compare):
    run(compare, "good", pyemo=implementation(2e-3), eager=implementation(8e-3), compiled=implementation(4e-3))


def test_wrong(compare):
    run(compare, "wrong", pyemo=implementation(0), eager=implementation(0, WRONG))


def test_not_a_number(compare):
    run(compare, "not a number", pyemo=implementation(0, RIGHT / 0 * 0))


def test_other_shape(compare):
    run(compare, "other shape", pyemo=implementation(0, RIGHT[None]))


def test_slow(compare):
    run(compare, "slow", pyemo=implementation(60))
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "suites"
    folder.mkdir()
    shutil.copy(suites.suite_files("ops")[0].with_name("conftest.py"), folder)
    (folder / "test_sleeping.py").write_text(SUITE)
    monkeypatch.setattr(suites, "_FOLDERS", (folder,))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def test_good_cases_are_reported_beside_wrong_ones(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["bench", "ops", "-k", "not slow", "--out", "there"])
    out, progress = capfd.readouterr()
    assert status == 1
    assert "eager is wrong in tensor 0: relative error 0.058, allowed 0.001" in progress
    assert "pyemo is wrong in tensor 0: relative error nan" in progress
    assert "pyemo gives shape (1, 3), expected (3,)" in progress

    document = json.loads(Path("there/summary.json").read_text())
    rows = document["measurements"]
    assert {(row["case"], row["rounds"]) for row in rows} == {("good", 4)}
    medians = {row["implementation"]: row["median"] for row in rows}
    assert set(medians) == {"pyemo", "eager", "compiled"}
    assert list(medians.values()) == sorted(medians.values())
    assert medians["pyemo"] >= 2e-3
    assert medians["compiled"] >= 4e-3
    best = min(medians["eager"], medians["compiled"])
    assert [row["ratio"] for row in rows] == pytest.approx([best / median for median in medians.values()])
    assert 0 < rows[0]["share"] < 1
    (mean,) = document["means"]
    assert (mean["op"], mean["cases"], mean["geometric_mean"]) == (
        "sleeping",
        1,
        pytest.approx(best / medians["pyemo"]),
    )
    assert {"cpu", "cores", "isa", "system", "torch", "pyemo", "timm", "python"} <= set(document["machine"])

    assert document["machine"]["cpu"] in out
    assert f"torch {document['machine']['torch']}" in out
    (line,) = [line for line in out.splitlines() if "sleeping: good" in line]
    cells = line.split()
    assert cells[:4] == ["sleeping:", "good", "float32", rows[0]["implementation"]]
    assert cells[4] == f"{1e3 * rows[0]['median']:.3f}"
    assert cells[6] == f"{rows[0]['ratio']:.2f}"
    assert cells[-1] == "naps"
    picture = cv2.imread("there/chart.png")
    assert picture is not None
    assert picture.std() > 10
    assert Path("there/chart.svg").read_text().startswith("<?xml")
    assert len(json.loads(Path("there/pytest-benchmark.json").read_text())["benchmarks"]) == 3


def test_numbers_of_threads_are_compared(pyemo: Pyemo, suite: Path) -> None:
    status, out, _ = pyemo("bench", "--threads", "2,1", "--quick", "--no-compile")
    assert status == 0
    assert "without the baselines of torch.compile" in out
    rows = json.loads(Path("runs/bench-ops/summary.json").read_text())["measurements"]
    assert [row["case"] for row in rows] == ["good"] * 4, "the one case that is marked for it"
    medians = {(row["threads"], row["implementation"]): row["median"] for row in rows}
    assert set(medians) == {(threads, name) for threads in (1, 2) for name in ("pyemo", "eager")}
    assert {row["rounds"] for row in rows} == {3}
    for row in rows:
        assert row["scaling"] == pytest.approx(medians[1, row["implementation"]] / row["median"])
    assert "x fewest threads" in out


def test_no_case_matches(pyemo: Pyemo, suite: Path) -> None:
    status, out, err = pyemo("bench", "ops", "-k", "nothing_like_it")
    assert (status, out) == (1, "")
    assert "pyemo: error: no benchmark matches 'nothing_like_it'" in err


def test_interruption_leaves_what_was_measured(suite: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pyemo.benchmarking import suites; from pyemo.cli import main;"
        f"suites._FOLDERS = (Path({str(suite)!r}),); sys.exit(main(['bench', '-k', 'good or slow', '--out', 'there']))"
    )
    command = [sys.executable, "-c", code]
    started = tmp_path / "started"
    path = suite / "test_sleeping.py"
    path.write_text(
        SUITE.replace("def test_slow(compare):", f"def test_slow(compare):\n    open({str(started)!r}, 'w')")
    )
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        start_new_session=True,
        # A shell's background jobs, perhaps these tests, ignore the signal, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for _ in range(1200):
            if started.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, err
    assert "pyemo: interrupted" in err
    assert "sleeping: good" in out
    rows = json.loads((tmp_path / "there" / "summary.json").read_text())["measurements"]
    assert {row["case"] for row in rows} == {"good"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "1,1"], "expected different numbers, got '1,1'"),
        (["--threads", "none"], "expected a number from 1, got 'none'"),
        (["--rounds", "0"], "expected a number from 1, got '0'"),
        (["--rounds", "3", "--quick"], "not allowed with"),
        (["speed"], "invalid choice: 'speed'"),
    ],
)
def test_wrong_usage(pyemo: Pyemo, arguments: list[str], message: str) -> None:
    status, _, err = pyemo("bench", *arguments)
    assert status == 2
    assert message in err


def test_accuracy_table(pyemo: Pyemo, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyemo.benchmarking import accuracy

    monkeypatch.setattr(
        accuracy,
        "deviations",
        lambda: [
            accuracy.Deviation("op", "result", "float32", isa, error, 2.0)
            for isa, error in (("PyTorch", 3e-7), ("avx2", 1e-7))
        ],
    )
    status, out, _ = pyemo("bench", "accuracy", "--out", "there")
    assert status == 0
    header, row = [line.split() for line in out.splitlines() if "error, avx2" in line or "result" in line]
    assert header[-4:] == ["error,", "PyTorch", "error,", "avx2"]
    assert row == ["op", "result", "float32", "2", "3.0e-07", "1.0e-07"]
    document = json.loads(Path("there/summary.json").read_text())
    assert [one["error"] for one in document["deviations"]] == [3e-7, 1e-7]
    assert "cpu" in document["machine"]


def test_a_real_case(pyemo: Pyemo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    status, out, _ = pyemo("bench", "-k", "color and face", "--quick", "--no-compile")
    assert status == 0
    assert "color_deconvolution forward: 1 x 48x48 NCHW to hematoxylin" in out
    rows = json.loads(Path("runs/bench-ops/summary.json").read_text())["measurements"]
    assert {row["implementation"] for row in rows} == {"pyemo", "eager logarithm", "eager table", "scikit-image"}
