"""The suites of ``benchmarks/``, which a wheel carries as ``pyemo/benchmarks``: finding and running them."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pyemo.errors import PyemoError

PARTS = ("ops", "models", "pipeline")
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "benchmarks", _PACKAGE.parent / "benchmarks")  # of an installed wheel, of a checkout
_OWN = {  # all other suites are of ops
    "models": ("test_models.py", "test_cuda_models.py"),
    "pipeline": ("test_pipeline.py", "test_voice_training.py"),
}
_NEEDED = {"pytest": "pytest", "pytest_benchmark": "pytest-benchmark", "skimage": "scikit-image"}

_NO_TESTS = 5  # an exit status of pytest
_STDERR = 2


def suite_files(part: str) -> list[Path]:
    """Of one of :data:`PARTS`, or ``"all"``."""
    folder = next((folder for folder in _FOLDERS if (folder / "conftest.py").is_file()), None)
    if folder is None:
        raise PyemoError(f"this installation of pyemo has no benchmark suites; expected them in {_FOLDERS[0]}")
    own = {name: [folder / file for file in files] for name, files in _OWN.items()}
    others = [file for files in own.values() for file in files]
    ops = sorted(set(folder.glob("test_*.py")) - set(others))
    return [*ops, *others] if part == "all" else ops if part == "ops" else own[part]


def check_requirements(*, compiles: bool) -> None:
    """Raises :class:`~pyemo.errors.PyemoError` if something that the suites need is missing."""
    missing = [name for module, name in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise PyemoError(f"the benchmarks need {', '.join(missing)}: pip install 'pyemo[bench]'")
    compilers = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    if compiles and not any(map(shutil.which, compilers)):
        raise PyemoError(
            f"torch.compile needs a C++ compiler, and {' and '.join(compilers)} cannot be found; "
            "--no-compile leaves its baselines out"
        )


def run_suites(
    files: Sequence[Path],
    report: Path,
    *,
    expression: str | None = None,
    threads: int | None = None,
    scaling: bool = False,
    rounds: int | None = None,
    compiles: bool = True,
) -> bool:
    """Run suites in a process of their own, its progress on standard error, and write pytest-benchmark's JSON to ``report``.

    Args:
        files: what :func:`suite_files` gave.
        report: where to.
        expression: as pytest's ``-k``: the cases to run.
        threads: of torch and all other libraries; by default what they choose.
        scaling: only the cases that are marked for a comparison of numbers of threads.
        rounds: timed calls of each implementation; by default as many as a case wants.
        compiles: with what torch.compile makes.

    Returns:
        Whether all went well; False if cases failed, which standard error tells, and the others are in the report.

    Raises:
        PyemoError: no case was run.
        KeyboardInterrupt: after the process has written its report of what was done.
    """
    options = ["-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull]
    options += ["--strict-markers", "--continue-on-collection-errors"]
    options += ["--rootdir", str(files[0].parent), "--benchmark-quiet", "--benchmark-json", str(report.absolute())]
    options += ["-k", expression] if expression else []
    options += ["-m", "scaling"] if scaling else []
    options += ["--rounds", str(rounds)] if rounds else []
    options += [] if compiles else ["--no-compile"]
    environment = dict(os.environ)
    if threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads))
    # A folder of its own: `python -m` puts the current one first, and a checkout of pyemo there would hide the installed package.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", *map(str, files), *options]
        with subprocess.Popen(command, cwd=folder, env=environment, stdout=_STDERR) as process:
            try:
                status = process.wait()
            except KeyboardInterrupt:  # pytest has got it too, and writes what it has
                process.wait()
                raise
    if status == _NO_TESTS:
        raise PyemoError(f"no benchmark matches {expression!r}" if expression else "no benchmark was found")
    if not report.is_file() or not report.stat().st_size:
        raise PyemoError("the benchmarks wrote no report; what went wrong is above")
    return status == 0
