"""The native module: instruction sets, threads, processes, and life without it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import torch

from pyemo.ops import color_deconvolution
from pyemo.ops.native import native
from pyemo.ops.reference import color as reference

needs_native = pytest.mark.skipif(native is None, reason="pyemo was built without its native module")


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@needs_native
def test_the_runtime_of_torch_is_found_and_no_other_is_loaded() -> None:
    assert native is not None
    assert native.has_parallel_runtime()
    code = "import torch, pyemo._native; print({l.split()[-1] for l in open('/proc/self/maps') if 'omp' in l.split()[-1].split('/')[-1]})"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert len(eval(done.stdout)) == 1, done.stdout


@needs_native
def test_environment_variable_chooses_the_instruction_set() -> None:
    assert native is not None
    for isa in native.supported_isas():
        done = run_python("from pyemo import _native; print(_native.isa())", PYEMO_ISA=isa)
        assert done.stdout.strip() == isa, done.stderr
    done = run_python("from pyemo import _native; print(_native.isa())", PYEMO_ISA="")
    assert done.stdout.strip() == native.supported_isas()[-1]


@needs_native
def test_impossible_instruction_set_is_an_error_of_the_import() -> None:
    done = run_python("import pyemo._native", PYEMO_ISA="sse9")
    assert done.returncode != 0
    assert "PYEMO_ISA: unknown instruction set 'sse9'; this build has" in done.stderr
    assert native is not None
    with pytest.raises(ValueError, match="unknown instruction set 'mmx'"):
        native.set_isa("mmx")


def test_many_python_threads_at_once() -> None:
    images = [torch.randint(256, (3, 257, 300), dtype=torch.uint8) for _ in range(8)]
    expected = [reference.color_deconvolution(image) for image in images]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            result = color_deconvolution(images[index])
            if not torch.allclose(result, expected[index], rtol=0, atol=1e-6):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_forked_child_after_the_parent_ran_in_parallel() -> None:
    """A pool of threads does not survive a fork; waiting for it would hang."""
    image = torch.randint(256, (3, 300, 300), dtype=torch.uint8)
    expected = color_deconvolution(image).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, about forking with threads
        child = os.fork()
    if child == 0:  # NumPy compares: torch's own comparison would hang here
        same = np.array_equal(color_deconvolution(image).numpy(), expected)
        os._exit(0 if same else 1)
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        threading.Event().wait(0.05)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_without_the_native_module_the_reference_runs_and_says_so_once() -> None:
    code = """
import sys, warnings
sys.modules["pyemo._native"] = None
import torch
from pyemo.ops import color_deconvolution, color_reconvolution
from pyemo.ops.reference import color as reference
image = torch.rand(2, 3, 9, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
matrix = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=torch.float64, requires_grad=True)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = color_deconvolution(image, matrix, clip=False)
    assert torch.equal(result, reference.color_deconvolution(image, matrix, clip=False))
    assert torch.autograd.gradcheck(lambda i, m: color_deconvolution(i, m, clip=False), (image, matrix))
    assert torch.autograd.gradcheck(lambda i, m: color_reconvolution(i, m, clip=False), (image.detach() / 4, matrix))
    flipped = image.detach().numpy()[:, :, ::-1]
    assert color_deconvolution(flipped).shape == flipped.shape
    torch.library.opcheck(torch.ops.pyemo.color_deconvolution.default, (image, matrix, [], 1, True))
assert [str(w.message) for w in caught if "native module" in str(w.message)].__len__() == 1, caught
print("right")
"""
    done = run_python(code)
    assert done.stdout.strip() == "right", done.stderr


def test_import_is_quick_and_light() -> None:
    code = """
import sys, time, torch
before = set(sys.modules)
start = time.perf_counter()
import pyemo.ops
print(time.perf_counter() - start, *sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""
    runs = [run_python(code).stdout.split() for _ in range(2)]
    assert min(float(run[0]) for run in runs) < 0.05
    assert not {"pandas", "matplotlib", "scipy", "skimage", "lightning", "cv2", "av"} & set(runs[0][1:])
