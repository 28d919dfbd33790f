from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from pyemo.benchmarking import suites
from pyemo.errors import PyemoError

CHECKOUT = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_installed_distribution_carries_the_suites() -> None:
    """Also an editable one, though that runs those of the checkout."""
    files = importlib.metadata.files("pyemo")
    assert files is not None
    carried = {file.name for file in files if file.as_posix().startswith("pyemo/benchmarks/") and file.suffix == ".py"}
    assert carried == {path.name for path in CHECKOUT.glob("*.py")}


def test_each_suite_belongs_to_one_part() -> None:
    parts = {part: {path.name for path in suites.suite_files(part)} for part in suites.PARTS}
    assert {"test_color_deconvolution.py", "test_window_attention.py"} <= parts["ops"]
    assert parts["models"] == {"test_models.py", "test_cuda_models.py"}
    assert parts["pipeline"] == {"test_pipeline.py", "test_voice_training.py"}
    assert sum(map(len, parts.values())) == len(suites.suite_files("all"))
    assert set.union(*parts.values()) == {path.name for path in CHECKOUT.glob("test_*.py")}
    assert all(path.is_file() for path in suites.suite_files("all"))


def test_an_installation_without_suites(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(suites, "_FOLDERS", (tmp_path,))
    with pytest.raises(PyemoError, match="no benchmark suites"):
        suites.suite_files("ops")


def test_what_is_missing_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = suites.importlib.util.find_spec
    monkeypatch.setattr(
        suites.importlib.util, "find_spec", lambda name: None if name == "pytest_benchmark" else find(name)
    )
    with pytest.raises(PyemoError, match=r"need pytest-benchmark: pip install 'pyemo\[bench\]'"):
        suites.check_requirements(compiles=False)


def test_a_missing_compiler_matters_only_to_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    suites.check_requirements(compiles=False)
    with pytest.raises(PyemoError, match="no-such-compiler cannot be found; --no-compile"):
        suites.check_requirements(compiles=True)
