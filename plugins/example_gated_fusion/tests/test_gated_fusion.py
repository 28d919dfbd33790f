"""Run with the plug-in and pyemo installed: ``pytest``."""

from __future__ import annotations

import pytest
import torch
from pyemo_gated_fusion import GatedFusion

from pyemo import plugins
from pyemo.contracts import Fusion, FusionInput, ModalityDims


def make(sizes: dict[str, int], batch: int = 3) -> tuple[dict[str, ModalityDims], dict[str, FusionInput]]:
    dims = {name: ModalityDims(sequence=5, vector=size) for name, size in sizes.items()}
    mask = torch.ones(batch, 4, dtype=torch.bool)
    inputs = {
        name: FusionInput(torch.randn(batch, 4, 5), torch.randn(batch, size), mask) for name, size in sizes.items()
    }
    return dims, inputs


def test_pyemo_creates_it_by_name() -> None:
    dims, _ = make({"face": 6})
    fusion = plugins.create("fusions", "gated", dims=dims, num_classes=7, hidden_dim=16)
    assert isinstance(fusion, GatedFusion)
    assert isinstance(fusion, Fusion)


def test_two_modalities_follow_the_paper_sample_by_sample() -> None:
    dims, inputs = make({"face": 6, "voice": 4})
    fusion = GatedFusion(dims, num_classes=7, hidden_dim=16).eval()
    logits = fusion(inputs).logits
    w_face, w_voice = (projection.weight for projection in fusion.projections)
    for row in range(3):
        face, voice = inputs["face"].vector[row], inputs["voice"].vector[row]
        z = torch.sigmoid(fusion.gates.weight @ torch.cat([face, voice]))
        h = z * torch.tanh(w_face @ face) + (1 - z) * torch.tanh(w_voice @ voice)
        torch.testing.assert_close(logits[row], fusion.classifier.weight @ h + fusion.classifier.bias)


@pytest.mark.parametrize("sizes", [{"face": 6}, {"face": 6, "voice": 4, "text": 9}])
def test_other_numbers_have_a_gate_each(sizes: dict[str, int]) -> None:
    dims, inputs = make(sizes)
    fusion = GatedFusion(dims, num_classes=7, hidden_dim=16).eval()
    everything = torch.cat([item.vector for item in inputs.values()], dim=-1)
    z = torch.sigmoid(everything @ fusion.gates.weight.T).chunk(len(sizes), dim=-1)
    h = sum(
        gate * torch.tanh(item.vector @ projection.weight.T)
        for gate, item, projection in zip(z, inputs.values(), fusion.projections, strict=True)
    )
    torch.testing.assert_close(fusion(inputs).logits, fusion.classifier(h))


def test_an_absent_modality_adds_nothing() -> None:
    dims, inputs = make({"face": 6, "voice": 4, "text": 9})
    fusion = GatedFusion(dims, num_classes=7).eval()
    for item in inputs.values():
        item.vector.zero_()
    torch.testing.assert_close(fusion(inputs).logits, fusion.classifier.bias.expand(3, 7))


def test_every_weight_gets_a_gradient() -> None:
    dims, inputs = make({"face": 6, "voice": 4})
    fusion = GatedFusion(dims, num_classes=7, dropout=0.1)
    fusion(inputs).logits.square().sum().backward()
    for name, weight in fusion.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
