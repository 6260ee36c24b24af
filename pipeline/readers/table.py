"""Tables of points (CSV, Parquet) as Datasets of locations, dims (time, cell) or (cell,).

The driver is `table`. Points are regridded for maps, or used as sites for training.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import xarray as xr

from pipeline.core.errors import Faults, bad_input, nearest_name
from pipeline.entries.source import Source
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import Driver


def open_table(source: Source) -> xr.Dataset:
    """Return the rows as (time, cell) arrays, NaN if a location has no row at a time; float64.

    Coordinates: `cell` (int64: numbers from the entry's column `cell`, else 0, 1, …), `site` (names
    from that column), `lat`, `lon`, and `time` if `dims.time` names a column. Raises `InputError`
    for missing columns, coordinates that are not degrees or change, and duplicate rows.
    """
    frames = [_frame(path, source) for path in source.opened_files]
    table = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    where = f'source "{source.name}", {source.files[0]}'
    time = source.dims.get("time")
    _check_columns(table, source, where)
    _check_positions(table, source, where)
    lat, lon = table[str(source.lat)], table[str(source.lon)]
    key = table[source.cell].astype(str) if source.cell else lat.astype(str) + "," + lon.astype(str)
    names, first, code = np.unique(key.to_numpy(str), return_index=True, return_inverse=True)
    _check_moves(lat.to_numpy(float), lon.to_numpy(float), names, first, code, where)
    cell = _cell_numbers(names, bool(source.cell))
    coords = {
        "cell": cell,
        "site": ("cell", names),
        "lat": ("cell", lat.to_numpy(float)[first]),
        "lon": ("cell", lon.to_numpy(float)[first]),
    }
    row = code
    shape: tuple[int, ...] = (names.size,)
    if time:
        stamps = _times(table[time], where, time)
        times, when = np.unique(stamps, return_inverse=True)
        row, shape = when * names.size + code, (times.size, names.size)
    _check_once(row, names, where)
    arrays = {}
    for variable in source.variables.values():
        values = np.full(shape, np.nan)
        values.ravel()[row] = _numbers(table[variable.name], where)
        arrays[variable.name] = (("time", "cell")[-len(shape) :], values)
    ds = xr.Dataset(arrays, coords=coords)
    return ds.assign_coords(time=times) if time else ds


def _frame(path: Path, source: Source) -> pd.DataFrame:
    stat = path.stat()
    try:
        return _read(path, (stat.st_mtime_ns, stat.st_size))
    except (OSError, ValueError, pyarrow.ArrowException, pd.errors.ParserError) as error:
        where = f'source "{source.name}", {path}'
        expected = "a CSV or Parquet table"
        raise unreadable(where, path, error, expected, "a Parquet table") from None


@lru_cache(maxsize=8)
def _read(path: Path, stamp: tuple[int, int]) -> pd.DataFrame:
    if path.suffix in (".parquet", ".pq"):
        return pd.read_parquet(path)
    return pd.read_csv(path, comment="#")


def _check_columns(table: pd.DataFrame, source: Source, where: str) -> None:
    faults = Faults()
    named = [source.lat, source.lon, source.cell, source.dims.get("time")]
    names = [name for name in named if name] + [v.name for v in source.variables.values()]
    known = [str(name) for name in table.columns]
    for name in dict.fromkeys(names):
        if name not in known:
            faults.add(where, f"columns {', '.join(known)}", f'a column "{name}"',
                       nearest_name(str(name), known))  # fmt: skip
    faults.raise_if_any()


def _check_positions(table: pd.DataFrame, source: Source, where: str) -> None:
    faults = Faults()
    for column, limit in ((source.lat, 90.0), (source.lon, 360.0)):
        values = _numbers(table[str(column)], where)
        bad = ~(np.abs(values) <= limit)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            faults.add(
                f"{where}: {column}", f"{values[row]:g} in row {row + 1} and {bad.sum() - 1} more",
                f"degrees from -{limit:g} to {limit:g}", "Correct or remove these rows.",
            )  # fmt: skip
    faults.raise_if_any()


def _numbers(column: pd.Series, where: str) -> np.ndarray:
    """Return a column as float64, NaN for empty fields; raises `InputError` for text."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    text = np.isnan(values) & column.notna().to_numpy()
    text &= column.astype(str).str.strip().str.lower().ne("nan").to_numpy()
    if text.any():
        row = int(np.flatnonzero(text)[0])
        raise bad_input(
            f"{where}: {column.name}", f'"{column.iloc[row]}" in row {row + 1}', "numbers",
            "Leave the field empty where a value is missing.",
        )  # fmt: skip
    return values


def _times(column: pd.Series, where: str, name: str) -> np.ndarray:
    """Return a column as datetime64[ns]; times with a time zone are converted to UTC."""
    times = pd.to_datetime(column, errors="coerce", utc=True)
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise bad_input(
            f"{where}: {name}", f'"{column.iloc[row]}" in row {row + 1}', "ISO dates or times"
        )
    return times.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")


def _check_moves(
    lat: np.ndarray, lon: np.ndarray, names: np.ndarray, first: np.ndarray, code: np.ndarray,
    where: str,
) -> None:  # fmt: skip
    moved = (lat != lat[first][code]) | (lon != lon[first][code])
    if moved.any():
        raise bad_input(
            where,
            f'"{names[code[np.flatnonzero(moved)[0]]]}" with more than one latitude or longitude',
            "one latitude and longitude for each location",
        )


def _check_once(row: np.ndarray, names: np.ndarray, where: str) -> None:
    values, counts = np.unique(row, return_counts=True)
    if (counts > 1).any():
        name = names[values[counts > 1][0] % names.size]
        raise bad_input(
            where, f'{(counts > 1).sum()} duplicate times of locations, the first at "{name}"',
            "one row for each time and location", "Drop the duplicate rows.",
        )  # fmt: skip


def _cell_numbers(names: np.ndarray, has_names: bool) -> np.ndarray:
    """Return the names as integers if the table has names and all are integers, else 0, 1, …"""
    if has_names:
        try:
            return np.asarray(names.astype(np.int64))
        except ValueError:
            pass
    return np.arange(names.size, dtype=np.int64)


DRIVER = Driver(
    name="table", open=open_table, returns="sites", is_series=True, needs=("lat", "lon")
)
