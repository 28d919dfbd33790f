"""A third party's distribution, built, installed into a fresh environment, listed and used there."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "plugins" / "example_gated_fusion"

USE = """
import torch
from pyemo.cli import main
main(["plugins"])
from pyemo.config import load_recipe
from pyemo.model import build_model
recipe = load_recipe("mini-xception", ["model.fusion.name=gated", "model.fusion.options={hidden_dim: 32}"])
model = build_model(recipe)
print(type(model.fusion).__module__, tuple(model({"face": torch.zeros(2, 3, 1, 64, 64)}).logits.shape))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that sees the packages of this one, and has the example installed."""
    folder = tmp_path_factory.mktemp("environment")
    wheels = folder / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels]
    source = folder / "source"
    # Built from a copy: setuptools leaves folders behind in the source tree.
    shutil.copytree(EXAMPLE, source)
    subprocess.run([*pip, *build, source], check=True)

    fresh = folder / "venv"
    venv.create(fresh, with_pip=False, symlinks=True)
    purelib = next(fresh.glob("lib/python*/site-packages"))
    here = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    (purelib / "environment_of_the_tests.pth").write_text(
        "".join(f"import site; site.addsitedir({path!r})\n" for path in here)
    )
    python = fresh / "bin" / "python"
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    assert (purelib / "pyemo_gated_fusion").is_dir()
    return python


def test_listed_and_used(python: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in {"PYEMO_PLUGINS", "PYTHONPATH"}}
    done = subprocess.run([python, "-c", USE], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("gated ")]
    assert row.split() == ["gated", "fusion", "pyemo-gated-fusion", "1.0.0", "ok"]
    assert done.stdout.splitlines()[-1] == "pyemo_gated_fusion (2, 7)"


def test_its_own_tests_pass(python: Path) -> None:
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", EXAMPLE, EXAMPLE / "tests"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=EXAMPLE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
