"""Block-wise reading of lazy variables: windows of rows and columns, slices of time.

Called from `regrid`; a lazy source is never read whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

from pipeline.regridding.operators import Separable, Window

_BLOCK_BYTES = 1 << 28  # lazy source data that are read at once


def read_window(da: xr.DataArray, times: slice, window: Window) -> np.ndarray:
    """The window of `da` (..., y, x) as an array (t, y, x); `times` counts over leading dims.

    A lazy variable is indexed before its dims change: to stack or expand them would read it whole.
    """
    if da.dims[-1] == "cell":
        return _read_window(da.variable, times, (), window.cols)[:, None]
    return _read_window(da.variable, times, (window.rows,), window.cols)


def leading(da: xr.DataArray) -> tuple[int, ...]:
    """Lengths of the dims before those of space, which are y and x, or cell."""
    return da.shape[: -1 if da.dims[-1] == "cell" else -2]


def _read_window(
    variable: xr.Variable, times: slice, rows: tuple[slice, ...], cols: slice | np.ndarray
) -> np.ndarray:
    """Values (t, y, x), or (t, cell) without `rows`."""
    if isinstance(cols, slice) or variable._in_memory:
        return _read(variable, times, (*rows, cols))
    if not cols.size:
        return _read(variable, times, (*rows, slice(0, 0)))
    pieces = []
    for run in np.split(cols, np.flatnonzero(np.abs(np.diff(cols)) != 1) + 1):
        low, high = int(run.min()), int(run.max()) + 1
        piece = _read(variable, times, (*rows, slice(low, high)))
        pieces.append(piece if run[0] == low else piece[..., ::-1])
    return np.concatenate(pieces, axis=-1)


def _read(
    variable: xr.Variable, times: slice, space: tuple[slice | np.ndarray, ...]
) -> np.ndarray:  # fmt: skip
    """Values (t, *space) of `variable` (..., *space); `times` counts over its leading dims."""
    lead = variable.shape[: -len(space)]
    if len(lead) == 1:
        return _values(variable[(times, *space)])
    if not lead:
        return _values(variable[space])[None][times]
    steps = [np.unravel_index(i, lead) for i in range(math.prod(lead))[times]]
    return np.stack([_values(variable[(*map(int, step), *space)]) for step in steps])


def _values(variable: xr.Variable) -> np.ndarray:
    """The values; Dask arrays are computed in this thread, which may be a Dask task itself."""
    return np.asarray(variable.compute(scheduler="synchronous").values)


def blocks(da: xr.DataArray, operator: Separable) -> Iterator[tuple[slice, slice]]:
    """Pairs of times and target rows to process together: one pair, or bounded blocks if lazy."""
    rows = slice(0, operator.shape[0])
    if da.variable._in_memory:
        yield slice(0, math.prod(da.shape[:-2])), rows
        return
    _, window = operator.within
    size = window.height * window.width * da.dtype.itemsize
    count = -(-size // _BLOCK_BYTES)
    step = max(1, -(-operator.shape[0] // count))
    for first in range(0, operator.shape[0], step):
        strip = slice(first, min(first + step, operator.shape[0]))
        _, window = operator.part(strip).within
        for times in time_blocks(da, window):
            yield times, strip


def time_blocks(da: xr.DataArray, window: Window) -> Iterator[slice]:
    """Slices over the leading dims whose windows fit a block, whole source chunks if possible."""
    count, lead = math.prod(leading(da)), len(leading(da))
    fit = max(1, _BLOCK_BYTES // max(1, window.height * window.width * da.dtype.itemsize))
    chunks = da.encoding.get("preferred_chunks", {}).get(da.dims[0], 1) if lead == 1 else 1
    step = max(1, fit // chunks * chunks if fit >= chunks else fit)
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))
