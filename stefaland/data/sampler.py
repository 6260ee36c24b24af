"""The windows of each batch: a pure function of seed and epoch, divided among ranks.

`training/loop.py` requests an epoch's draws; a `BatchSource` gathers their windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.target_windows import TargetWindows


@dataclass(frozen=True)
class Draw:
    """The windows of one batch, and this rank's part of them."""

    rows: Tensor
    """Rows [B] of the whole batch over all ranks, int64."""
    starts: Tensor
    """First time step [B] of each window, int64."""
    part: slice
    """The rank's rows of the batch."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """Batches of pairs (row, start), shuffled in each epoch.

    With `group` labels an epoch has one random row of each group: neighbours that share a source
    cell are not independent samples. The order depends on `seed` and epoch only, so that a resumed
    run, or a run on another number of ranks, draws the same batches.
    """

    rows: NDArray[np.int64]
    starts: tuple[int, int]
    """The first start, and the number of starts (`Windows.starts`)."""
    batch_size: int
    seed: int = 0
    steps_per_epoch: int | None = None
    windows_per_cell: int = 1
    """Windows of each row (or each group) in an epoch."""
    group: NDArray[Any] | None = None
    """Group labels [n] of `rows`."""
    shard: NDArray[Any] | None = None
    """Shard number [n] of `rows`: an epoch draws from `buffer` whole shards at a time, in shuffled
    order, and shuffles the rows within them."""
    buffer: int = 8
    pairs: bool = False
    """Whether a batch has two windows of each of its rows; an epoch then has every other row."""
    by_targets: TargetWindows | None = None
    """Draws the start of each row's window by its targets; by default all starts are alike."""
    start_every: int = 1
    """Windows begin at every n-th of the starts."""
    rank: int = 0
    world_size: int = 1

    @property
    def windows(self) -> int:
        """Largest number of different windows."""
        by = self.by_targets
        # Where windows are shorter than the distance of their starts, others hold the targets.
        is_any = by is not None and by.window - by.warmup < self.start_every
        return len(self.rows) * -(-self.starts[1] // (1 if is_any else self.start_every))

    def __post_init__(self) -> None:
        if not len(self.rows):
            raise bad_input("training set", "no locations", "at least one")
        if self.starts[1] < 1:
            raise bad_input("training set", "no window fits", "a period as long as the window")

    def epoch(self, epoch: int) -> list[Draw]:
        """The batches of an epoch; the last may be smaller, but every rank has a row of each.

        Raises `InputError` where the epoch has fewer windows than there are ranks.
        """
        generator = np.random.default_rng((self.seed, epoch, 0x57E7A))
        order = self._order(generator)
        if self.steps_per_epoch is not None:
            wanted = self.steps_per_epoch * self.batch_size
            pieces = [order]
            while sum(map(len, pieces)) < wanted:
                pieces.append(self._order(generator))
            order = np.concatenate(pieces)[:wanted]
        if self.pairs:
            order = np.repeat(order[: -(-len(order) // 2)], 2)[: len(order)]
        order = self._by_shard(order)
        starts = self._starts(order, generator)
        order = self.rows[order]
        draws = []
        for begin in range(0, len(order), self.batch_size):
            rows, when = order[begin : begin + self.batch_size], starts[begin:][: self.batch_size]
            if len(rows) < self.world_size:
                break
            draws.append(
                Draw(torch.from_numpy(rows), torch.from_numpy(when), self._part(len(rows)))
            )
        if not draws:
            raise bad_input(
                "training set",
                f"{len(order)} windows",
                f"at least one per rank ({self.world_size})",
            )
        return draws

    def _starts(
        self, order: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        if self.by_targets is not None:
            return self.by_targets.draw(order, generator)
        first, count = self.starts
        every = self.start_every
        return first + every * generator.integers(0, -(-count // every), len(order))

    def _order(self, generator: np.random.Generator) -> NDArray[np.int64]:
        order = np.concatenate([self._each_once(generator) for _ in range(self.windows_per_cell)])
        if self.windows_per_cell > 1:
            order = generator.permutation(order)
        if self.shard is not None:
            # A stable sort by the buffer of their shard keeps the rows of a buffer shuffled.
            labels, inverse = np.unique(self.shard, return_inverse=True)
            turn = generator.permutation(len(labels)) // self.buffer
            order = order[np.argsort(turn[inverse[order]], kind="stable")]
        return order

    def _each_once(self, generator: np.random.Generator) -> NDArray[np.int64]:
        order = generator.permutation(len(self.rows))
        if self.group is None:
            return order
        # The first of each group in random order: every member is equally probable.
        _, firsts = np.unique(self.group[order], return_index=True)
        chosen: NDArray[np.int64] = order[np.sort(firsts)]
        return chosen

    def _by_shard(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sort each batch by shard, so that the parts gathered from shards need no sorting."""
        if self.shard is None:
            return order
        batch = np.arange(len(order)) // self.batch_size
        return order[np.lexsort((self.shard[order], batch))]

    def _part(self, size: int) -> slice:
        edges = [size * rank // self.world_size for rank in (self.rank, self.rank + 1)]
        return slice(edges[0], edges[1])
