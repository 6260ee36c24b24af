"""Cells in shards that are read when they are needed: training sets larger than memory.

Pretraining takes them in place of a resident `CellData`; `stream.py` reads them ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import bad_input
from stefaland.data.cell_data import CellData


@dataclass(frozen=True, kw_only=True)
class ShardedCells:
    """N locations in shards, in the order of `shards`; only ids and labels are in memory."""

    shards: tuple[NDArray[np.int64], ...]
    """Cell ids of each shard."""
    read: Callable[[NDArray[np.int64]], CellData]
    """Function that reads cells of one shard by their ids, in that order."""
    time: NDArray[np.datetime64]
    forcing_names: tuple[str, ...]
    static_names: tuple[str, ...]
    identity: str
    """Fingerprint of the values: it changes when they do."""
    categorical_names: tuple[str, ...] = ()
    group: NDArray[Any] | None = None
    """Label [N] of what neighbours share; a fold keeps each group whole."""

    def __post_init__(self) -> None:
        ids = self.ids
        if len(np.unique(ids)) != len(ids):
            raise bad_input("shards of cells", "ids with repeats", "every cell in one shard")

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def ids(self) -> NDArray[np.int64]:
        """Cell ids [N]."""
        return np.concatenate([np.zeros(0, np.int64), *self.shards])

    @property
    def shard_of(self) -> NDArray[np.int64]:
        """Shard number [N] of each row."""
        return np.repeat(np.arange(len(self.shards)), [len(ids) for ids in self.shards])

    def rows(self, cells: NDArray[np.int64]) -> Tensor:
        """Rows [n] of these cell ids, shard by shard, int64; `InputError` lists absent ids."""
        wanted = np.asarray(cells, dtype=np.int64)
        found = np.flatnonzero(np.isin(self.ids, wanted))
        if len(found) != len(np.unique(wanted)):
            absent = np.setdiff1d(wanted, self.ids)
            shown = ", ".join(map(str, absent[:5]))
            raise bad_input("cells", f"no cells {shown} ({len(absent)} in all)", "known ids")
        return torch.from_numpy(found)

    def subset(self, cells: NDArray[np.int64]) -> ShardedCells:
        """These cells only, without the shards that have none of them."""
        keep = np.zeros(len(self), bool)
        keep[self.rows(cells).numpy()] = True
        edges = np.cumsum([len(ids) for ids in self.shards])[:-1]
        pieces = [
            ids[kept]
            for ids, kept in zip(self.shards, np.split(keep, edges), strict=True)
            if kept.any()
        ]
        group = None if self.group is None else np.asarray(self.group)[keep]
        return replace(self, shards=tuple(pieces), group=group)

    def selected(
        self, forcings: Sequence[str], statics: Sequence[str], categorical: Sequence[str] = ()
    ) -> ShardedCells:
        """The same cells with these variables in this order."""
        read = self.read
        return replace(
            self,
            read=lambda cells: read(cells).selected(forcings, statics, categorical),
            forcing_names=tuple(forcings),
            static_names=tuple(statics),
            categorical_names=tuple(categorical),
        )

    def readers(self) -> list[Callable[[], CellData]]:
        """One function per shard that reads it."""
        return [partial(self.read, ids) for ids in self.shards]
