"""months_of(): the months of the steps of a climatology, by its coordinate."""

from __future__ import annotations

import re

import cftime
import numpy as np
import xarray as xr

NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def months_of(time: xr.DataArray) -> np.ndarray | None:
    """Return the months [12], from 1 to 12, of the steps of a climatology; None if unknown.

    They are the dates, numbers or names of the coordinate, if each month occurs once. Dates from
    the first of February to that of January are the ends of January to December.

    >>> months_of(xr.DataArray([12, *range(1, 12)], dims="month")).tolist()[:3]
    [12, 1, 2]
    """
    values = np.asarray(time.values)
    dates = _dates(values, time.attrs)
    if dates is not None:
        found = np.array([date.month for date in dates])
        if all(date.day == 1 and not date.hour for date in dates) and found[0] == 2:
            found = (found - 2) % 12 + 1
    elif values.dtype.kind in "iuf" and "since" not in str(time.attrs.get("units", "")):
        found = np.rint(values - min(1.0, float(values.min())) + 1).astype(int)
    elif values.dtype.kind in "UO":
        texts = [str(value).strip().lower()[:3] for value in values]
        found = np.array([NAMES.index(text) + 1 if text in NAMES else 0 for text in texts])
    else:
        return None
    return found if sorted(found.tolist()) == list(range(1, 13)) else None


def _dates(values: np.ndarray, attrs: dict[str, str]) -> list[cftime.datetime] | None:
    """Return the dates of times or of numbers since a date; None for other values."""
    if values.dtype.kind == "M":
        texts = np.datetime_as_string(values, "s").tolist()
        return [cftime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S") for text in texts]
    if values.dtype == object and all(isinstance(value, cftime.datetime) for value in values):
        return list(values)
    units = str(attrs.get("units", ""))
    if values.dtype.kind not in "iuf" or "since" not in units:
        return None
    months = re.match(r"months? since (\d+)-(\d+)-0?1\b", units)
    if months:
        counted = np.floor(values).astype(int) + int(months[2]) - 1
        return [cftime.datetime(2001, int(month % 12) + 1, 15) for month in counted]
    try:
        calendar = str(attrs.get("calendar", "standard"))
        return list(np.atleast_1d(cftime.num2date(values, units, calendar)))
    except (ValueError, OverflowError):
        return None
