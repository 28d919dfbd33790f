"""The order in which samples are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from pyemo.data.batch import IGNORED, Batch, Samples


class _Shuffled(Sampler[int]):
    """A random order, or with ``balance`` a random subset in which no class has more than that many times the samples of the median one."""

    def __init__(self, samples: Samples, balance: float | None, generator: torch.Generator) -> None:
        self._targets, self._generator = samples.targets, generator
        self._cap = None
        if balance is not None and (samples.targets != IGNORED).all():
            counts = torch.bincount(samples.targets)
            self._cap = max(1, round(balance * float(counts[counts > 0].float().median())))

    def __len__(self) -> int:
        if self._cap is None:
            return len(self._targets)
        return int(torch.bincount(self._targets).clamp(max=self._cap).sum())

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self._targets), generator=self._generator)
        if self._cap is not None:
            targets = self._targets[order]
            # How many of its class stand before each.
            before = torch.empty_like(order)
            for target in targets.unique():
                of_class = targets == target
                before[of_class] = torch.arange(int(of_class.sum()))
            order = order[before < self._cap]
        yield from order.tolist()


class _ShuffledBatches(BatchSampler):
    """Shuffles by (seed, epoch), so that a resumed run sees what an uninterrupted one would have seen."""

    def __init__(
        self, samples: Samples, batch_size: int, balance: float | None, seed: int, epoch: Callable[[], int]
    ) -> None:
        self._generator = torch.Generator()
        self._samples, self._seed, self._epoch = samples, seed, epoch
        sampler = _Shuffled(samples, balance, self._generator)
        # Batch normalisation cannot train on one sample.
        super().__init__(sampler, batch_size, drop_last=len(sampler) % batch_size == 1)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self._epoch()
        self._generator.manual_seed(self._seed * 1_000_003 + epoch)
        self._samples.start_epoch(self._seed, epoch)
        return super().__iter__()


def ordered_batches(samples: Samples, batch_size: int) -> DataLoader[Batch]:
    """Batches in the order of the samples."""
    sampler = BatchSampler(SequentialSampler(samples), batch_size, drop_last=False)
    return DataLoader(samples, sampler=sampler, batch_size=None)  # type: ignore[arg-type]


def shuffled_batches(
    samples: Samples, batch_size: int, seed: int, epoch: Callable[[], int], balance: float | None = None
) -> DataLoader[Batch]:
    """Batches in an order, and with random choices, that only ``seed`` and ``epoch()``, asked at the start of each epoch, decide.

    ``balance``: as :attr:`pyemo.config.SamplingConfig.balance`.
    """
    sampler = _ShuffledBatches(samples, batch_size, balance, seed, epoch)
    return DataLoader(samples, sampler=sampler, batch_size=None)  # type: ignore[arg-type]
