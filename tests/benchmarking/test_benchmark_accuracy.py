from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyemo import ops
from pyemo.benchmarking import accuracy
from pyemo.ops import reference
from pyemo.ops.native import native


def test_every_op_dtype_and_instruction_set_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    before = native.isa() if native else None
    shrunk = [
        replace(
            probe, inputs={name: value[:1] if name == "waveform" else value for name, value in probe.inputs.items()}
        )
        for probe in accuracy.probes()
    ]
    monkeypatch.setattr(accuracy, "probes", lambda: shrunk)
    found = list(accuracy.deviations())
    assert {probe.op.partition(",")[0].partition(" of ")[0] for probe in shrunk} == {
        name for name in ops.__all__ if name.islower()
    }
    assert {one.isa for one in found} == {accuracy.PLAIN, *(native.supported_isas() if native else [])}
    assert {one.quantity for one in found if one.op == "window_attention, cosine"} == {
        "result",
        "gradient to qkv",
        "gradient to bias",
        "gradient to logit_scale",
    }
    for one in found:
        bound = 0.05 if one.dtype == "bfloat16" else 1e-3
        assert one.error <= bound * one.largest, one
    assert (native.isa() if native else None) == before


def test_an_error_of_a_kernel_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def biased(image: torch.Tensor) -> torch.Tensor:
        result = reference.color_deconvolution(image)
        return result + 0.25 * (torch.arange(result.numel()) == 5).view_as(result)

    probe = accuracy.Probe(
        "color_deconvolution",
        lambda module: biased if module is ops else reference.color_deconvolution,
        {"image": torch.rand(1, 3, 4, 4)},
        (torch.float32,),
    )
    monkeypatch.setattr(accuracy, "probes", lambda: [probe])
    errors = {one.isa: one.error for one in accuracy.deviations() if one.quantity == "result"}
    assert errors.pop(accuracy.PLAIN) < 1e-6
    assert all(error == pytest.approx(0.25, abs=1e-6) for error in errors.values())
    assert errors or native is None
