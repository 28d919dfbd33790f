"""What measures the CUDA ops, without a GPU: its arithmetic, and the script that does everything in one go."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pyemo.benchmarking import floors, timing

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "gpu_check.sh"


def test_events_measure_the_work_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.time = clock[0]

        def synchronize(self) -> None:
            clock[0] += 100

        def elapsed_time(self, end: Event) -> float:
            return end.time - self.time  # milliseconds

    def work() -> None:
        clock[0] += 2.5

    monkeypatch.setattr(torch.cuda, "Event", Event)
    assert timing.cuda_events(work) == 2.5e-3


@pytest.mark.parametrize(("set_bytes", "sets"), [(1 << 20, 150), (100 << 20, 4), ((50 << 20) - 1, 4), (30 << 20, 5)])
def test_sets_of_inputs_exceed_the_cache(monkeypatch: pytest.MonkeyPatch, set_bytes: int, sets: int) -> None:
    properties = SimpleNamespace(L2_cache_size=50 << 20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert timing.cuda_sets(set_bytes) == sets


def test_the_floor_of_a_gpu_is_its_copy_bandwidth_and_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    def timer(function: Callable[[], object]) -> float:
        function()
        return 2e-3

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1 << 23, 1 << 24))
    monkeypatch.setattr(floors, "_DEVICE_SIDES", (8, 16))
    monkeypatch.setattr(floors, "cuda_events", timer)
    machine = floors.CudaMachine()
    machine.device = "cpu"
    bandwidth = 2 * (1 << 20) / 2e-3
    assert machine.copy_bandwidth() == pytest.approx(bandwidth)
    assert machine.floor(moved_bytes=1000) == floors.Floor(pytest.approx(1000 / bandwidth), "memory")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Programs that stand for the GPU machine's; Python's takes note of its arguments and fails where FAIL is among them."""
    folder = tmp_path / "tools"
    folder.mkdir()
    python = f"""#!/bin/bash
echo "$*" >> {tmp_path}/calls
case "$*" in *{{FAIL}}*) exit 3;; esac
case "$*" in *HANG*) sleep 60;; esac
"""
    for name, text in {"nvidia-smi": "#!/bin/bash\n", "nvcc": "#!/bin/bash\n", "python": python}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def run_script(tools: Path, fail: str) -> tuple[int, str, str]:
    python = tools / "python"
    python.write_text(python.read_text().replace("{FAIL}", fail))
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin", "PYTHON": str(python)}
    environment.pop("FULL", None)
    folder = tools.parent / "results"
    done = subprocess.run(
        ["bash", str(SCRIPT), str(folder)], env=environment, capture_output=True, text=True, cwd=tools
    )
    return done.returncode, (folder / "report.txt").read_text(), (tools.parent / "calls").read_text()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_goes_on_after_a_failure_and_says_so(tools: Path) -> None:
    status, report, calls = run_script(tools, "test_gpu.py")
    assert status == 1
    assert "FAILED  tests, exit status 3" in report
    for step in ("machine", "build", "window attention", "colour deconvolution", "spectrogram slices", "Swin-T training", "summary"):  # fmt: skip
        assert f"ok      {step}" in report
    assert "--no-build-isolation --no-deps" in calls
    assert "--no-index" in calls


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_the_script_stops_without_a_build(tools: Path) -> None:
    status, report, calls = run_script(tools, "pip")
    assert status == 1
    assert "FAILED  build" in report
    assert "test_gpu.py" not in calls
