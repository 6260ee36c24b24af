"""Bands of a map: their names, exact statistics and tags."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata as installed
from typing import Any

import numpy as np
import xarray as xr

from pipeline.core.written.characters import printable
from pipeline.times.periods import climatology_note, interval_text, time_bounds

_ROWS = 512  # number of rows read at once
_SEASONS = {12: "DJF", 3: "MAM", 6: "JJA", 9: "SON"}


@dataclass
class BandStatistics:
    """Running count, mean, sum of squares, minimum and maximum of one band's valid cells."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    def add(self, values: np.ndarray, nodata: float) -> None:
        """Add the cells of `values`, dims (y, x), except NaN and `nodata`.

        `ValueError` for infinite values.
        """
        from pipeline.publish.moments import moments  # compiled at import

        count, mean, squares, minimum, maximum = moments(values, nodata)
        if not count:
            return
        if math.isinf(minimum) or math.isinf(maximum):
            raise ValueError("infinite values")
        total, shift = self.count + count, mean - self.mean
        self.squares += squares + shift**2 * self.count * count / total
        self.mean += shift * count / total
        self.count = total
        self.minimum, self.maximum = min(self.minimum, minimum), max(self.maximum, maximum)

    def tags(self, cells: int) -> dict[str, str]:
        """GDAL's statistics tags of a band of `cells` cells; none where no cell is valid."""
        if not self.count:
            return {}
        numbers = {
            "MINIMUM": self.minimum,
            "MAXIMUM": self.maximum,
            "MEAN": self.mean,
            "STDDEV": math.sqrt(self.squares / self.count),
            "VALID_PERCENT": 100.0 * self.count / cells,
        }
        return {f"STATISTICS_{name}": repr(value) for name, value in numbers.items()}


def valued_steps(da: xr.DataArray) -> slice:
    """The steps of a map, dims (time, y, x) or (y, x), from the first to the last with any value.

    Steps within a model's warm-up have no values. All steps where no step has any.
    """
    if da.ndim == 2:
        return slice(None)
    steps = range(da.shape[0])
    first = next((i for i in steps if _has_value(da[i])), None)
    if first is None:
        return slice(None)
    last = next(i for i in reversed(steps) if _has_value(da[i]))
    return slice(first, last + 1)


def _has_value(da: xr.DataArray) -> bool:
    """Whether any cell is valid, dims (y, x); reads only up to the first valid one."""
    return any(
        not np.isnan(da[top : top + _ROWS].values).all() for top in range(0, da.shape[0], _ROWS)
    )


def names_of_bands(da: xr.DataArray) -> list[str]:
    """Names of a map's bands: months or seasons of a climatology, else dates, else the variable's.

    Follows the attributes `climatology` and `period` (month, season, year) of the time axis.
    """
    if da.ndim == 2:
        return [_name(da.attrs.get("long_name") or da.name or "value")]
    dim = str(da.dims[0])
    if dim not in da.coords:
        return [f"{da.name or 'band'} {i + 1}" for i in range(da.sizes[dim])]
    values = da[dim].values
    if values.dtype.kind != "M":
        return [_name(value) for value in values]
    times: list[datetime] = list(values.astype("datetime64[s]").astype(object))
    closed = bool(da[dim].attrs.get("climatology") or da.attrs.get("climatology"))
    period = da[dim].attrs.get("period")
    if period == "season":
        # A winter is dated by its December and named after the year of its January.
        years = ["" if closed else f" {time.year + (time.month == 12)}" for time in times]
        return [f"{_SEASONS[t.month]}{year}" for t, year in zip(times, years, strict=True)]
    if period == "year":
        return ["mean" if closed else f"{time:%Y}" for time in times]
    if closed:
        monthly = len({time.month for time in times}) == len(times)
        return [f"{time:%B}" if monthly else f"{time:%d %B}" for time in times]
    if period == "month":
        return [f"{time:%Y-%m}" for time in times]
    midnight = all(time.hour == time.minute == time.second == 0 for time in times)
    return [f"{time:%Y-%m-%d}" if midnight else time.isoformat() for time in times]


def _name(value: Any) -> str:
    """A text as the name of a band, without spaces around it, which GDAL drops."""
    return printable(str(value)).strip()


def describe(
    raster: Any,
    da: xr.DataArray,
    names: Sequence[str],
    units: str,
    metadata: Mapping[str, Any],
) -> None:
    """Write names, units, dates and provenance as tags, without the time of writing."""
    file_tags = {
        "TIFFTAG_SOFTWARE": f"stefaland {installed.version('stefaland')}",
        "TIFFTAG_IMAGEDESCRIPTION": da.attrs.get("long_name") or str(da.name or ""),
        **metadata,
    }
    raster.update_tags(
        **{
            key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in file_tags.items()
            if value not in (None, "")
        }
    )
    kept = ("standard_name", "long_name", "cell_methods", "flag_values", "flag_meanings")
    attrs = {key: da.attrs[key] for key in kept if key in da.attrs}
    texts = {
        key: " ".join(map(str, np.ravel(value))) if not isinstance(value, str) else value
        for key, value in attrs.items()
    }
    dates = _date_tags(da["time"]) if da.ndim == 3 and "time" in da.coords else [{}] * len(names)
    for number, name in enumerate(names, start=1):
        raster.set_band_description(number, name)
        raster.set_band_unit(number, units)
        raster.update_tags(number, **texts, **dates[number - 1])


def _date_tags(time: xr.DataArray) -> list[dict[str, str]]:
    """Tags of each band: its date, the days of its period, and a note on a climatology's dates."""
    note = climatology_note(time)
    tags = [
        {"time": str(value), **({"climatology": note} if note else {})}
        for value in time.values.astype("datetime64[s]")
    ]
    if "period" in time.attrs:
        for tag, (begin, end) in zip(tags, time_bounds(time), strict=True):
            tag["time_bounds"] = interval_text(begin, end - np.timedelta64(1, "s"))
    return tags
