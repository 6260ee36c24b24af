"""Means over months, seasons and years, climatologies, anomalies and percentiles of a time series.

Upstream: predictions. Downstream: `mosaic` applies one tile by tile. NaN-aware; a period in which
too little of the time is valid (less than half, unless told) is NaN, so that one value never stands
for a year.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from stefaland.errors import bad_input, nearest_name

AGGREGATES = ("none", "monthly", "seasonal", "annual", "mean", "climatology", "anomaly")
"""Names that `aggregate` takes, besides percentiles such as `p10` or `p10,p50,p90`."""

PERIODS = {"monthly": "month", "seasonal": "season", "annual": "year"}
"""What the time axis of an aggregate says in its attribute `period`."""

MIN_VALID_SHARE = 0.5

_NAMES = {
    "monthly": "monthly mean",
    "seasonal": "seasonal mean",
    "annual": "annual mean",
    "mean": "mean over time",
    "climatology": "mean of each calendar month",
    "anomaly": "departure from the mean of its calendar month",
}
_CF_PERCENTILES = {0: "minimum", 50: "median", 100: "maximum"}


def check_aggregate(how: str) -> str:
    """`how` itself; `InputError` where there is no such aggregate."""
    parts = how.split(",")
    percents = [int(part[1:]) for part in parts if re.fullmatch(r"p(\d{1,2}|100)", part)]
    if how in AGGREGATES:
        return how
    if len(percents) < len(parts):
        expected = f"one of {', '.join(AGGREGATES)}, or percentiles such as p10"
        raise bad_input("aggregate", f'"{how}"', expected, nearest_name(how, AGGREGATES))
    if percents != sorted(set(percents)):
        raise bad_input("aggregate", f'"{how}"', "percentiles in order, each once")
    return how


def percentile_bands(how: str) -> tuple[str, ...]:
    """Names of the bands of an aggregate of several percentiles; none of any other aggregate."""
    return tuple(how.split(",")) if "," in how else ()


def _percents(how: str) -> list[int]:
    return [int(part[1:]) for part in how.split(",")] if how[0] == "p" else []


def aggregate_attrs(attrs: Mapping[str, Any], how: str) -> dict[str, Any]:
    """A variable's attributes with what the aggregate makes of it: `long_name`, `cell_methods`.

    CF 1.11 (appendix E) has methods for means and for the percentiles 0, 50 and 100; others, and
    anomalies, are told by the long name alone. An anomaly loses its `standard_name` and
    `valid_range`, which are the quantity's.
    """
    kept = dict(attrs)
    if how == "none":
        return kept
    percents = _percents(how)
    if percents:
        numbers = ", ".join(map(str, percents))
        name = f"percentile{'s' if len(percents) > 1 else ''} {numbers} over time"
    else:
        name = _NAMES[how]
    if "long_name" in kept:
        kept["long_name"] = f"{kept['long_name']}, {name}"
    if how == "anomaly":
        return {k: v for k, v in kept.items() if k not in ("standard_name", "valid_range")}
    method = "mean" if not percents else _CF_PERCENTILES.get(percents[0])
    if method and len(percents) < 2:
        kept["cell_methods"] = f"{kept.get('cell_methods', '')} time: {method}".strip()
    return kept


def aggregate(da: xr.DataArray, how: str, min_valid_share: float = MIN_VALID_SHARE) -> xr.DataArray:
    """The aggregate of `da`, dims (time, y, x); "mean" and a percentile have dims (y, x).

    Several percentiles ("p10,p50,p90") have dims (band, y, x), with their names along "band".

    `monthly`, `seasonal` and `annual` are means of each period of the series (seasons are DJF,
    MAM, JJA, SON; a December belongs to the next year's winter), dated by its first day;
    `climatology` is the mean of each calendar month over all years, `anomaly` what is left
    without it. Months are weighted by their days where the series is monthly. A series that is a
    climatology itself (`climatology` on its time axis) is taken as a closed year. NaN where the
    valid share of a period's time is below `min_valid_share`.
    """
    check_aggregate(how)
    if how == "none":
        return da
    weight = step_days(da["time"])
    if how == "mean":
        return _finish(_mean(da.values, weight, min_valid_share), da, how)
    if how[0] == "p":
        return _finish(_percentiles(da.values, _percents(how), min_valid_share), da, how)
    labels = _labels(da["time"], "climatology" if how == "anomaly" else how)
    groups = np.unique(labels)
    means = np.stack(
        [_mean(da.values[labels == g], weight[labels == g], min_valid_share) for g in groups]
    )
    if how == "anomaly":
        return _finish(da.values - means[np.searchsorted(groups, labels)], da, how)
    return _finish(means, da, how)


def aggregated_time(time: xr.DataArray, how: str) -> xr.DataArray | None:
    """The time axis of the aggregate of a series on `time`; None for "mean" and percentiles."""
    check_aggregate(how)
    if how in ("none", "anomaly"):
        return time
    if how == "mean" or how[0] == "p":
        return None
    values = np.unique(_labels(time, how))
    return xr.DataArray(values, dims="time", attrs=_time_attrs(time, how))


def step_days(time: xr.DataArray) -> np.ndarray:
    """Days that each time step stands for: its month's where steps are months, else the same."""
    index = pd.DatetimeIndex(time.values)
    monthly = index.size > 1 and bool((np.diff(index.year * 12 + index.month) == 1).all())
    return np.asarray(index.days_in_month, float) if monthly else np.ones(index.size)


def _labels(time: xr.DataArray, how: str) -> np.ndarray:
    """The first day of the period that each step belongs to."""
    index = pd.DatetimeIndex(time.values)
    year, month = np.asarray(index.year), np.asarray(index.month)
    if how == "climatology":
        year = np.full_like(year, 2001)
    elif how == "annual":
        month = np.ones_like(month)
    elif how == "seasonal":
        closed = bool(time.attrs.get("climatology"))
        winter = month % 12 // 3 == 0
        # Winter is dated by its December, which lies in the year before; a climatology's too,
        # so that the four seasons are in their usual order.
        year = year - (winter & ((month != 12) | closed))
        month = np.where(winter, 12, month // 3 * 3)
    months = (year - 1970) * 12 + month - 1
    return months.astype("datetime64[M]").astype("datetime64[ns]")


def _time_attrs(time: xr.DataArray, how: str) -> dict[str, object]:
    attrs = {k: v for k, v in time.attrs.items() if k not in ("units", "calendar")}
    if how == "climatology":
        return {**attrs, "climatology": True}
    return {**attrs, "period": PERIODS[how]} if how in PERIODS else attrs


def _mean(values: np.ndarray, weight: np.ndarray, least: float) -> np.ndarray:
    """Weighted mean over the first axis of what is valid; float32."""
    valid = ~np.isnan(values)
    share = np.tensordot(weight, valid.astype(np.float64), axes=1)
    total = np.tensordot(weight, np.where(valid, values, 0).astype(np.float64), axes=1)
    enough = share >= least * weight.sum()
    return np.where(enough, total / np.where(enough, share, 1), np.nan).astype(np.float32)


def _percentiles(values: np.ndarray, percents: list[int], least: float) -> np.ndarray:
    """Percentiles over the first axis; a leading axis of them where there are several."""
    enough = (~np.isnan(values)).mean(axis=0) >= least
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found = np.nanpercentile(values, percents, axis=0)
    kept = np.where(enough, found, np.nan).astype(np.float32)
    return kept if len(percents) > 1 else kept[0]


def _finish(values: np.ndarray, da: xr.DataArray, how: str) -> xr.DataArray:
    coords = {dim: da[dim] for dim in ("y", "x") if dim in da.coords}
    attrs = aggregate_attrs(da.attrs, how)
    time = aggregated_time(da["time"], how)
    if bands := percentile_bands(how):
        coords["band"] = xr.DataArray(np.array(bands), dims="band")
        dims = ("band", "y", "x")
        return xr.DataArray(values, dims=dims, coords=coords, name=da.name, attrs=attrs)
    if time is None:
        return xr.DataArray(values, dims=("y", "x"), coords=coords, name=da.name, attrs=attrs)
    coords["time"] = time
    return xr.DataArray(values, dims=da.dims, coords=coords, name=da.name, attrs=attrs)
