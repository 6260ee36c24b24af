"""Operators from source windows to target cells: separable bands and sparse matrices.

Made from the weights of `weights` (same CRS) or by `warp` (another CRS), and applied by `regrid`,
which reads the windows. The kernels are imported at first use, because the import compiles them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import Any, Protocol

import numpy as np

from pipeline.regridding.weights import AxisWeights, kernel_tables

_STRIP = 2_000_000  # entries of a sparse matrix that one thread holds
_BLOCK = 1 << 21  # target cells of one piece of work


@dataclass(frozen=True, eq=False)
class Window:
    """Rows and columns of a source array that a result needs; columns may cross the seam."""

    rows: slice
    cols: slice | np.ndarray

    @property
    def width(self) -> int:
        """Number of columns."""
        if isinstance(self.cols, slice):
            return int(self.cols.stop - self.cols.start)
        return self.cols.size

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.rows.stop - self.rows.start)


@dataclass(frozen=True, eq=False)
class Sparse:
    """Rows of a sparse matrix: target cell j uses entries `begin[j]:begin[j + 1]`.

    `index` counts row-major in a source array of `width` columns; weights of a target cell that
    lies wholly on valid source sum to 1.
    """

    begin: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    width: int

    def within(self) -> tuple[Sparse, Window]:
        """The same matrix on the smallest window of whole rows (and columns) it needs."""
        if not self.index.size:
            return self, Window(slice(0, 1), slice(0, self.width))
        row, col = np.divmod(self.index, self.width)
        top, bottom = int(row.min()), int(row.max()) + 1
        used = np.flatnonzero(np.bincount(col, minlength=self.width))
        left, columns = _arc(used, self.width)
        # Modulo the width: the window may go over the seam, from the last columns to the first.
        index = (row - top) * columns + (col - left) % self.width
        window = Window(slice(top, bottom), _columns(left, columns, self.width))
        return Sparse(self.begin, index, self.weight, columns), window


class Operator(Protocol):
    """Interface that `regrid` uses: strips of target rows, windows and sparse matrices."""

    @property
    def shape(self) -> tuple[int, int]:
        """Target rows and columns."""

    def strips(self) -> list[slice]:
        """Slices of target rows whose sparse matrices are of a bounded size."""

    def matrix(self, rows: slice) -> tuple[Sparse, Window]:
        """The matrix of some target rows, on the window of the source that it needs."""

    def overlaps(self) -> bool:
        """Whether any target cell meets any source cell."""


@dataclass(frozen=True, eq=False)
class Separable:
    """Outer product of weights along y and along x, for rectilinear grids in one CRS."""

    y: AxisWeights
    x: AxisWeights

    @property
    def shape(self) -> tuple[int, int]:
        """Target rows and columns."""
        return self.y.start.size, self.x.start.size

    def overlaps(self) -> bool:
        """Whether any target cell meets any source cell."""
        return bool((self.y.total > 0).any() and (self.x.total > 0).any())

    def strips(self) -> list[slice]:
        """Slices of target rows whose sparse matrices are of a bounded size."""
        entries = (self.x.weight > 0).sum() * max(1.0, (self.y.weight > 0).sum(axis=0).mean())
        return _slices(self.shape[0], max(1, int(_STRIP // max(entries, 1))))

    def matrix(self, rows: slice) -> tuple[Sparse, Window]:
        """The matrix of some target rows, on the window of the source that it needs."""
        from pipeline.regridding.kernels import sparse as kernels

        part, window = self.part(rows).within
        y, x = part.y, part.x
        begin = np.empty(y.start.size * x.start.size + 1, np.int64)
        kernels.outer_count(y.weight, x.weight, begin)
        index, weight = np.empty(begin[-1], np.int64), np.empty(begin[-1])
        kernels.outer_fill(y.index, y.weight, x.index, x.weight, x.size, begin, index, weight)
        return Sparse(begin, index, weight, x.size), window

    def part(self, rows: slice) -> Separable:
        """The operator of some of the target rows."""
        return self if rows == slice(0, self.shape[0]) else Separable(self.y.part(rows), self.x)

    @cached_property
    def within(self) -> tuple[Separable, Window]:
        """The same operator on the smallest window of the source that it needs."""
        # Targets outside the source have weights of 0 and must not widen the window.
        met = self.y.weight > 0
        rows = self.y.index[met] if met.any() else np.zeros(1, np.int64)
        top, bottom = int(rows.min()), int(rows.max()) + 1
        first = np.where(met.any(axis=0), self.y.start, 0)
        # `start` counts along the ascending axis, which of a reversed array begins at its bottom.
        offset = self.y.size - bottom if self.y.reverse else top
        start = np.where(met.any(axis=0), first - offset, 0)
        y = replace(self.y, start=start, size=bottom - top)
        x, cols = _narrowed(self.x)
        return Separable(y, x), Window(slice(top, bottom), cols)


def _narrowed(x: AxisWeights) -> tuple[AxisWeights, slice | np.ndarray]:
    """Weights along x on the columns that they need, and those columns, west to east."""
    met = x.weight > 0
    index = (x.start + np.arange(x.weight.shape[0])[:, None]) % x.size
    used = np.flatnonzero(np.bincount(index[met], minlength=x.size))
    used = used if used.size else np.zeros(1, np.int64)
    left, columns = _arc(used, x.size)
    start = np.where(met.any(axis=0), (x.start - left) % x.size, 0)
    # Columns are read west to east whatever the array's order, so that the rest sees one case.
    narrow = replace(x, start=start, size=columns, reverse=False)
    if not x.reverse:
        return narrow, _columns(left, columns, x.size)
    return narrow, x.size - 1 - (left + np.arange(columns)) % x.size


def _arc(used: np.ndarray, size: int) -> tuple[int, int]:
    """First cell and length of the shortest run on a ring of `size` cells that holds all `used`."""
    # The run leaves out the widest gap between used cells of the ring; of equally wide gaps, the
    # one over the seam, so that the window is one slice.
    gaps = np.diff(used, append=used[0] + size)
    widest = int(gaps.argmax())
    if gaps[widest] <= gaps[-1]:
        widest = used.size - 1
    first = int(used[(widest + 1) % used.size])
    return first, size - int(gaps[widest]) + 1


def _columns(left: int, count: int, size: int) -> slice | np.ndarray:
    if left + count <= size:
        return slice(left, left + count)
    return (left + np.arange(count)) % size


def apply_bands(
    operator: Separable, kind: str, values: np.ndarray, min_coverage: float,
    out: np.ndarray, coverage: np.ndarray, threads: int,
) -> None:  # fmt: skip
    """NaN-aware means of `values` (t, y, x) into `out` and `coverage` (t, Y, X).

    `kind` "area" merges rows first (coarser targets), "point" columns first (finer targets).
    """
    from pipeline.regridding.kernels import separable as kernels

    values = values if _has_whole_rows(values) else np.ascontiguousarray(values)
    kernel, scratch_for = kernels.rows_first, kernels.rows_scratch
    if kind == "point":
        kernel, scratch_for = kernels.columns_first, kernels.columns_scratch
        if values.shape[2] < 2:  # the kernel reads pairs: a second column, of weight 0
            values = np.concatenate([values, np.full_like(values, np.nan)], axis=2)
    # Cached by axes: the other variables and times of a tile have the same ones.
    down, across = kernel_tables(operator.y, operator.x, kind, values.dtype)
    # Sums in float32 may be just below a coverage such as 0.3 by rounding.
    enough = values.dtype.type(min_coverage * (1 - 8 * np.finfo(values.dtype).eps))
    source = (*_flat(values), values.shape[2])

    def work(piece: tuple[slice, slice]) -> None:
        times, part = ((piece[i].start, piece[i].stop) for i in (0, 1))
        scratch = scratch_for(values.shape[2], across, out)
        kernel(source, down, across, scratch, enough, times, part, out, coverage)

    # Pieces are whole times where there are enough for all threads, so that each source row is read
    # by one thread; else rows are split among threads, and rows at the borders are read twice.
    n_times, n_rows, n_cols = out.shape
    step = max(1, min(_BLOCK // (n_rows * n_cols), n_times // (4 * threads)))
    height = n_rows if n_times >= 4 * threads else max(8, n_rows // (4 * threads))
    run_all(work, product(_even_slices(n_times, step, threads), _slices(n_rows, height)), threads)


def _has_whole_rows(values: np.ndarray) -> bool:
    """Whether each row lies in memory in one piece, rows and times one after the other."""
    whole = [stride % values.itemsize == 0 and stride > 0 for stride in values.strides]
    return values.strides[2] == values.itemsize and all(whole)


def _flat(values: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The memory of `values` (t, y, x), first to last cell, and the strides of time and row."""
    # A view of all memory from the first to the last cell, including what lies between rows:
    # kernels use strides, and a window of a larger array need not be copied.
    steps = tuple(stride // values.itemsize for stride in values.strides)
    length = 1 + sum((n - 1) * step for n, step in zip(values.shape, steps, strict=True))
    flat = np.lib.stride_tricks.as_strided(values, (length,), (values.itemsize,), writeable=False)
    return flat, (steps[0], steps[1])


def apply_sparse(
    kernel: Callable[..., None], matrix: Sparse, values: np.ndarray, min_coverage: float,
    first: int, out: np.ndarray, coverage: np.ndarray,
) -> None:  # fmt: skip
    """Runs a sparse kernel on `values` (t, y, x); writes cells from `first` on of (t, Y, X)."""
    source = np.ascontiguousarray(values).reshape(values.shape[0], -1)
    flat = (out.shape[0], -1)
    kernel(
        source, matrix.begin, matrix.index, matrix.weight, min_coverage, first,
        out.reshape(flat), coverage.reshape(flat),
    )  # fmt: skip


def run_all(work: Callable[[Any], None], pieces: Iterable[Any], threads: int) -> None:
    """Calls `work` on every piece, in `threads` threads."""
    if threads == 1:
        for piece in pieces:
            work(piece)
        return
    # A queue instead of fixed portions: other threads take the pieces of one that is delayed.
    waiting = deque(pieces)

    def work_off(_: int) -> None:
        while True:
            try:
                piece = waiting.popleft()
            except IndexError:
                return
            work(piece)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work_off, range(threads)):
            pass


def _even_slices(size: int, step: int, threads: int) -> list[slice]:
    """Slices of about `step`, equally many for each thread, whose lengths differ by at most 1."""
    count = -(-size // (step * threads)) * threads
    ends = [size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(ends) if b > a]


def _slices(size: int, step: int) -> list[slice]:
    return [slice(i, min(i + step, size)) for i in range(0, size, step)]
