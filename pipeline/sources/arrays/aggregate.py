"""Stored variables as lazy canonical values: decoded and aggregated in time when they are read.

Nothing is kept in memory, so a class map or hourly series may be far larger than memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import InputError
from pipeline.core.system.time_limit import reading
from pipeline.readers.common.refusals import damaged
from pipeline.readers.common.series import CHUNK_STARTS
from pipeline.sources.decode import ACCUMULATED, Decoding
from pipeline.times.plan import TimePlan
from pipeline.times.totals import daily_rates

BLOCK_BYTES = 1 << 27
"""Bytes of stored values read at once when shorter steps are aggregated to days."""


class Decoded(BackendArray):
    """A stored variable (time?, …, y, x) or (time?, cell) as lazy values at the times of a plan.

    Dimensions with a reduction, which are after the time, are reduced when they are read.
    """

    def __init__(self, stored: xr.Variable, decoding: Decoding, plan: TimePlan | None) -> None:
        self.stored = stored
        self.decoding = decoding
        self.plan = plan
        self.extra = tuple(str(dim) for dim in stored.dims if dim in decoding.reductions)
        self.dims = tuple(dim for dim in stored.dims if dim not in self.extra)
        sizes = [stored.sizes[dim] for dim in self.dims]
        self.shape = tuple(sizes) if plan is None else (plan.values.size, *sizes[1:])
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        if self.plan is None:
            return self.decoding.finish(self.read(key), None)
        time, rest = key[0], key[1:]
        if not isinstance(time, slice):
            return self._times(np.array([time]), rest)[0]
        return self._times(np.arange(self.shape[0])[time], rest)

    def read(self, key: tuple[Any, ...], dtype: Any = np.float32) -> np.ndarray:
        """Return values in the file's units at the positions `key` of the stored steps.

        Raises `InputError` if they cannot be read.
        """
        first = int("time" in self.dims)
        every = (slice(None),) * len(self.extra)
        try:
            with reading(self.stored.encoding.get("source") or self.decoding.where):
                raw = np.asarray(self.stored[(*key[:first], *every, *key[first:])].values)
        except (InputError, MemoryError):
            raise
        # Every library has errors of its own for damaged values, such as ecCodes' DecodingError.
        except Exception as error:
            file = self.stored.encoding.get("source")
            raise damaged(self.decoding.where, file, error) from None
        values = self.decoding.values(raw, dtype)
        for dim in self.extra:
            values = self.decoding.reductions[dim].of(values, first)
        return values

    def _steps_at_once(self, rest: tuple[Any, ...], each: int) -> int:
        """Return the number of steps, `each` of so many numbers of 8 bytes, read at once."""
        cells = max(1, int(np.prod(self._lead(rest))))
        layers = int(np.prod([self.stored.sizes[dim] for dim in self.extra]))
        return max(1, BLOCK_BYTES // (8 * each * cells * layers))

    def _lead(self, rest: tuple[Any, ...]) -> tuple[int, ...]:
        """Return the shape of one step at the positions `rest`."""
        return np.broadcast_to(np.float32(0), self.shape[1:])[rest].shape

    def _times(self, wanted: np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        """Return the values of the canonical steps `wanted`, in that order."""
        assert self.plan is not None
        days, lengths = self.plan.days[wanted], self.plan.lengths[wanted]
        if not wanted.size or (self.plan.is_identity and not self.extra):
            return self.decoding.finish(
                self.read((_as_slice(self.plan.first[wanted]), *rest)), days, lengths
            )
        out = np.full((wanted.size, *self._lead(rest)), np.nan, np.float32)
        step = self._steps_at_once(rest, self.plan.expected)
        for begin in range(0, wanted.size, step):
            part = slice(begin, begin + step)
            self._fill(out[part], wanted[part], rest)
        return self.decoding.finish(out, days, lengths)

    def _fill(self, out: np.ndarray, wanted: np.ndarray, rest: tuple[Any, ...]) -> None:
        assert self.plan is not None
        first, count = self.plan.first[wanted], self.plan.count[wanted]
        present = np.flatnonzero(count)
        if not present.size:
            return
        low, high = int(first[present].min()), int((first + count)[present].max())
        values = self.read((slice(low, high), *rest))
        for index in present:
            begin = first[index] - low
            steps = values[begin : begin + count[index]]
            out[index] = steps[0] if self.plan.expected == 1 else self._day(steps)

    def _day(self, steps: np.ndarray) -> np.ndarray:
        """Return the value of one day from its steps; NaN if too few of them are valid."""
        assert self.plan is not None
        method, expected = self.decoding.cell_method, self.plan.expected
        valid = np.isfinite(steps)
        seen = valid.sum(0)
        if method in ("minimum", "maximum"):
            day = (np.fmin if method == "minimum" else np.fmax).reduce(steps, 0)
        else:
            total = np.where(valid, steps, 0.0).sum(0, dtype=np.float64)
            factor = 1.0 if method == "mean" else float(expected)
            day = total / np.maximum(seen, 1) * factor
        enough = seen >= max(1.0, self.decoding.min_share * expected - 1e-9)
        return np.where(enough, day, np.nan)


class Totalled(Decoded):
    """A stored running total (time, …) as lazy amounts per day in the intervals of a plan."""

    def _times(self, wanted: np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        assert self.plan is not None
        out = np.full((wanted.size, *self._lead(rest)), np.nan)
        ascending = np.argsort(wanted)
        step = self._steps_at_once(rest, 2 * self.plan.expected)
        for begin in range(0, wanted.size, step):
            part = ascending[begin : begin + step]
            self._fill_amounts(out, part, wanted[part], rest)
        return self.decoding.finish(out, self.plan.days[wanted])

    def _fill_amounts(
        self, out: np.ndarray, part: np.ndarray, wanted: np.ndarray, rest: tuple[Any, ...]
    ) -> None:
        """Fill the positions `part` of `out` with the steps `wanted`, both ascending in time."""
        assert self.plan is not None
        totals = self.plan.totals
        assert totals is not None
        first, count = totals.first[wanted], totals.count[wanted]
        present = np.flatnonzero(count)
        if not present.size:
            return
        needed = slice(int(first[present[0]]), int((first + count)[present[-1]]))
        out[part[present]] = daily_rates(
            self.read((needed, *rest), np.float64),
            totals.times[needed], totals.restarts[needed],
            totals.begins[wanted[present]], totals.ends[wanted[present]],
            min_share=self.decoding.min_share, bucket=self.decoding.bucket,
            fall=self.decoding.fall,
        )  # fmt: skip


def _as_slice(wanted: np.ndarray) -> slice:
    """Return evenly spaced positions as a slice."""
    if not wanted.size:
        return slice(0, 0)
    step = int(wanted[1] - wanted[0]) if wanted.size > 1 else 1
    stop = int(wanted[-1]) + (1 if step > 0 else -1)
    return slice(int(wanted[0]), stop if stop >= 0 else None, step)


def decoded(stored: xr.Variable, decoding: Decoding, plan: TimePlan | None) -> Decoded:
    """Return `stored` as an array of canonical values at the times of a plan."""
    is_total = decoding.cell_method == ACCUMULATED and plan is not None
    return (Totalled if is_total else Decoded)(stored, decoding, plan)


STORED = "stored"
"""Key in the encoding of canonical values with their `StoredChunks`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredChunks:
    """The chunks in which the values of a canonical variable are stored, each decoded whole."""

    cells: dict[str, int]
    """Number of cells along each dimension of space."""
    starts: np.ndarray
    """Positions of the canonical times before which a stored chunk ends."""
    steps: int
    """Number of stored steps for each canonical time."""


def stored_chunks(stored: xr.Variable, plan: TimePlan | None) -> StoredChunks:
    """Return the chunks of a stored variable, as its encoding has them; of one cell by default."""
    chunks = stored.encoding.get("preferred_chunks", {})
    cells = {str(dim): chunks.get(dim, 1) for dim in stored.dims if dim in ("y", "x", "cell")}
    if plan is None:
        return StoredChunks(cells=cells, starts=np.zeros(1, int), steps=1)
    every = np.arange(0, max(1, stored.sizes["time"]), chunks.get("time", 1))
    begins = stored.encoding.get(CHUNK_STARTS, every)
    first, count = plan.first, plan.count
    if plan.totals is not None:
        # The time at which an interval begins, the end of the one before, is read twice.
        first, count = plan.totals.first + 1, plan.totals.count - 1
    low, high = (np.searchsorted(begins, at, "right") for at in (first, first + count - 1))
    starts = 1 + np.flatnonzero(low[1:] > high[:-1])
    return StoredChunks(cells=cells, starts=np.append(0, starts), steps=plan.expected)


def lazy(stored: xr.Variable, decoding: Decoding, plan: TimePlan | None) -> xr.Variable:
    """Return `stored` as canonical values that are decoded when they are read."""
    array = decoded(stored, decoding, plan)
    data = indexing.LazilyIndexedArray(array)
    encoding: dict[str, Any] = {STORED: stored_chunks(stored, plan)}
    if chunks := stored.encoding.get("preferred_chunks"):
        encoding["preferred_chunks"] = chunks
    return xr.Variable(array.dims, data, {}, encoding)
