"""Means over months, seasons and years, climatologies, anomalies and percentiles of a time series.

`mosaic` applies them tile by tile. A period of which too little is valid (by default less than half
of its days) is NaN, whether values are missing or the series is shorter, so that a single value
never stands for a year.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input, nearest_name
from pipeline.times.periods import (
    PERIODS,
    Grouping,
    grouping,
    interval_text,
    step_days,
    time_coverage,
    without_gaps,
)

AGGREGATES = ("none", "monthly", "seasonal", "annual", "mean", "climatology", "anomaly")
"""Names of aggregates, besides percentiles such as `p10` or `p10,p50,p90`."""

MIN_VALID_SHARE = 0.5
"""Default of the smallest valid fraction of a period."""

_NAMES = {
    "monthly": "monthly mean",
    "seasonal": "seasonal mean",
    "annual": "annual mean",
    "mean": "mean over time",
    "climatology": "mean of each calendar month",
    "anomaly": "departure from the mean of its calendar month",
}
_BY_PERIOD = ("monthly", "seasonal", "annual", "climatology", "anomaly")
_CF_PERCENTILES = {0: "minimum", 50: "median", 100: "maximum"}


def check_aggregate(how: str) -> str:
    """Returns `how`; `InputError` where there is no such aggregate."""
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
    """A variable's attributes with `long_name` and `cell_methods` of the aggregate.

    CF 1.11 (appendix E) has methods for means and for the percentiles 0, 50 and 100; others, and
    anomalies, are described by the long name alone. An anomaly has no `standard_name` and no
    `valid_range`, because those describe the quantity.
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
    if how == "climatology":
        method = "mean within years time: mean over years"  # CF 1.11, section 7.4
    if method and len(percents) < 2:
        kept["cell_methods"] = f"{kept.get('cell_methods', '')} time: {method}".strip()
    return kept


def aggregate(da: xr.DataArray, how: str, min_valid_share: float = MIN_VALID_SHARE) -> xr.DataArray:
    """The aggregate of `da`, dims (time, y, x); "mean" and a percentile have dims (y, x).

    Several percentiles ("p10,p50,p90") have dims (band, y, x), with their names along "band".

    `monthly`, `seasonal` and `annual` are means of each period of the series (seasons are DJF,
    MAM, JJA, SON; a December belongs to the next year's winter), dated by its first day;
    `climatology` is the mean of each calendar month over all years, `anomaly` the departure from
    it. Months are weighted by their days where the series is monthly. A series that is a
    climatology itself (`climatology` on its time axis) is taken as a closed year.

    The result is NaN where the valid fraction of a period's full time is below `min_valid_share`.
    The full time of "mean" and percentiles is from the first step to the last, that of a calendar
    month all such months that the series touches. `aggregated_time` describes which periods are
    left out. `InputError` for an unknown aggregate, and where no period has enough steps.

    >>> time = np.arange("2001-01-01", "2001-01-04", dtype="datetime64[D]").astype("datetime64[ns]")
    >>> days = xr.DataArray(np.arange(3.0).reshape(3, 1, 1), {"time": time}, ("time", "y", "x"))
    >>> aggregate(days, "mean").values.tolist()
    [[1.0]]
    """
    check_aggregate(how)
    if how == "none":
        return da
    time = aggregated_time(da["time"], how, min_valid_share)
    weight = step_days(da["time"])
    if how == "mean":
        required = min_valid_share * step_days(without_gaps(da["time"])).sum()
        return _finish(_mean(da.values, weight, required), da, how, time)
    if how[0] == "p":
        steps = without_gaps(da["time"]).size
        found = _percentiles(da.values, _percents(how), steps, min_valid_share)
        return _finish(found, da, how, time)
    groups = grouping(da["time"], "climatology" if how == "anomaly" else how)
    kept = slice(None) if how == "anomaly" else _kept(groups, how, min_valid_share)
    means = np.stack(
        [
            _mean(da.values[groups.index == i], weight[groups.index == i], required)
            for i, required in enumerate(min_valid_share * groups.whole)
        ]
    )
    if how == "anomaly":
        return _finish(da.values - means[groups.index], da, how, time)
    return _finish(means[kept], da, how, time)


def aggregated_time(
    time: xr.DataArray, how: str, min_valid_share: float = MIN_VALID_SHARE
) -> xr.DataArray | None:
    """The time axis of the aggregate of a series on `time`; None for "mean" and percentiles.

    Periods at either end with too few steps for a valid value are left out, as are such calendar
    months. `InputError` where none remains.
    """
    check_aggregate(how)
    if how == "none":
        return time
    if how == "mean" or how[0] == "p":
        present, whole = step_days(time).sum(), step_days(without_gaps(time)).sum()
        _check_enough(time, how, np.array([present]), np.array([whole]), min_valid_share)
        return None
    groups = grouping(time, "climatology" if how == "anomaly" else how)
    _check_enough(time, how, groups.present, groups.whole, min_valid_share)
    if how == "anomaly":
        return time
    values = groups.first_days[_kept(groups, how, min_valid_share)]
    return xr.DataArray(values, dims="time", attrs=_time_attrs(time, how))


def _kept(groups: Grouping, how: str, min_valid_share: float) -> np.ndarray:
    """Positions of the periods to publish; one between others is kept even if it is missing."""
    enough = np.flatnonzero(groups.present >= min_valid_share * groups.whole)
    return enough if how == "climatology" else np.arange(enough[0], enough[-1] + 1)


def _check_enough(
    time: xr.DataArray, how: str, present: np.ndarray, whole: np.ndarray, min_valid_share: float
) -> None:
    if (present >= min_valid_share * whole).any():
        return
    span, fraction = interval_text(*time_coverage(time)), (present / whole).max()
    period = PERIODS.get(how, "calendar month") if how in _BY_PERIOD else "series without gaps"
    raise bad_input(
        f"aggregate {how}",
        f"{time.size} time steps in {span}, which make {100 * fraction:.2g} % of a whole {period}",
        f"at least {100 * min_valid_share:g} %",
        "Predict a longer series, or lower `min_valid_share`.",
    )  # fmt: skip


def _time_attrs(time: xr.DataArray, how: str) -> dict[str, object]:
    attrs = {k: v for k, v in time.attrs.items() if k not in ("units", "calendar")}
    if how == "climatology":
        period = interval_text(*time_coverage(time))
        return {**attrs, "climatology": "months", "climatology_period": period}
    return {**attrs, "period": PERIODS[how]} if how in PERIODS else attrs


def _mean(values: np.ndarray, weight: np.ndarray, required: float) -> np.ndarray:
    """Weighted mean of valid values over the first axis, float32; NaN for weights < `required`."""
    valid = ~np.isnan(values)
    known = np.tensordot(weight, valid.astype(np.float64), axes=1)
    total = np.tensordot(weight, np.where(valid, values, 0).astype(np.float64), axes=1)
    enough = known >= required
    return np.where(enough, total / np.where(enough, known, 1), np.nan).astype(np.float32)


def _percentiles(
    values: np.ndarray, percents: list[int], steps: int, min_valid_share: float
) -> np.ndarray:
    """Percentiles over the first axis, with a leading axis where there are several.

    NaN where less than `min_valid_share` of `steps` are valid.
    """
    enough = (~np.isnan(values)).sum(axis=0) / steps >= min_valid_share
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All-NaN slice")
        found = np.nanpercentile(values, percents, axis=0)
    kept = np.where(enough, found, np.nan).astype(np.float32)
    return kept if len(percents) > 1 else kept[0]


def _finish(
    values: np.ndarray, da: xr.DataArray, how: str, time: xr.DataArray | None
) -> xr.DataArray:
    coords = {dim: da[dim] for dim in ("y", "x") if dim in da.coords}
    attrs = aggregate_attrs(da.attrs, how)
    if bands := percentile_bands(how):
        coords["band"] = xr.DataArray(np.array(bands), dims="band")
        dims = ("band", "y", "x")
        return xr.DataArray(values, dims=dims, coords=coords, name=da.name, attrs=attrs)
    if time is None:
        return xr.DataArray(values, dims=("y", "x"), coords=coords, name=da.name, attrs=attrs)
    coords["time"] = time
    return xr.DataArray(values, dims=da.dims, coords=coords, name=da.name, attrs=attrs)
