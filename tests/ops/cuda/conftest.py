"""The CUDA kernels without a GPU: compiled for the CPU by ``emulation/``, a context for each thread; and with one, if there is one."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pyemo.ops import cuda

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]


class Emulation:
    """The emulated module, and what only an emulation can tell."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.spec_from_file_location("_cuda", path)
        assert spec is not None
        assert spec.loader is not None
        self.module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self._library = ctypes.CDLL(str(path))

    def set_order(self, order: int) -> None:
        """In which threads run between two barriers: 0 rising, 1 falling, others at random."""
        self._library.emulation_set_order(order)

    def set_device(self, device: int) -> None:
        self._library.emulation_set_device(device)

    @property
    def device(self) -> int:
        return self._library.emulation_device()

    def visited(self) -> list[int]:
        """Devices that were made current, in their order."""
        devices = (ctypes.c_int * 64)()
        return list(devices[: self._library.emulation_visited(devices, 64)])

    def launches(self) -> list[tuple[int, int]]:
        """The device that was current and the stream of each launch."""
        pairs = (ctypes.c_longlong * 128)()
        count = self._library.emulation_queues(pairs, 64)
        return [(pairs[2 * i], pairs[2 * i + 1]) for i in range(count)]

    def forget(self) -> None:
        self._library.emulation_forget()


@pytest.fixture(scope="session")
def emulation(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Emulation:
    """Built once; kept between runs as long as no source changes, if pytest has a cache."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or importlib.util.find_spec("pybind11") is None or not (REPOSITORY / "csrc").is_dir():
        pytest.skip("emulating the CUDA kernels needs their sources, a C++ compiler and pybind11")
    import pybind11

    listed = (REPOSITORY / "cmake" / "cuda.cmake").read_text(encoding="utf-8")
    words = [word.strip() for word in listed.split("pybind11_add_module(_cuda NO_EXTRAS", 1)[1].split(")")[0].split()]
    sources = [REPOSITORY / word for word in words] + [HERE / "emulation" / "emulation.cc"]
    include = [HERE / "emulation", REPOSITORY / "csrc", pybind11.get_include(), sysconfig.get_path("include")]
    flags = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-w", *(f"-I{folder}" for folder in include)]

    digest = hashlib.sha256(" ".join([compiler, sys.version, *flags]).encode())
    for path in sorted([*(REPOSITORY / "csrc").rglob("*.*"), *(HERE / "emulation").iterdir()]):
        digest.update(path.read_bytes())
    cache = getattr(pytestconfig, "cache", None)
    kept = cache.mkdir("pyemo-cuda-emulation") if cache else tmp_path_factory.mktemp("pyemo-cuda-emulation")
    folder = kept / digest.hexdigest()[:16]
    library = folder / "_cuda.so"
    if not library.is_file():
        for old in folder.parent.iterdir():
            shutil.rmtree(old)
        folder.mkdir()

        def build(numbered: tuple[int, Path]) -> Path:
            number, source = numbered
            target = folder / f"{number}.o"
            run([compiler, *flags, "-x", "c++", "-c", str(source), "-o", str(target)])
            return target

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(build, enumerate(sources)))
        run([compiler, "-shared", "-o", str(library), *map(str, objects)])
    return Emulation(library)


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture
def emulated(
    request: pytest.FixtureRequest, emulation: Emulation, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulation]:
    """The ops' CUDA functions run in the emulation, on tensors of the CPU: threads at random, or in the order that is the parameter."""
    monkeypatch.setattr(cuda, "kernels", emulation.module)
    monkeypatch.setattr(cuda, "queue_of", lambda tensor: (0, 5))
    monkeypatch.setattr(cuda, "check_capturing", lambda what: None)
    emulation.set_order(getattr(request, "param", 2))
    emulation.forget()
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)  # torch fills what it hands out for results with NaN
    yield emulation
    torch.use_deterministic_algorithms(False)
    emulation.set_order(0)
    emulation.set_device(0)


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """A device that pyemo has kernels for."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    if cuda.kernels is None:
        pytest.skip("pyemo was built without its CUDA kernels")
    return torch.device("cuda")


@pytest.fixture
def assert_near() -> Callable[..., None]:
    def check(actual: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str = "result") -> None:
        """By the norm of the difference; NaN never passes."""
        assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)}, expected {tuple(expected.shape)}"
        if not expected.numel():
            return
        difference = (actual.double().cpu() - expected.double().cpu()).norm()
        norm = expected.double().norm().cpu()
        assert difference <= tolerance * norm + 1e-30, f"{what}: {difference:.3g} of {norm:.3g}"

    return check
