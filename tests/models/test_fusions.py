"""The fusions of the published systems: equations, masks, modalities, targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyemo import plugins
from pyemo.contracts import FusionInput, FusionOutput, ModalityDims
from pyemo.errors import PluginError, TrainingError

CLASSES = 4
DIMS = {"face": ModalityDims(6, 5), "voice": ModalityDims(6, 3)}
THREE = {**DIMS, "smell": ModalityDims(2, 2)}
OPTIONS: dict[str, dict[str, Any]] = {
    "pairwise": {},
    "n0": {},
    "n1": {},
    "mrpn": {},
    "mfm": {"heads": 2},
    "late-average": {},
    "concat-residual": {},
}
ANY_NUMBER = ["n0", "n1", "mrpn", "late-average", "concat-residual"]


def create(name: str, dims: dict[str, ModalityDims] = DIMS, classes: int = CLASSES, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    fusion: nn.Module = plugins.create("fusions", name, dims=dims, num_classes=classes, **{**OPTIONS[name], **options})
    for part in fusion.modules():
        if isinstance(part, nn.BatchNorm1d):  # statistics and scales as a training leaves them
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.normal_(part.bias)
    return fusion.eval()


def make(
    dims: dict[str, ModalityDims] = DIMS, batch: int = 3, dtype: torch.dtype = torch.float32
) -> dict[str, FusionInput]:
    torch.manual_seed(1)
    return {
        modality: FusionInput(
            torch.randn(batch, 4 + index, size.sequence, dtype=dtype),
            torch.randn(batch, size.vector, dtype=dtype),
            torch.ones(batch, 4 + index, dtype=torch.bool),
        )
        for index, (modality, size) in enumerate(dims.items())
    }


def weights(fusion: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in fusion.state_dict().items()}


def dense(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def feature_norm(x: Tensor, w: dict[str, Tensor], name: str, training: bool = False) -> Tensor:
    mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if training:
        mean, var = x.mean(0), x.var(0, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def fusion_component(vectors: list[Tensor], w: dict[str, Tensor], name: str, training: bool = False) -> Tensor:
    """Equations 25 to 27."""
    x = feature_norm(torch.cat(vectors, 1), w, f"{name}.norm", training)
    hidden = dense(x, w, f"{name}.scoring.0").clamp(min=0)
    return dense(feature_norm(hidden, w, f"{name}.scoring.2", training), w, f"{name}.scoring.4")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["n0", "n1"])
def test_equations_of_n0_and_n1(name: str, training: bool) -> None:
    fusion, inputs = create(name).double().train(training), make(dtype=torch.float64)
    w = weights(fusion)
    output = fusion(inputs)
    vectors = {m: feature_norm(inputs[m].vector, w, f"norms.{m}", training) for m in DIMS}
    close(output.logits, fusion_component(list(vectors.values()), w, "fusion", training))
    assert set(output.auxiliary) == (set(DIMS) if training and name == "n1" else set())
    for modality, logits in output.auxiliary.items():
        close(logits, dense(vectors[modality], w, f"scorers.{modality}"))


@pytest.mark.parametrize("training", [False, True])
def test_equations_of_mrpn(training: bool) -> None:
    fusion = create("mrpn", THREE, targets={"valence": 1, "keys": 3}).double().train(training)
    w, inputs = weights(fusion), make(THREE, dtype=torch.float64)
    output = fusion(inputs)
    vectors = {}
    for m in THREE:
        f = feature_norm(inputs[m].vector, w, f"perceptrons.{m}.norm", training)
        residual = 1 / (1 + (-dense(f, w, f"perceptrons.{m}.dense")).exp())
        vectors[m] = f + feature_norm(residual, w, f"perceptrons.{m}.residual_norm", training)
    close(output.logits, fusion_component(list(vectors.values()), w, "main.fusion", training))
    expected = {
        t: fusion_component(list(vectors.values()), w, f"further.to-{t}.fusion", training) for t in ("valence", "keys")
    }
    if training:
        expected |= {m: dense(vectors[m], w, f"main.scorers.{m}") for m in THREE}
        expected |= {
            f"{t}/{m}": dense(vectors[m], w, f"further.to-{t}.scorers.{m}") for t in ("valence", "keys") for m in THREE
        }
    assert set(output.auxiliary) == set(expected)
    for name, logits in expected.items():
        close(output.auxiliary[name], logits)
    assert output.auxiliary["valence"].shape == (3, 1)


def test_equations_of_pairwise() -> None:
    fusion, inputs = create("pairwise").double(), make(dtype=torch.float64)
    f1, f2 = inputs["face"].vector, inputs["voice"].vector
    pff = torch.cat([torch.cat([f1, f2], 1), torch.cat([f2, f1], 1)], 1)
    w = weights(fusion)
    close(fusion(inputs).logits, dense(dense(pff, w, "head.0").clamp(min=0), w, "head.3"))


def softmax(x: Tensor) -> Tensor:
    return x.exp() / x.exp().sum(-1, keepdim=True)


def vit_layer(x: Tensor, w: dict[str, Tensor], name: str, heads: int) -> Tensor:
    """Encoder layer of ViT (Dosovitskiy et al. 2021, equations 2 and 3) on one sequence (T, d)."""

    def norm(x: Tensor, part: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.{part}.weight"] + w[f"{name}.{part}.bias"]

    y = norm(x, "norm1")
    qkv = y @ w[f"{name}.self_attn.in_proj_weight"].T + w[f"{name}.self_attn.in_proj_bias"]
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in qkv.chunk(3, dim=-1))
    mixed = softmax(q @ k.mT / q.shape[-1] ** 0.5) @ v
    x = x + dense(mixed.transpose(0, 1).flatten(1), w, f"{name}.self_attn.out_proj")
    hidden = dense(norm(x, "norm2"), w, f"{name}.linear1")
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return x + dense(gelu, w, f"{name}.linear2")


def test_equations_of_mfm() -> None:
    fusion, inputs = create("mfm").double(), make(dtype=torch.float64)
    inputs["face"].mask[0, 2] = False
    inputs["voice"].mask[1, 3:] = False
    w, output = weights(fusion), fusion(inputs)
    for row in range(3):
        f_i, f_a = (inputs[m].sequence[row, inputs[m].mask[row]] for m in ("face", "voice"))
        y_ia = softmax(f_a @ f_i.T / 6**0.5) @ f_i
        y_ai = softmax(f_i @ f_a.T / 6**0.5) @ f_a
        y = torch.cat([y_ia, y_ai])
        for layer in range(2):
            y = vit_layer(y, w, f"encoder.layers.{layer}", 2)
        y_t = nn.functional.layer_norm(y, (6,), w["encoder.norm.weight"], w["encoder.norm.bias"]).mean(0)
        heads = {
            "face": dense(inputs["face"].vector[row], w, "scorers.face"),
            "voice": dense(inputs["voice"].vector[row], w, "scorers.voice"),
            "fusion": dense(y_t, w, "fusion"),
        }
        assert set(output.auxiliary) == set(heads)
        for name, logits in heads.items():
            close(output.auxiliary[name][row], logits)
        close(output.logits[row].exp(), sum(softmax(logits) for logits in heads.values()) / 3)


def test_equations_of_late_average() -> None:
    fusion, inputs = create("late-average", THREE).double(), make(THREE, dtype=torch.float64)
    inputs["voice"].mask[1] = False
    for part in inputs.values():
        part.mask[2] = False
    w, output = weights(fusion), fusion(inputs)
    scores = torch.stack([softmax(dense(inputs[m].vector, w, f"scorers.{m}")) for m in THREE])
    close(output.logits.exp()[0], scores[:, 0].mean(0))
    close(output.logits.exp()[1], (scores[0, 1] + scores[2, 1]) / 2)  # without the modality that has no step
    close(output.logits.exp()[2], scores[:, 2].mean(0))  # none has one: all alike
    assert set(output.auxiliary) == set(THREE)
    output.logits.sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in fusion.parameters())


@pytest.mark.parametrize("how", ["mean", "last"])
def test_equations_of_concat_residual(how: str) -> None:
    dims = {"face": DIMS["face"]}
    fusion, inputs = create("concat-residual", dims, pool=how).double(), make(dims, dtype=torch.float64)
    inputs["face"].mask[0, 2:] = False
    w, output, part = weights(fusion), fusion(inputs), inputs["face"]
    encoded = fusion.encoders["face"](part.sequence, part.mask)
    features = torch.cat([part.sequence, encoded], -1)
    steps = dense(features, w, "dense.face")
    assert output.steps is not None
    close(output.steps[part.mask], steps[part.mask])
    expected = [steps[row, part.mask[row]] for row in range(3)]
    close(output.logits, torch.stack([each.mean(0) if how == "mean" else each[-1] for each in expected]))
    # The dense layer on pooled features is the same.
    pooled = [features[row, part.mask[row]] for row in range(3)]
    close(
        output.logits,
        dense(torch.stack([each.mean(0) if how == "mean" else each[-1] for each in pooled]), w, "dense.face"),
    )
    assert create("concat-residual")(make()).steps is None


@pytest.mark.parametrize("name", OPTIONS)
def test_missing_steps_change_nothing(name: str) -> None:
    fusion, inputs = create(name), make()
    inputs["face"].mask[0, 1] = inputs["face"].mask[1, 2:] = False
    inputs["voice"].mask[2] = False
    clean = fusion(inputs)
    for hole in (torch.nan, torch.inf):
        holed = {
            modality: FusionInput(part.sequence.masked_fill(~part.mask[..., None], hole), part.vector, part.mask)
            for modality, part in inputs.items()
        }
        torch.testing.assert_close(fusion(holed).logits, clean.logits)
    longer = {
        modality: FusionInput(
            torch.cat([part.sequence, torch.full_like(part.sequence, torch.nan)], 1),
            part.vector,
            torch.cat([part.mask, torch.zeros_like(part.mask)], 1),
        )
        for modality, part in inputs.items()
    }
    torch.testing.assert_close(fusion(longer).logits, clean.logits)
    assert clean.logits.isfinite().all()


@pytest.mark.parametrize("name", OPTIONS)
def test_order_of_modalities_and_samples(name: str) -> None:
    fusion, inputs = create(name), make()
    output = fusion(inputs)
    assert output.logits.shape == (3, CLASSES)
    turned = fusion({modality: inputs[modality] for modality in reversed(DIMS)})
    torch.testing.assert_close(turned.logits, output.logits)
    flipped = {m: FusionInput(p.sequence.flip(0), p.vector.flip(0), p.mask.flip(0)) for m, p in inputs.items()}
    torch.testing.assert_close(fusion(flipped).logits.flip(0), output.logits)


@pytest.mark.parametrize("name", ANY_NUMBER)
def test_any_number_of_modalities(name: str) -> None:
    for dims in ({"voice": DIMS["voice"]}, THREE):
        fusion = create(name, dims)
        output = fusion(make(dims))
        assert output.logits.shape == (3, CLASSES)
        for modality in dims:  # each counts
            other = make(dims)
            other[modality] = FusionInput(-other[modality].sequence, -other[modality].vector, other[modality].mask)
            assert not torch.allclose(fusion(other).logits, output.logits)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradients_reach_everything(name: str) -> None:
    fusion, inputs = create(name, dropout=0.0).train(), make(batch=8)
    for part in inputs.values():
        part.sequence.requires_grad_()
        part.vector.requires_grad_()
    output: FusionOutput = fusion(inputs)
    # Not of all classes alike: the sum of softmax probabilities has no slope.
    (
        output.logits[:, 0].square().sum() + sum(each[:, 0].square().sum() for each in output.auxiliary.values())
    ).backward()
    # mfm's scorers see vectors, its co-attention sequences; concat-residual sees sequences only.
    used = {"mfm": ("sequence", "vector"), "concat-residual": ("sequence",)}.get(name, ("vector",))
    for part in inputs.values():
        assert all(getattr(part, kind).grad.any(dim=-1).all() for kind in used)
    assert [key for key, weight in fusion.named_parameters() if weight.grad is None or not weight.grad.any()] == []


@pytest.mark.parametrize("name", OPTIONS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    options = {"targets": {"valence": 1}} if name == "mrpn" else {}
    fusion, inputs = create(name, **options), make()
    save_file(fusion.state_dict(), tmp_path / "weights.safetensors")
    again = plugins.create("fusions", name, dims=DIMS, num_classes=CLASSES, **OPTIONS[name], **options).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(again(inputs).logits, fusion(inputs).logits)


@pytest.mark.parametrize("name", ["n0", "n1", "mrpn"])
def test_a_batch_of_one(name: str) -> None:
    fusion, inputs = create(name), make(batch=1)
    assert fusion(inputs).logits.shape == (1, CLASSES)
    with pytest.raises(TrainingError, match=r"cannot train on a batch of 1: choose a training\.batch_size"):
        fusion.train()(inputs)


def test_scorers_rest_in_evaluation() -> None:
    for name in ("n1", "mrpn"):
        fusion = create(name)
        for part in fusion.modules():
            if isinstance(part, nn.ModuleDict) and set(part) == set(DIMS) and isinstance(part["face"], nn.Linear):
                part["face"].register_forward_hook(lambda *_: pytest.fail("a scorer ran"))
        assert fusion(make()).auxiliary == {}


def test_sizes_of_the_papers() -> None:
    def count(name: str, dims: dict[str, ModalityDims], classes: int) -> int:
        with torch.device("meta"):
            fusion = plugins.create("fusions", name, dims=dims, num_classes=classes)
        return sum(weight.numel() for weight in fusion.parameters())

    vit = ModalityDims(768, 768)
    assert count("pairwise", {"rgb": vit, "hematoxylin": vit}, 5) == 3072 * 768 + 768 + 768 * 5 + 5
    assert create("pairwise", {"rgb": vit, "hematoxylin": vit}, 5).head[0].in_features == 3072
    vit_layer = 4 * 768 * 769 + 3072 * 769 + 768 * 3073 + 4 * 768
    assert count("mfm", {"face": vit, "voice": vit}, 8) == 2 * vit_layer + 2 * 768 + 3 * (768 * 8 + 8)
    regnet = {"face": ModalityDims(888, 888)}
    with torch.device("meta"):
        fusion = plugins.create("fusions", "concat-residual", dims=regnet, num_classes=8)
    assert fusion.dense["face"].in_features == 1776
    lstm = ModalityDims(512, 512)
    perceptrons = 2 * (512 * 512 + 512 + 2 * 2 * 512)
    norms, scoring = 2 * 1024 + 2 * 256, 1024 * 256 + 256 + 256 * 8 + 8
    assert count("mrpn", {"face": lstm, "voice": lstm}, 8) == perceptrons + norms + scoring + 2 * (512 * 8 + 8)


def test_mfm_projects_features_of_different_sizes() -> None:
    dims = {"face": ModalityDims(6, 6), "voice": ModalityDims(10, 10)}
    with pytest.raises(PluginError, match="needs features of one size, got 6 of face, 10 of voice; its option dim"):
        create("mfm", dims)
    fusion, inputs = create("mfm", dims, dim=8), make(dims)
    inputs["voice"].mask[0] = False
    output = fusion(inputs)
    assert output.logits.shape == (3, CLASSES)
    torch.testing.assert_close(output.logits[0], output.auxiliary["face"][0].log_softmax(-1))  # all that is there


@pytest.mark.parametrize(
    ("name", "dims", "options", "message"),
    [
        ("pairwise", THREE, {}, "takes two modalities, got face, voice, smell"),
        ("mfm", THREE, {}, "takes two modalities, neither named 'fusion', got face, voice, smell"),
        ("mfm", DIMS, {"heads": 4}, "must be a multiple of heads, got 6 and 4"),
        ("mrpn", DIMS, {"targets": {"face": 2}}, r"'face' must be a word that is no modality \(face, voice\)"),
        ("mrpn", DIMS, {"targets": {"a/b": 2}}, "'a/b' must be a word"),
        ("mrpn", DIMS, {"targets": {"valence": 0}}, "'valence' must have one output or more, got 0"),
        ("concat-residual", DIMS, {"pool": "max"}, "pool: expected 'mean' or 'last', got 'max'"),
    ],
)
def test_wrong_options(name: str, dims: dict[str, ModalityDims], options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        create(name, dims, **options)
