"""A model that pyemo does not know, as its author would write it from the README alone: it imports the operation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyemo.ops import window_attention


class LocalMixer(nn.Module):
    """A stranger's layer: overlapping windows of 4x8 by shifting every other layer, a learned bias, its own head count."""

    def __init__(self, width: int, shifted: bool) -> None:
        super().__init__()
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn(4, 32, 32) * 0.1)
        self.shift = (2, 4) if shifted else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        mixed = window_attention(self.project(x), self.bias, num_heads=4, window_size=(4, 8), shift_size=self.shift)
        return x + self.out(mixed)


class Strange(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 4, stride=4)
        self.mixers = nn.Sequential(*[LocalMixer(32, shifted=bool(i % 2)) for i in range(3)])
        self.head = nn.Linear(32, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images).permute(0, 2, 3, 1)
        return self.head(self.mixers(maps).mean((1, 2)))


def plain_attention(qkv: Tensor, bias: Tensor, shift: tuple[int, int]) -> Tensor:
    """Token by token: who may look at whom is worked out from where the tokens stand, not from a rolled map."""
    batch, height, width, channels = qkv.shape
    q, k, v = qkv.view(batch, height, width, 3, 4, channels // 12).unbind(3)
    output = torch.empty(batch, height, width, 4, channels // 12, dtype=qkv.dtype)

    def place(row: int, column: int) -> tuple[int, int, bool, bool]:
        """Row and column in the shifted map, and whether the shift moved the token around the border."""
        return (row - shift[0]) % height, (column - shift[1]) % width, row < shift[0], column < shift[1]

    tokens = [(row, column, *place(row, column)) for row in range(height) for column in range(width)]
    for row, column, r, c, above, left in tokens:
        window = [t for t in tokens if t[2] // 4 == r // 4 and t[3] // 8 == c // 8]
        weights = []
        for other_row, other_column, other_r, other_c, other_above, other_left in window:
            logit = (q[:, row, column] * k[:, other_row, other_column]).sum(-1) * (channels // 12) ** -0.5
            logit = logit + bias[:, (r % 4) * 8 + c % 8, (other_r % 4) * 8 + other_c % 8]
            weights.append(logit - 100 * ((above, left) != (other_above, other_left)))
        share = torch.stack(weights, -1).softmax(-1)
        values = torch.stack([v[:, other[0], other[1]] for other in window], -2)
        output[:, row, column] = (share[..., None] * values).sum(-2)
    return output.flatten(3)


def test_what_the_stranger_expects_of_the_operation() -> None:
    torch.manual_seed(0)
    qkv = torch.randn(2, 8, 16, 3 * 32, dtype=torch.float64)
    bias = torch.randn(4, 32, 32, dtype=torch.float64)
    for shift in ((0, 0), (2, 4), (0, 3)):
        output = window_attention(qkv, bias, num_heads=4, window_size=(4, 8), shift_size=shift)
        torch.testing.assert_close(output, plain_attention(qkv, bias, shift), rtol=1e-10, atol=1e-10)


def test_the_stranger_trains() -> None:
    torch.manual_seed(0)
    model = Strange()
    images = torch.rand(16, 3, 32, 64)
    labels = torch.arange(16) % 2
    images[labels == 1, :, :16] += 0.5
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert all(mixer.bias.grad is not None and mixer.bias.grad.abs().max() > 0 for mixer in model.mixers)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images), model(images))
