"""The recurrent and attentive aggregators: masks, equations, sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pyemo import plugins
from pyemo.errors import PluginError

D = 6
CASES: list[tuple[str, dict[str, Any], int]] = [
    ("lstm", {"hidden_size": 5, "layers": 2}, 5),
    ("bilstm", {"hidden_size": 5, "layers": 2}, 10),
    ("transformer", {"heads": 3}, D),
    ("transformer", {"dim": 8, "heads": 2, "positions": "none"}, 8),
    ("wide-head-transformer", {"head_dim": 5, "feed_forward": 9}, D),
    ("wide-head-transformer", {"variant": "attention", "pool": "last"}, D),
]
every = pytest.mark.parametrize(("name", "options", "size"), CASES)


def create(name: str, options: dict[str, Any], feature_dim: int = D) -> nn.Module:
    torch.manual_seed(0)
    aggregator: nn.Module = plugins.create("aggregators", name, feature_dim=feature_dim, **options)
    return aggregator.eval()


@every
def test_missing_steps_change_nothing(name: str, options: dict[str, Any], size: int) -> None:
    aggregator = create(name, options)
    assert aggregator.output_dim == size
    sequence, mask = torch.randn(12, 7, D), torch.rand(12, 7) < 0.5
    mask[0], mask[1] = True, False
    for hole in (torch.nan, torch.inf, 0.0):
        holed = sequence.masked_fill(~mask[..., None], hole).requires_grad_()
        vectors = aggregator(holed, mask)
        assert vectors.shape == (12, size)
        for row in range(12):
            steps = sequence[row : row + 1, mask[row]]
            alone = (
                aggregator(steps, torch.ones(1, steps.shape[1], dtype=torch.bool))
                if mask[row].any()
                else torch.zeros(1, size)
            )
            torch.testing.assert_close(vectors[row : row + 1], alone)
        (gradient,) = torch.autograd.grad(vectors.square().sum(), holed)
        assert not gradient[~mask].any()
        assert gradient[0].any(dim=-1).all() or options.get("pool") == "last"
    assert aggregator(torch.zeros(2, 0, D), torch.zeros(2, 0, dtype=torch.bool)).tolist() == [[0] * size] * 2


@every
def test_in_training_too(name: str, options: dict[str, Any], size: int) -> None:
    aggregator = create(name, {**options, "dropout": 0.0}).train()
    mask = torch.tensor([[True, True, False], [False] * 3])
    sequence = torch.randn(2, 3, D).masked_fill(~mask[..., None], torch.nan)
    vectors = aggregator(sequence, mask)
    torch.testing.assert_close(vectors, aggregator(sequence[:, :2], mask[:, :2]))
    vectors.square().sum().backward()
    idle = [key for key, weight in aggregator.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []
    assert all(weight.grad.isfinite().all() for weight in aggregator.parameters() if weight.grad is not None)


@every
def test_round_trip(name: str, options: dict[str, Any], size: int, tmp_path: Path) -> None:
    aggregator = create(name, options)
    save_file(aggregator.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(1)
    again = plugins.create("aggregators", name, feature_dim=D, **options).eval()
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    sequence, mask = torch.randn(2, 5, D), torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(aggregator(sequence, mask), again(sequence, mask))


def lstm(x: Tensor, weights: dict[str, Tensor], suffix: str) -> Tensor:
    """Final state of the gates i, f, g, o; x (T, D)."""
    w_x, w_h, b_x, b_h = (weights[f"{kind}_{suffix}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    h = c = torch.zeros(w_h.shape[1], dtype=x.dtype)
    for step in x:
        i, f, g, o = (w_x @ step + b_x + w_h @ h + b_h).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return h


@pytest.mark.parametrize("name", ["lstm", "bilstm"])
def test_recurrence(name: str) -> None:
    aggregator = create(name, {"hidden_size": 4}).double()
    weights = dict(aggregator.lstm.named_parameters())
    x = torch.randn(1, 5, D, dtype=torch.float64)
    mask = torch.tensor([[True, True, False, True, True]])
    steps = x[0, mask[0]]
    expected = [lstm(steps, weights, "l0")]
    if name == "bilstm":
        expected.append(lstm(steps.flip(0), weights, "l0_reverse"))
    torch.testing.assert_close(aggregator(x, mask)[0], torch.cat(expected), rtol=1e-12, atol=1e-12)


def test_lstm_of_the_thesis() -> None:
    assert sum(weight.numel() for weight in create("lstm", {}, 512).parameters()) == 4 * (512 * 512 * 2 + 2 * 512)


def test_wide_heads_in_float64() -> None:
    aggregator = create("wide-head-transformer", {"head_dim": 5, "feed_forward": 9}).double()
    w = {name: value.detach() for name, value in aggregator.named_parameters()}

    def dense(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = torch.randn(1, 4, D, dtype=torch.float64)
    layer = "encoder.layers.0"
    q, k, v = dense(x[0], f"{layer}.attention.qkv").split(10, dim=-1)
    heads = []
    for head in (slice(0, 5), slice(5, 10)):
        scores = q[:, head] @ k[:, head].T / 5**0.5
        heads.append(scores.exp() / scores.exp().sum(-1, keepdim=True) @ v[:, head])
    y = dense(torch.cat(heads, dim=-1), f"{layer}.attention.projection")
    y = norm(x[0] + y, f"{layer}.attention_norm")
    z = dense(dense(y, f"{layer}.feed_forward.0").clamp(min=0), f"{layer}.feed_forward.2")
    expected = norm(y + z, f"{layer}.feed_forward_norm")
    mask = torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(aggregator(x, mask)[0], expected.mean(0), rtol=1e-10, atol=1e-10)
    aggregator.pool = "last"
    torch.testing.assert_close(aggregator(x, mask)[0], expected[-1], rtol=1e-10, atol=1e-10)


def test_wide_heads_of_the_paper() -> None:
    """888 features that two heads cannot share evenly beyond 444: here 64 each."""
    d, inner, hidden = 888, 2 * 64, 512
    attention = 3 * inner * (d + 1) + d * (inner + 1)
    norms, feed_forward = 2 * 2 * d, hidden * (d + 1) + d * (hidden + 1)
    for variant, count in (("transformer", attention + norms + feed_forward), ("attention", attention)):
        encoder = create("wide-head-transformer", {"variant": variant}, d)
        assert sum(weight.numel() for weight in encoder.parameters()) == count


def test_positions_of_the_transformer() -> None:
    x, mask = torch.randn(1, 5, D), torch.ones(1, 5, dtype=torch.bool)
    ordered, unordered = create("transformer", {"heads": 2}), create("transformer", {"heads": 2, "positions": "none"})
    torch.testing.assert_close(unordered(x, mask), unordered(x.flip(1), mask))
    assert not torch.allclose(ordered(x, mask), ordered(x.flip(1), mask), atol=1e-3)
    # The encodings themselves: what must be added to the steps for the model without positions to agree.
    encodings = [
        [f(t / 10_000 ** (2 * pair / D)) for pair in range(D // 2) for f in (torch.sin, torch.cos)]
        for t in torch.arange(5.0)
    ]
    torch.testing.assert_close(ordered(x, mask), unordered(x + torch.tensor(encodings), mask))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transformer", {"heads": 4}, "dim must be a multiple of heads, got 6 and 4"),
        (
            "transformer",
            {"heads": 2, "positions": "learned"},
            "positions: expected 'sinusoidal' or 'none', got 'learned'",
        ),
        ("wide-head-transformer", {"variant": "mamba"}, "variant: expected 'transformer' or 'attention', got 'mamba'"),
        ("wide-head-transformer", {"variant": "attention", "depth": 2}, "depth must be 1, got 2"),
        ("wide-head-transformer", {"pool": "max"}, "pool: expected 'mean' or 'last', got 'max'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError, match=message):
        create(name, options)
