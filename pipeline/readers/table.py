"""Tables of points (CSV, Parquet) as Datasets of locations, dims (time, cell) or (cell,).

The driver is `table`. Points are regridded for maps, or used as sites for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from pipeline.core.errors import Faults, bad_input, listed, nearest_name
from pipeline.entries.source import Source
from pipeline.grid.crs import is_geographic_crs
from pipeline.readers.common.chosen import part_hint
from pipeline.readers.common.site_table import check_columns, read_options
from pipeline.readers.driver import Driver
from pipeline.readers.tables.dates import dates_of
from pipeline.readers.tables.station_tables import attributes_of, read_stations, stations_of
from pipeline.readers.tables.table_files import (
    TableOptions,
    date_columns,
    read_table,
    used_columns,
)  # fmt: skip

_NEAR = 5.0  # degrees


def open_table(source: Source) -> xr.Dataset:
    """Return the rows as (time, cell) arrays, NaN if a location has no row at a time; float64.

    Variables that are columns of the tables `stations` alone are (cell,) arrays. Coordinates:
    `cell` (int64: numbers from the entry's column `cell`, else 0, 1, …), `site` (names from that
    column), `lat`, `lon`, and `time` if `dims.time` or the options name its columns. Coordinates
    in the entry's `crs` become degrees. Raises `InputError` for missing and repeated columns,
    coordinates that are not degrees or change, unclear dates, and duplicate rows.
    """
    options = read_options(source, TableOptions)
    attributes = attributes_of(source, options)
    series = {name: v for name, v in source.variables.items() if name not in attributes}
    ds = _open_rows(source.model_copy(update={"variables": series}), options)
    if attributes:
        stations = read_stations(source, options).reindex(ds["site"].values)
        where = f'source "{source.name}", {", ".join(options.station_tables)}'
        for variable in attributes.values():
            ds[variable.name] = ("cell", _numbers(stations[variable.name], where))
    return ds


def _open_rows(source: Source, options: TableOptions) -> xr.Dataset:
    where = f'source "{source.name}", {source.files[0]}'
    time = date_columns(source, options)
    frames = _frames(source, options, time)
    table = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    if table.empty and len(table.columns):
        raise bad_input(where, "a table without rows", "at least one", "Check the file.")
    if options.wide:
        return _wide(table, source, options, time, where)
    if options.stations:
        table = _located(table, source, options, where)
    _check_columns(table, source, time, where)
    lat, lon = _positions(table, source, where)
    texts = [table[str(name)].astype(str) for name in (source.lat, source.lon)]
    key = table[source.cell].astype(str) if source.cell else texts[0] + "," + texts[1]
    code, found = pd.factorize(key, sort=True)
    names, first = found.to_numpy(str), np.unique(code, return_index=True)[1]
    _check_moves(lat, lon, names, first, code, where)
    coords = {
        "cell": _cell_numbers(names, bool(source.cell)),
        "site": ("cell", names),
        "lat": ("cell", lat[first]),
        "lon": ("cell", lon[first]),
    }
    row = code
    shape: tuple[int, ...] = (names.size,)
    if time:
        stamps = dates_of(table, time, options.date_format, where)
        times, when = np.unique(stamps, return_inverse=True)
        row, shape = when * names.size + code, (times.size, names.size)
    _check_once(row, names, where)
    arrays = {}
    for variable in source.variables.values():
        values = np.full(shape, np.nan)
        column = table[variable.name]
        if variable.as_stored and column.dtype.kind not in "iuf":
            values = np.full(shape, "", dtype=object)
            values.ravel()[row] = column.fillna("").astype(str)
        else:
            values.ravel()[row] = _numbers(column, where)
        arrays[variable.name] = (("time", "cell")[-len(shape) :], values)
    ds = xr.Dataset(arrays, coords=coords)
    return ds.assign_coords(time=times) if time else ds


def _frames(source: Source, options: TableOptions, time: Sequence[str]) -> list[pd.DataFrame]:
    """Return the rows of each file, without columns that are not used."""
    frames = (read_table(path, source, options) for path in source.opened_files)
    if options.wide:
        return list(frames)
    needed = {*time, *(variable.name for variable in source.variables.values())}
    needed |= {source.cell} if source.cell else set()
    used = {*needed, str(source.lat), str(source.lon)}
    return [used_columns(frame, used, needed if options.stations else used) for frame in frames]


def _files(source: Source) -> list[Path]:
    """Return the tables of an entry, and those of its stations."""
    stations = source.options.get("stations") or ()
    tables = (stations,) if isinstance(stations, str) else stations
    return [*source.files, *map(Path, tables)]


def _located(
    table: pd.DataFrame, source: Source, options: TableOptions, where: str
) -> pd.DataFrame:  # fmt: skip
    """Return the rows with the coordinates of their stations."""
    cell, faults = str(source.cell), Faults()
    check_columns([cell], table.columns, where, faults)
    faults.raise_if_any()
    table = table.assign(**{cell: table[cell].astype(str)})
    stations = stations_of(source, options, table[cell].unique(), "rows", where)
    return table.merge(
        stations, left_on=cell, right_index=True, how="left", suffixes=("_of_row", "")
    )


def _wide(
    table: pd.DataFrame, source: Source, options: TableOptions, time: Sequence[str], where: str
) -> xr.Dataset:
    """Return a table whose columns are stations as (time, cell)."""
    faults = Faults()
    if len(source.variables) > 1:
        raise bad_input(where, f"{len(source.variables)} variables", "the one of a wide table")
    if not time:
        faults.add(where, "a wide table without a column of times", "one, named in the entry",
                   "Set `dims: {time: …}`, or `options: {date_columns: […]}`.")  # fmt: skip
    check_columns(time, table.columns, where, faults)
    for name in table.attrs.get("repeated", ()):
        faults.add(where, f'several columns "{name}"', "each name once",
                   "Rename or remove the others.")  # fmt: skip
    faults.raise_if_any()
    names = np.array(sorted({str(name) for name in table.columns} - {*time}))
    stations = stations_of(source, options, names, "columns", where).loc[names]
    lat, lon = _positions(stations, source, f'source "{source.name}", {options.station_tables[0]}')
    stamps = dates_of(table, time, options.date_format, where)
    times, first, counts = np.unique(stamps, return_index=True, return_counts=True)
    if (counts > 1).any():
        raise bad_input(where, f"{(counts > 1).sum()} duplicate times, {listed(times[counts > 1])}",
                        "one row for each time", "Drop the duplicate rows.")  # fmt: skip
    values = np.stack([_numbers(table[name], where) for name in names], axis=1)[first]
    arrays = {v.name: (("time", "cell"), values) for v in source.variables.values()}
    coords = {"cell": _cell_numbers(names, True), "site": ("cell", names), "time": times,
              "lat": ("cell", lat), "lon": ("cell", lon)}  # fmt: skip
    return xr.Dataset(arrays, coords)


def _check_columns(
    table: pd.DataFrame, source: Source, time: Sequence[str], where: str
) -> None:  # fmt: skip
    faults = Faults()
    named = [source.lat, source.lon, source.cell, *time]
    names = [name for name in named if name] + [v.name for v in source.variables.values()]
    known = [str(name) for name in table.columns]
    for name in dict.fromkeys(names):
        if name not in known:
            one = "Set `options: {separator: …}` if its rows have more columns."
            hint = nearest_name(str(name), known) or part_hint(str(name), known)
            faults.add(where, f"columns {', '.join(known)}", f'a column "{name}"',
                       hint or (one if len(known) == 1 else ""))  # fmt: skip
        if name in table.attrs.get("repeated", ()):
            faults.add(where, f'several columns "{name}"', "each name once",
                       "Rename or remove the others.")  # fmt: skip
    faults.raise_if_any()


def _positions(
    table: pd.DataFrame, source: Source, where: str
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return latitudes and longitudes [rows] in degrees; raises `InputError` for other values."""
    lat, lon = (_numbers(table[str(name)], where) for name in (source.lat, source.lon))
    shown = lat, lon
    projected = not is_geographic_crs(source.crs)
    if projected:
        to_degrees = pyproj.Transformer.from_crs(source.crs, "EPSG:4326", always_xy=True)
        lon, lat = (np.asarray(v) for v in to_degrees.transform(lon, lat))
    faults = Faults()
    for name, values, degrees, limit in zip(
        (source.lat, source.lon), shown, (lat, lon), (90.0, 360.0), strict=True
    ):
        bad = ~(np.abs(degrees) <= limit)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            hint = "Correct or remove these rows."
            if not projected and np.fmax.reduce(np.abs(values)) > 360.0:
                hint = "Correct these rows, or set `crs` of the entry if they are metres."
            faults.add(
                f"{where}: {name}", f"{values[row]:g} in row {row + 1} and {bad.sum() - 1} more",
                f"coordinates of {source.crs}" if projected else
                f"degrees from -{limit:g} to {limit:g}", hint,
            )  # fmt: skip
    faults.raise_if_any()
    if projected:
        _check_area(lat, lon, source, where)
    return lat, lon


def _check_area(lat: np.ndarray, lon: np.ndarray, source: Source, where: str) -> None:
    """Raise `InputError` if no point is near the area for which the CRS is made."""
    area = pyproj.CRS.from_user_input(source.crs).area_of_use
    if area is None or area.west > area.east:
        return
    near = (lat >= area.south - _NEAR) & (lat <= area.north + _NEAR)
    near &= (lon >= area.west - _NEAR) & (lon <= area.east + _NEAR)
    if not near.any():
        raise bad_input(
            f"{where}: {source.lat}, {source.lon}",
            f"points such as {lat[0]:.4g} degrees north, {lon[0]:.4g} east",
            f"some in the area of {source.crs}, {area.name}",
            "Name the column of northings as `lat` and that of eastings as `lon`, or correct"
            " `crs`.",
        )  # fmt: skip


def _numbers(column: pd.Series, where: str) -> np.ndarray:
    """Return a column as float64, NaN for empty and blank fields; raises `InputError` for text."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(float, na_value=np.nan)
    text = np.isnan(values) & column.notna().to_numpy()
    text &= ~column.astype(str).str.strip().str.lower().isin(["nan", ""]).to_numpy()
    if text.any():
        row = int(np.flatnonzero(text)[0])
        raise bad_input(
            f"{where}: {column.name}", f'"{column.iloc[row]}" in row {row + 1}', "numbers",
            "Leave the field empty where a value is missing, or list its text in `options:"
            " {missing: […]}`; options also name the marks of `decimal` and `thousands`.",
        )  # fmt: skip
    return values


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
    name="table", open=open_table, returns="sites", is_series=True, needs=("lat", "lon"),
    options=TableOptions, files=_files,
)  # fmt: skip
