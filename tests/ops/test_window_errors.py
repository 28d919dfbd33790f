"""Bad input to windowed attention: the error, and that its message names what was wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyemo.ops import window_attention

QKV = torch.zeros(2, 8, 12, 24)
GOOD: dict[str, Any] = {"num_heads": 2, "window_size": 4}


@pytest.mark.parametrize(
    ("qkv", "options", "error", "parts"),
    [
        ([[1.0]], {}, TypeError, ["qkv", "torch.Tensor", "list"]),
        (QKV.int(), {}, TypeError, ["qkv", "float32, bfloat16", "torch.int32", "(2, 8, 12, 24)"]),
        (QKV.to(torch.complex64), {}, TypeError, ["qkv", "torch.complex64"]),
        (QKV[0], {}, ValueError, ["(B, H, W, 3 * C)", "(8, 12, 24)"]),
        (QKV[..., :22], {}, ValueError, ["3 * num_heads * head_dim", "(2, 8, 12, 22)", "2 heads"]),
        (QKV, {"num_heads": 5}, ValueError, ["3 * num_heads * head_dim", "5 heads"]),
        (QKV, {"num_heads": 0}, ValueError, ["3 * num_heads * head_dim", "0 heads"]),
        (QKV[..., :0], {}, ValueError, ["3 * num_heads * head_dim", "(2, 8, 12, 0)"]),
        (QKV, {"window_size": 5}, ValueError, ["window_size", "(5, 5)", "(2, 8, 12, 24)"]),
        (QKV, {"window_size": (4, 5)}, ValueError, ["window_size", "(4, 5)"]),
        (QKV, {"window_size": 0}, ValueError, ["window_size", "(0, 0)"]),
        (QKV, {"window_size": (4, 4, 4)}, ValueError, ["window_size", "(height, width)", "(4, 4, 4)"]),
        (QKV, {"shift_size": 4}, ValueError, ["shift_size", "(4, 4)", "less than window_size"]),
        (QKV, {"shift_size": (0, -1)}, ValueError, ["shift_size", "(0, -1)"]),
        (QKV, {"bias": torch.zeros(2, 16, 15)}, ValueError, ["bias", "(2, 16, 16)", "(2, 16, 15)"]),
        (QKV, {"bias": torch.zeros(16, 16)}, ValueError, ["bias", "(num_heads, N, N)", "(16, 16)"]),
        (QKV, {"bias": torch.zeros(2, 16, 16, dtype=torch.int64)}, TypeError, ["bias", "torch.int64"]),
        (QKV, {"bias": np.zeros((2, 16, 16))}, TypeError, ["bias", "torch.Tensor", "ndarray"]),
        (QKV, {"mask": torch.zeros(6, 16, 16, dtype=torch.bool)}, TypeError, ["mask", "torch.bool"]),
        (QKV, {"mask": torch.zeros(5, 16, 16)}, ValueError, ["mask", "(windows, N, N) = (6, 16, 16)", "(5, 16, 16)"]),
        (QKV, {"mask": torch.zeros(6, 16, 16, requires_grad=True)}, ValueError, ["mask", "no gradient"]),
        (QKV, {"logit_scale": torch.zeros(2, 1, 1)}, ValueError, ["logit_scale", "(2,)", "(2, 1, 1)"]),
        (QKV, {"logit_scale": torch.zeros(2), "scale": 0.5}, ValueError, ["scale=0.5", "logit_scale"]),
        (QKV.numpy(), {"bias": torch.zeros(2, 16, 16)}, TypeError, ["numpy.ndarray", "Tensor"]),
        (QKV.numpy().astype(np.int16), {}, TypeError, ["qkv", "torch.int16"]),
    ],
)
def test_error(qkv: Any, options: dict[str, Any], error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        window_attention(qkv, **{**GOOD, **options})
    for part in parts:
        assert part in str(caught.value)


def test_the_good_options_are_good() -> None:
    assert window_attention(QKV, **GOOD).shape == (2, 8, 12, 8)
