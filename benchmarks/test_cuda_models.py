"""Training Swin-T on a GPU, batch 64 under bfloat16 autocast, with and without ``pyemo.accelerate``: images a second."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import set_fused_attn
from torch import Tensor, nn

import pyemo
from pyemo.benchmarking.timing import cuda_events, interleave

pytestmark = pytest.mark.usefixtures("gpu")

BATCH, CLASSES = 64, 1000


def create(fused: bool) -> nn.Module:
    torch.manual_seed(0)
    set_fused_attn(fused)
    try:
        model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=CLASSES, drop_path_rate=0.0)
    finally:
        set_fused_attn()
    return model.cuda().train()


def test_training(benchmark: object, request: pytest.FixtureRequest) -> None:
    """Forward, cross entropy, backward and AdamW; losses of the first steps agree."""
    from conftest import CUDA_MACHINE, report

    images = torch.randn(BATCH, 3, 224, 224, device="cuda")
    targets = torch.randint(CLASSES, (BATCH,), device="cuda")

    def trainer(model: nn.Module) -> Callable[[], Tensor]:
        optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)

        def step() -> Tensor:
            with torch.autocast("cuda", torch.bfloat16):
                loss = F.cross_entropy(model(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            return loss.detach()

        return step

    models = {"timm eager": create(False), "timm SDPA": create(True), "pyemo": create(False)}
    assert pyemo.accelerate(models["pyemo"]).swapped
    if not request.config.getoption("--no-compile"):
        models["timm SDPA compiled"] = torch.compile(create(True), dynamic=False)  # type: ignore[assignment]
        accelerated = create(False)
        pyemo.accelerate(accelerated)
        models["pyemo compiled"] = torch.compile(accelerated, dynamic=False)  # type: ignore[assignment]
    steps = {name: trainer(model) for name, model in models.items()}
    losses = {name: [float(step()) for _ in range(3)] for name, step in steps.items()}
    for name, values in losses.items():
        assert values == pytest.approx(losses["timm eager"], rel=2e-2), name
    seconds = interleave(steps, rounds=request.config.getoption("--rounds") or 10, warmup=3, timer=cuda_events)
    report(benchmark, "Swin-T training on a GPU", f"batch {BATCH}, autocast", torch.bfloat16, seconds, CUDA_MACHINE(), 0, 0, ("images", BATCH))  # type: ignore[arg-type]  # fmt: skip
