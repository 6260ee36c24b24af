"""Seams in time: changes of a map series at the boundaries of the windows that a model predicts."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

BOUNDARIES = "window_boundaries"
"""Attribute of a cube of predictions: the times at which a window begins or ends to count."""
LARGEST_RATIO = 3.0
"""Ratio of the changes at boundaries to those of other steps, above which they may stand out."""
RARE = 0.99
"""Fraction of all other steps whose change is smaller, above which it is no weather."""
_BLOCK = 64 * 2**20  # bytes that are read at once
_MOST = 0.25  # of the steps may be boundaries; with more there is nothing to compare them with


def seam_ratio(da: xr.DataArray, boundaries: NDArray[np.datetime64]) -> float:
    """Ratio of the changes of a map series, dims (time, y, x), at boundaries to those elsewhere.

    A change is the mean over cells of the absolute difference from the step before; of both groups
    of steps the median counts. NaN where there is no boundary or too many, and infinity where the
    series changes at boundaries alone.

    >>> time = np.arange("2001-01-01", "2001-01-21", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> values = np.arange(20.0) + 5 * (np.arange(20) > 9)
    >>> da = xr.DataArray(values[:, None, None], {"time": time}, ("time", "y", "x"))
    >>> seam_ratio(da, time[[10]])
    6.0
    """
    return _ratio(*_changes(da, boundaries))


def stands_out(da: xr.DataArray, boundaries: NDArray[np.datetime64]) -> float | None:
    """The ratio of `seam_ratio` where it is too large to be weather, else None.

    It must exceed `LARGEST_RATIO`, and the changes at boundaries those of `RARE` of other steps.
    """
    changes, at = _changes(da, boundaries)
    ratio = _ratio(changes, at)
    if not ratio > LARGEST_RATIO:
        return None
    return ratio if np.median(changes[at]) > np.quantile(changes[~at], RARE) else None


def _ratio(changes: NDArray[np.float64], at: NDArray[np.bool_]) -> float:
    if not 0 < at.sum() <= _MOST * len(at):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.median(changes[at]) / np.median(changes[~at]))


def _changes(
    da: xr.DataArray, boundaries: NDArray[np.datetime64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The change [n] of each step that has one, and whether it is a boundary."""
    size = max(1, _BLOCK // max(1, da.nbytes // max(1, da.sizes["time"])))
    blocks = []
    for first in range(1, da.sizes["time"], size):
        steps = da.isel(time=slice(first - 1, first + size)).load()
        change = abs(steps.diff("time"))
        blocks.append(change.mean([dim for dim in da.dims if dim != "time"], dtype=np.float64))
    if not blocks:
        return np.zeros(0), np.zeros(0, bool)
    change = xr.concat(blocks, "time")
    known = np.isfinite(change.values)
    return change.values[known], np.isin(change["time"].values, boundaries)[known]
