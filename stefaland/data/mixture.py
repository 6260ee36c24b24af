"""Windows of several tables in one training, each batch from one of them.

The tables may have other cells, days and steps; a variable that a table lacks is missing (NaN) in
all of its windows, so that it is treated as hidden and is in no loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stefaland.data.batch import Batch, BatchSource
from stefaland.data.sampler import Draw, Sampler


@dataclass
class Mixture:
    """The windows of several tables; the rows of each follow those of the table before it."""

    parts: tuple[BatchSource, ...]
    offsets: tuple[int, ...]
    """First row of each table."""
    device: torch.device

    def batches(self, draws: Sequence[Draw]) -> Iterator[Batch]:
        """This rank's part of each draw, whose rows are all of one table."""
        numbers = [self._number(draw) for draw in draws]
        of_part = [
            part.batches([self._within(draw) for draw, number in zip(draws, numbers, strict=True)
                          if number == i])
            for i, part in enumerate(self.parts)
        ]  # fmt: skip
        for number in numbers:
            yield next(of_part[number])

    def _number(self, draw: Draw) -> int:
        return int(np.searchsorted(self.offsets, int(draw.rows[0]), side="right")) - 1

    def _within(self, draw: Draw) -> Draw:
        return replace(draw, rows=draw.rows - self.offsets[self._number(draw)])


@dataclass(frozen=True)
class MixedSampler:
    """Batches of the samplers of several tables, in shuffled order and in given proportions."""

    parts: tuple[Sampler, ...]
    weights: tuple[float, ...]
    """Number of batches of each table in proportion to that of the others."""
    offsets: tuple[int, ...]
    seed: int
    steps_per_epoch: int | None = None
    """Number of batches per epoch; by default as many as the tables have together."""

    def epoch(self, epoch: int) -> list[Draw]:
        """The batches of an epoch: as many of each table as its weight asks for."""
        lengths = [len(part.epoch(0)) for part in self.parts]
        total = self.steps_per_epoch or sum(lengths)
        order = np.repeat(np.arange(len(self.parts)), _divided(total, self.weights))
        order = np.random.default_rng((self.seed, epoch, 0x3113)).permutation(order)
        draws = [
            self._draws(number, epoch, int((order == number).sum()), length)
            for number, length in enumerate(lengths)
        ]
        return [next(draws[number]) for number in order]

    def _draws(self, number: int, epoch: int, count: int, length: int) -> Iterator[Draw]:
        """Batches of a table, which has several epochs within one of the mixture if need be."""
        rounds, offset = -(-count // length), self.offsets[number]
        for again in range(rounds):
            for draw in self.parts[number].epoch(epoch * rounds + again):
                yield replace(draw, rows=draw.rows + offset)


def _divided(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to the weights with the sum `total`; each is at least 1.

    >>> _divided(10, [1.0, 2.0])
    [3, 7]
    """
    total = max(total, len(weights))
    shares = np.asarray(weights) / np.sum(weights) * total
    counts = np.maximum(np.floor(shares), 1).astype(int)
    while counts.sum() < total:
        counts[np.argmax(shares - counts)] += 1
    while counts.sum() > total:
        counts[np.argmin(np.where(counts > 1, shares - counts, np.inf))] -= 1
    return [int(count) for count in counts]


def stacked(draws: Sequence[Sequence[Draw]], offsets: Sequence[int]) -> list[Draw]:
    """The draws of each table, with rows of the mixture."""
    return [
        replace(draw, rows=draw.rows + offset)
        for of_table, offset in zip(draws, offsets, strict=True)
        for draw in of_table
    ]
