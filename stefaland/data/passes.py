"""Cells of many tables in passes of equal size, so that small tiles do not leave a device idle.

Each tile is a table of cells. `prediction/predict.py` runs the passes, and returns a table when
its last cell has been predicted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stefaland.data.cell_data import CellData

K = TypeVar("K")
_FIELDS = ("forcings", "statics", "categorical", "target", "lonlat", "filled")


@dataclass
class Table(Generic[K]):
    """A table whose cells are being put into passes."""

    key: K
    number: int
    data: CellData
    left: int
    """Number of cells that are in no pass yet."""


@dataclass(frozen=True)
class Part(Generic[K]):
    """Origin of the rows `inside` of a pass: the rows `rows` of a table."""

    table: Table[K]
    inside: slice
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Pass(Generic[K]):
    """Cells to predict together, and the tables that are complete after it.

    The cell ids in `data` are row numbers. `data` is None where tables are complete without
    another pass.
    """

    data: CellData | None
    parts: tuple[Part[K], ...] = ()
    finished: tuple[Table[K], ...] = field(default=())


def passes(
    tables: Iterable[tuple[K, CellData, Tensor]], size: int, *, padded: bool
) -> Iterator[Pass[K]]:
    """Passes of `size` cells over (key, table, rows to predict), in order; the last may be shorter.

    With `padded` it is filled up to `size` with its last cell. Tables are completed in their order;
    all have the same variables and time axis.
    """
    waiting: deque[Table[K]] = deque()
    gathered: list[tuple[Table[K], Tensor]] = []
    space = size
    for number, (key, data, rows) in enumerate(tables):
        table = Table(key, number, data, len(rows))
        waiting.append(table)
        while len(rows):
            taken, rows = rows[:space], rows[space:]
            gathered.append((table, taken))
            table.left -= len(taken)
            space -= len(taken)
            if space == 0:
                yield _pass(gathered, size, padded, _finished(waiting))
                gathered, space = [], size
        if not gathered and (ended := _finished(waiting)):
            yield Pass(None, (), ended)
    if waiting:
        ended = _finished(waiting)
        yield _pass(gathered, size, padded, ended) if gathered else Pass(None, (), ended)


Values = Mapping[str, NDArray[Any]]


def in_order(
    batches: Iterable[Pass[K]], run: Callable[[CellData], Values], workers: int
) -> Iterator[tuple[Pass[K], Values]]:
    """Each pass with the result of `run` for its cells (empty where it has none), in order.

    As many threads as `workers` run one pass each at a time, with one torch thread each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[tuple[Pass[K], Future[Values] | None]] = deque()
            for batch in batches:
                future = pool.submit(run, batch.data) if batch.data is not None else None
                waiting.append((batch, future))
                if len(waiting) > workers:
                    yield _with_result(*waiting.popleft())
            while waiting:
                yield _with_result(*waiting.popleft())
    finally:
        torch.set_num_threads(before)


def _with_result(batch: Pass[K], future: Future[Values] | None) -> tuple[Pass[K], Values]:
    return batch, future.result() if future is not None else {}


def _finished(waiting: deque[Table[K]]) -> tuple[Table[K], ...]:
    ended = []
    while waiting and waiting[0].left == 0:
        ended.append(waiting.popleft())
    return tuple(ended)


def _pass(
    gathered: Sequence[tuple[Table[K], Tensor]],
    size: int,
    padded: bool,
    finished: tuple[Table[K], ...],
) -> Pass[K]:
    parts, filled = [], 0
    for table, rows in gathered:
        inside = slice(filled, filled + len(rows))
        parts.append(Part(table, inside, rows.numpy()))
        filled = inside.stop
    tables = [table.data.take(rows) for table, rows in gathered]
    return Pass(_joined(tables, size if padded else filled), tuple(parts), finished)


def _joined(tables: Sequence[CellData], size: int) -> CellData:
    """The tables concatenated along the cells, and filled up to `size` with the last cell."""
    missing = size - sum(len(table) for table in tables)
    values: dict[str, Any] = {}
    for name in _FIELDS:
        if getattr(tables[0], name) is not None:
            columns = [getattr(table, name) for table in tables]
            last = columns[-1][-1:]
            values[name] = torch.cat([*columns, last.expand(missing, *last.shape[1:])])
    return replace(tables[0], **values, cell=torch.arange(size), group=None, region=None)
