"""Stored variables as lazy canonical values: decoded and aggregated in time when they are read.

Nothing is kept in memory, so a class map or hourly series may be far larger than memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import InputError
from pipeline.readers.common.refusals import damaged
from pipeline.sources.decode import Decoding
from pipeline.times.plan import TimePlan

BLOCK_BYTES = 1 << 27
"""Bytes of stored values read at once when shorter steps are aggregated to days."""


class Decoded(BackendArray):
    """A stored variable (time?, y, x) or (time?, cell) as lazy values at the times of a plan."""

    def __init__(self, stored: xr.Variable, decoding: Decoding, plan: TimePlan | None) -> None:
        self.stored = stored
        self.decoding = decoding
        self.plan = plan
        lead = () if plan is None else plan.values.shape
        self.shape = (*lead, *(stored.shape if plan is None else stored.shape[1:]))
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        if self.plan is None:
            return self.decoding.finish(self._stored(key), None)
        time, rest = key[0], key[1:]
        if not isinstance(time, slice):
            return self._times(np.array([time]), rest)[0]
        return self._times(np.arange(self.shape[0])[time], rest)

    def _stored(self, key: tuple[Any, ...]) -> np.ndarray:
        try:
            raw = np.asarray(self.stored[key].values)
        except InputError:
            raise
        except (OSError, RuntimeError, ValueError, IndexError) as error:
            file = self.stored.encoding.get("source")
            raise damaged(self.decoding.where, file, error) from None
        return self.decoding.values(raw)

    def _times(self, wanted: np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        """Return the values of the canonical steps `wanted`, in that order."""
        assert self.plan is not None
        days, lengths = self.plan.days[wanted], self.plan.lengths[wanted]
        if not wanted.size or self.plan.is_identity:
            return self.decoding.finish(
                self._stored((_as_slice(self.plan.first[wanted]), *rest)), days, lengths
            )
        lead = self.stored[(slice(0, 1), *rest)].shape[1:]
        out = np.full((wanted.size, *lead), np.nan, np.float32)
        size = self.plan.expected * max(1, int(np.prod(lead))) * 8
        step = max(1, BLOCK_BYTES // size)
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
        values = self._stored((slice(low, high), *rest))
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


def _as_slice(wanted: np.ndarray) -> slice:
    """Return evenly spaced positions as a slice."""
    if not wanted.size:
        return slice(0, 0)
    step = int(wanted[1] - wanted[0]) if wanted.size > 1 else 1
    stop = int(wanted[-1]) + (1 if step > 0 else -1)
    return slice(int(wanted[0]), stop if stop >= 0 else None, step)


def lazy(stored: xr.Variable, decoding: Decoding, plan: TimePlan | None) -> xr.Variable:
    """Return `stored` as canonical values that are decoded when they are read."""
    data = indexing.LazilyIndexedArray(Decoded(stored, decoding, plan))
    chunks = stored.encoding.get("preferred_chunks")
    return xr.Variable(stored.dims, data, {}, {"preferred_chunks": chunks} if chunks else {})
