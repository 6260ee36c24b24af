"""Series and attributes of many sites as one Dataset, dims (time, cell) and (cell,).

Used by the readers of published data sets: `caravan`, `camels_us`, `ismn`, `profiles` and
`landslides`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from pipeline.core.errors import Faults, InputError, bad_input, listed, nearest_name
from pipeline.core.settings import Frozen, validated
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs
from pipeline.readers.common.first_bytes import ROWS
from pipeline.readers.common.refusals import check_format, unreadable
from pipeline.readers.driver import own_options
from pipeline.readers.tables.dates import clear_dates, unclear_dates, unclear_order

Options = TypeVar("Options", bound=Frozen)


def read_options(source: Source, model: type[Options]) -> Options:
    """Return the entry's `options` as a `model`; raises `InputError` with all their faults."""
    return validated(model, own_options(source), f'source "{source.name}": options')


def chosen_sites(
    known: Sequence[str], sites: tuple[str, ...] | str, where: str, faults: Faults
) -> list[str]:
    """Return the ids that the entry names, in its order, or all `known` ids if it names none.

    `sites` are ids, or the path of a text file with one id per line. Adds one fault each for
    unknown and for duplicate ids.
    """
    _fault_duplicates(known, where, "duplicate sites in the attributes", faults)
    if isinstance(sites, str):
        try:
            sites = tuple(line for line in Path(sites).read_text().split() if line)
        except (OSError, UnicodeDecodeError) as error:
            faults.add(f"{where}: sites", f"{sites}: {error}", "a text file with one id per line")
            return []
    _fault_duplicates(sites, f"{where}: sites", "duplicate ids", faults)
    unknown = sorted(set(sites) - set(known))
    if unknown:
        hint = nearest_name(unknown[0], known)
        faults.add(f"{where}: sites", f"unknown ids, {listed(unknown)}", "ids of the dataset", hint)
    return list(sites) if sites else list(known)


def _fault_duplicates(names: Sequence[str], where: str, what: str, faults: Faults) -> None:
    unique, counts = np.unique(np.asarray(names, dtype=str), return_counts=True)
    if (counts > 1).any():
        faults.add(where, f"{what}, {listed(unique[counts > 1])}", "each site once")


def check_columns(
    wanted: Iterable[str], known: Collection[object], where: str, faults: Faults
) -> None:
    """Add a fault for each wanted column that does not exist."""
    names = [str(name) for name in known]
    for name in dict.fromkeys(wanted):
        if name not in names:
            shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
            hint = nearest_name(name, names)
            faults.add(where, f"columns {shown}", f'a column "{name}"', hint)


def read_attributes(path: Path, key: str, faults: Faults, sep: str = ",") -> pd.DataFrame:
    """Return a table of attributes with its column `key`, as text, as index.

    Adds a fault for a file that cannot be read or lacks the column, and one for duplicate ids,
    of which the first row is kept.
    """
    expected = f'a table with the separator "{sep}"'
    try:
        check_format(str(path), path, expected, *ROWS)
        frame = pd.read_csv(path, sep=sep, dtype={key: str})
    except InputError as error:
        faults.faults += error.faults
        return pd.DataFrame()
    except (OSError, ValueError) as error:
        faults.faults += unreadable(str(path), path, error, expected, *ROWS).faults
        return pd.DataFrame()
    if key not in frame:
        check_columns([key], frame.columns, str(path), faults)
        return pd.DataFrame()
    repeated = frame[key].duplicated()
    if repeated.any():
        ids = frame[key][repeated].unique()
        faults.add(str(path), f"duplicate sites, {listed(ids)}", "each site once")
    return frame[~repeated].set_index(key)


def by_time(frame: pd.DataFrame, times: pd.Series, where: str) -> pd.DataFrame:
    """Return the columns as float64 by time; `InputError` for no row, text, or duplicate times."""
    if frame.empty:
        raise bad_input(where, "no row of values", "a row for each time",
                        "Compare it with the provider's file.")  # fmt: skip
    repeated = times.duplicated()
    if repeated.any():
        raise bad_input(where, f"duplicate times, {listed(times[repeated].unique())}",
                        "one row for each time")  # fmt: skip
    return numeric(frame, where).set_axis(pd.DatetimeIndex(times))


def parsed_dates(column: pd.Series, where: str, date_format: str | None = None) -> pd.Series:
    """Return a column as dates and times, of ISO 8601 or of the `date_format`.

    Raises `InputError` if some are missing or invalid, or state no order of day and month.
    """
    texts = column.astype("string").str.strip()
    if column.dtype.kind == "M":
        dates = column
    elif date_format is not None:
        dates = pd.to_datetime(texts, format=date_format, errors="coerce")
    else:
        unclear = unclear_order(texts)
        if unclear.any():
            rows = [f"in row {row + 1}" for row in np.flatnonzero(unclear)]
            raise unclear_dates(texts[unclear].set_axis(rows), where)
        dates = clear_dates(texts).dt.tz_localize(None)
    if dates.isna().any():
        example = str(column[dates.isna()].iloc[0])
        found = f'{int(dates.isna().sum())} rows without a date, such as "{example}"'
        raise bad_input(where, found, "a date in every row",
                        "Compare these rows with the provider's file.")  # fmt: skip
    return dates


def in_degrees(positions: pd.DataFrame, source: Source) -> pd.DataFrame:
    """Return columns (lat, lon) of numbers in the entry's `crs`, as degrees of EPSG:4326."""
    if is_geographic_crs(source.crs):
        return positions
    to_degrees = pyproj.Transformer.from_crs(source.crs, "EPSG:4326", always_xy=True)
    lat, lon = positions.columns
    x, y = to_degrees.transform(positions[lon].to_numpy(), positions[lat].to_numpy())
    return positions.assign(**{lat: y, lon: x})


def numeric(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return all columns as float64, NaN if empty; `InputError` with the columns that hold text."""
    faults = Faults()
    result = {}
    for name in frame:
        values = pd.to_numeric(frame[name], errors="coerce")
        text = values.isna() & frame[name].notna()
        if text.any():
            example = str(frame[name][text].iloc[0])
            faults.add(f"{where}: {name}", f'text in {int(text.sum())} rows, such as "{example}"',
                       "numbers", "Leave the field empty where a value is missing.",
                       )  # fmt: skip
        result[name] = values.astype(float)
    faults.raise_if_any()
    return pd.DataFrame(result, index=frame.index)


def site_table(
    source: Source,
    positions: pd.DataFrame,
    statics: pd.DataFrame,
    series: Mapping[str, pd.DataFrame] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """Return sites as a Dataset under the file's names; float32 (time, cell), float64 (cell,).

    `positions` has columns lat and lon by site, `statics` a column for each attribute, `series` a
    frame by time for each site; NaN if a site has no value at a time that another has. Units of
    the file are kept as attributes. Raises `InputError` with all of: no site, positions that are
    not degrees, duplicate sites.
    """
    where = f'source "{source.name}", {source.address}'
    series = series or {}
    names = positions.index.astype(str).to_numpy(str)
    positions = numeric(positions, where)
    _check(positions, names, where)
    arrays = {str(name): ("cell", values) for name, values in numeric(statics, where).items()}
    coords = {
        "cell": _numbers(names),
        "site": ("cell", names),
        "lat": ("cell", positions["lat"].to_numpy(float)),
        "lon": ("cell", positions["lon"].to_numpy(float)),
    }
    ds = xr.Dataset(arrays, coords)
    if series:
        ds = ds.merge(_series(source, names, series))
    for name, text in (units or {}).items():
        if name in ds:
            ds[name].attrs["units"] = text
    return ds


def _check(positions: pd.DataFrame, names: np.ndarray, where: str) -> None:
    faults = Faults()
    if not names.size:
        faults.add(where, "no site", "at least one")
    _fault_duplicates(names.tolist(), where, "duplicate sites", faults)
    for column, limit in (("lat", 90.0), ("lon", 360.0)):
        bad = names[~(np.abs(positions[column].to_numpy(float)) <= limit)]
        if bad.size:
            faults.add(f"{where}: {column}", f"no degrees at sites, {listed(bad)}",
                       f"degrees from -{limit:g} to {limit:g}", "Correct or leave out these sites.",
                       )  # fmt: skip
    faults.raise_if_any()


def _series(source: Source, names: np.ndarray, series: Mapping[str, pd.DataFrame]) -> xr.Dataset:
    """Return the series on the union of the sites' times, within the entry's period if any."""
    times = np.unique(np.concatenate([frame.index.to_numpy("datetime64[ns]")
                                      for frame in series.values()]))  # fmt: skip
    if source.time.period is not None:
        first, last = (np.datetime64(day, "D") for day in source.time.period)
        # Days need not begin at midnight.
        times = times[(times >= first - 1) & (times < last + 2)]
    if not times.size:
        where = f'source "{source.name}", {source.address}'
        raise bad_input(where, "no day of the period in any file",
                        "series with values in it", "Change `time: {period: [...]}`.")  # fmt: skip
    columns = list(dict.fromkeys(str(name) for frame in series.values() for name in frame))
    values = {name: np.full((times.size, names.size), np.nan, np.float32) for name in columns}
    for index, name in enumerate(names):
        frame = series[name]
        stamps = frame.index.to_numpy("datetime64[ns]")
        row = np.searchsorted(times, stamps).clip(max=times.size - 1)
        inside = times[row] == stamps
        for column in frame:
            values[str(column)][row[inside], index] = frame[column].to_numpy(np.float32)[inside]
    return xr.Dataset({name: (("time", "cell"), v) for name, v in values.items()}, {"time": times})


def _numbers(names: np.ndarray) -> np.ndarray:
    """Return the ids as integers if all are and they differ, else 0, 1, …"""
    if all(name.isdigit() and len(name) < 19 for name in names):
        numbers = names.astype(np.int64)
        if np.unique(numbers).size == numbers.size:
            return np.asarray(numbers)
    return np.arange(names.size, dtype=np.int64)
