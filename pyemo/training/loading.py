"""The order in which samples are served."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Sampler, SequentialSampler

from pyemo.config import SamplingConfig
from pyemo.data.batch import IGNORED, Batch, Samples


class _Shuffled(Sampler[int]):
    """A random order; of a random subset or with repetitions, where the recipe balances the classes."""

    def __init__(self, samples: Samples, sampling: SamplingConfig, generator: torch.Generator) -> None:
        self._targets, self._generator = samples.targets, generator
        counts = torch.bincount(samples.targets[samples.targets != IGNORED])
        # How many samples of each class an epoch has; None: as many as there are.
        self._wanted: Tensor | None = None
        if sampling.balance is not None:
            median = float(counts[counts > 0].float().median())
            self._wanted = counts.clamp(max=max(1, round(sampling.balance * median)))
        elif sampling.oversample:
            self._wanted = torch.where(counts > 0, counts.max(), 0)

    def __len__(self) -> int:
        return len(self._targets) if self._wanted is None else int(self._wanted.sum())

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(len(self._targets), generator=self._generator)
        if self._wanted is not None:
            targets = self._targets[order]
            of_class = [order[targets == target] for target in range(len(self._wanted))]
            parts = [
                own.repeat(-(-int(wanted) // max(1, len(own))))[: int(wanted)]
                for own, wanted in zip(of_class, self._wanted, strict=True)
            ]
            order = torch.cat(parts)
            order = order[torch.randperm(len(order), generator=self._generator)]
        yield from order.tolist()


class _ShuffledBatches(BatchSampler):
    """Shuffles by (seed, epoch), so that a resumed run sees what an uninterrupted one would have seen."""

    def __init__(
        self, samples: Samples, batch_size: int, sampling: SamplingConfig, seed: int, epoch: Callable[[], int]
    ) -> None:
        self._generator = torch.Generator()
        self._samples, self._seed, self._epoch = samples, seed, epoch
        sampler = _Shuffled(samples, sampling, self._generator)
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
    samples: Samples, batch_size: int, seed: int, epoch: Callable[[], int], sampling: SamplingConfig
) -> DataLoader[Batch]:
    """Batches in an order, and with random choices, that only ``seed`` and ``epoch()``, asked at the start of each epoch, decide.

    ``sampling`` says how its classes are balanced.
    """
    sampler = _ShuffledBatches(samples, batch_size, sampling, seed, epoch)
    return DataLoader(samples, sampler=sampler, batch_size=None)  # type: ignore[arg-type]
