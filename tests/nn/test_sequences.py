"""Sequences with missing steps."""

from __future__ import annotations

import pytest
import torch

from pyemo.nn.sequences import attended, check_pool, compact, pool, zero_missing

MASK = torch.tensor([[True, False, True, False], [False, False, False, True], [False] * 4])


@pytest.fixture
def sequence() -> torch.Tensor:
    x = torch.arange(24.0).reshape(3, 4, 2) + 1
    return x.masked_fill(~MASK[..., None], torch.nan)


def test_missing_steps_become_zeros(sequence: torch.Tensor) -> None:
    assert zero_missing(sequence, MASK)[0].tolist() == [[1, 2], [0, 0], [5, 6], [0, 0]]


def test_steps_move_to_the_front_in_their_order(sequence: torch.Tensor) -> None:
    steps, lengths = compact(sequence, MASK)
    assert steps[:, :2].tolist() == [[[1, 2], [5, 6]], [[15, 16], [0, 0]], [[0, 0], [0, 0]]]
    assert not steps[:, 2:].any()
    assert lengths.tolist() == [2, 1, 0]


def test_pooling(sequence: torch.Tensor) -> None:
    assert pool(sequence, MASK, "mean").tolist() == [[3, 4], [15, 16], [0, 0]]
    assert pool(sequence, MASK, "last").tolist() == [[5, 6], [15, 16], [0, 0]]
    for how in ("mean", "last"):
        assert pool(torch.zeros(2, 0, 3), torch.zeros(2, 0, dtype=torch.bool), how).tolist() == [[0] * 3] * 2
    with pytest.raises(ValueError, match="pool: expected 'mean' or 'last', got 'max'"):
        check_pool("max")  # type: ignore[arg-type]


def test_an_attention_always_has_a_key() -> None:
    assert attended(MASK).tolist() == [[True, False, True, False], [False, False, False, True], [True] * 4]
