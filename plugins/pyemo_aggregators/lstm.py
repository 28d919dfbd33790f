"""Recurrent aggregators: the thesis's LSTM and its bidirectional variant (Chang, sections 4.4, 4.5 and 5.4)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from pyemo.nn.sequences import compact


class Lstm(nn.Module):
    """Hidden state of the last layer after the last step that exists; zeros where none does.

    The defaults are the thesis's: the text names neither size nor depth, but its count of 26,813,704 parameters (section 4.4) is that of
    two ResNet-18, one LSTM layer of 512 behind each, and dense layers from 1024 to 256 to 8.

    Args:
        feature_dim: D (given by pyemo).
        hidden_size: size of the state; D' (twice that, if bidirectional).
        layers: LSTMs on top of each other.
        dropout: probability with which a value between two layers, and of the result, is zeroed in training.
    """

    contract_version: ClassVar[int] = 1
    bidirectional: ClassVar[bool] = False

    def __init__(self, feature_dim: int, hidden_size: int = 512, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.lstm = nn.LSTM(
            feature_dim,
            hidden_size,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=self.bidirectional,
        )
        self.dropout = nn.Dropout(dropout)
        self.output_dim = hidden_size * (2 if self.bidirectional else 1)

    def forward(self, sequence: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D), boolean (B, T) -> (B, D')."""
        if not sequence.shape[1]:
            return sequence.new_zeros(len(sequence), self.output_dim)
        steps, lengths = compact(sequence, mask)
        state = self._final_state(steps, lengths.clamp(min=1))
        return self.dropout(state.masked_fill((lengths == 0).unsqueeze(-1), 0))

    def _final_state(self, steps: Tensor, lengths: Tensor) -> Tensor:
        # Padding lies behind the steps, where it cannot reach them; unpacked sequences are twice as fast to train on a CPU.
        outputs, _ = self.lstm(steps)
        last: Tensor = outputs.take_along_dim((lengths - 1)[:, None, None], dim=1)
        return last.squeeze(1)


class BiLstm(Lstm):
    """An :class:`Lstm` in either direction, each with its own weights: both states after reading all steps that exist, concatenated."""

    bidirectional = True

    def _final_state(self, steps: Tensor, lengths: Tensor) -> Tensor:
        # Packed, since the backward direction would begin in the padding.
        packed = pack_padded_sequence(steps, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (hidden, _) = self.lstm(packed)
        return torch.cat([hidden[-2], hidden[-1]], dim=-1)
