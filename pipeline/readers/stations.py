"""NetCDF files of time series at stations, as Datasets of locations (driver `stations`).

The files follow CF section 9 (discrete sampling geometries): series on one time axis, or with
the times of each station, also as ragged arrays.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import LIBRARY_ERRORS, Faults, bad_input, listed, nearest_name
from pipeline.core.settings import Frozen
from pipeline.entries.source import Source
from pipeline.readers.common.first_bytes import NETCDF, PACKED
from pipeline.readers.common.packing import nodata_of, unpacked
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.common.site_table import in_degrees, parsed_dates, read_options
from pipeline.readers.driver import Driver, common_options
from pipeline.readers.guards.hdf5 import check_hdf5
from pipeline.readers.tables.ragged import orthogonal


class StationOptions(Frozen):
    """Options of an entry with the driver `stations`."""

    date_format: str | None = None
    """Format of times that are texts and not ISO 8601, such as "%d.%m.%Y"."""
    exclude: tuple[str, ...] = ()
    """Stations that are left out, by the name in the variable of the entry's `cell`, such as
    ["05057200"]; in quotes, because YAML reads some numbers that begin with 0 as octal ones."""


def open_stations(source: Source) -> xr.Dataset:
    """Return the variables with dims (time, cell) or (cell,), with the values of the file.

    The station dim is that of `lat` and `lon`. Coordinates: `cell` (int64: the numbers in the
    variable named by the entry's `cell`, else 0, 1, …), `site` (names), `lat`, `lon`, and `time`.
    Raises `InputError` with all of: missing variables, other dims, latitudes and longitudes that
    are not degrees, duplicate stations.
    """
    path = source.files[0]
    where, nodata = f'source "{source.name}", {path}', nodata_of(source, library=True)
    try:
        copy, stored = plain_copy(path), dict.fromkeys(nodata, False)
        check_hdf5(copy, where, common_options(source).trust)
        with xr.open_dataset(copy, mask_and_scale=stored, engine="netcdf4") as file:
            ds = unpacked(file, nodata, where).load()
    except LIBRARY_ERRORS as error:
        raise unreadable(where, path, error, "a whole NetCDF file", *NETCDF, *PACKED) from None
    ds = _dated(ds, source, where)
    lat, lon, time = str(source.lat), str(source.lon), source.dims.get("time", "time")
    _check_names(ds, source, where)
    (station,) = ds[lat].dims if ds[lat].ndim == 1 else (None,)
    if station is not None:
        ds = orthogonal(ds, [v.name for v in source.variables.values()], str(station), time, where)
    _check_dims(ds, source, where, station, time)
    positions = in_degrees(
        pd.DataFrame({"lat": ds[lat].values.astype(float), "lon": ds[lon].values.astype(float)}),
        source,
    )
    names = ds[source.cell].values.astype(str) if source.cell else _position_names(ds[lat], ds[lon])
    _check_stations(positions["lat"].to_numpy(), positions["lon"].to_numpy(), names, where)
    arrays = {}
    for variable in source.variables.values():
        da = ds[variable.name]
        arrays[variable.name] = da.transpose(*(d for d in (time, station) if d in da.dims))
    numbers = names.astype(np.int64) if source.cell and _are_integers(names) else None
    result = xr.Dataset({name: da.drop_vars(list(da.coords)) for name, da in arrays.items()})
    result = result.rename({str(station): "cell"} | ({time: "time"} if time in result.dims else {}))
    result = result.assign_coords(
        cell=np.arange(names.size, dtype=np.int64) if numbers is None else numbers,
        site=("cell", names),
        lat=("cell", positions["lat"].to_numpy()),
        lon=("cell", positions["lon"].to_numpy()),
    )
    if "time" in result.dims:
        result = result.assign_coords(time=ds[time].values)
    exclude = read_options(source, StationOptions).exclude
    return _without(result, exclude, where) if exclude else result


def _without(ds: xr.Dataset, stations: tuple[str, ...], where: str) -> xr.Dataset:
    """Return the other stations, and the number of those left out as an attribute.

    The file may lack some of `stations`, as an excerpt does; `InputError` where it has none.
    """
    names = ds["site"].values.astype(str)
    kept = np.flatnonzero(~np.isin(names, stations))
    if kept.size == names.size:
        raise bad_input(
            f"{where}: options.exclude", f"no station of these names, {listed(stations)}",
            "names in the variable of the entry's `cell`", nearest_name(stations[0], names),
        )  # fmt: skip
    return ds.isel(cell=kept).assign_attrs(left_out_stations=names.size - kept.size)


def _dated(ds: xr.Dataset, source: Source, where: str) -> xr.Dataset:
    """Return the dataset with times instead of texts of times."""
    name = source.dims.get("time", "time")
    if name not in ds.variables or ds[name].dtype.kind not in "OUST":
        return ds
    form = read_options(source, StationOptions).date_format
    texts = ds[name].values
    texts = np.char.decode(texts) if texts.dtype.kind == "S" else texts
    dates = parsed_dates(pd.Series(texts.ravel()), f"{where}: {name}", form)
    times = dates.to_numpy("datetime64[ns]").reshape(ds[name].shape)
    return ds.assign_coords({name: (ds[name].dims, times)})


def _are_integers(names: np.ndarray) -> bool:
    return all(name.lstrip("-").isdigit() for name in names)


def _position_names(lat: xr.DataArray, lon: xr.DataArray) -> np.ndarray:
    return np.array([f"{a:g},{b:g}" for a, b in zip(lat.values, lon.values, strict=True)])


def _check_names(ds: xr.Dataset, source: Source, where: str) -> None:
    faults = Faults()
    wanted = [source.lat, source.lon, source.cell] + [v.name for v in source.variables.values()]
    known = [str(name) for name in ds.variables]
    for name in dict.fromkeys(name for name in wanted if name):
        if name not in known:
            faults.add(where, f"variables {', '.join(known) or 'none'}", f'a variable "{name}"',
                       nearest_name(str(name), known))  # fmt: skip
    faults.raise_if_any()


def _check_dims(ds: xr.Dataset, source: Source, where: str, station: object, time: str) -> None:
    faults = Faults()
    for name in (str(source.lat), str(source.lon)):
        if ds[name].dims != (station,):
            faults.add(f"{where}: {name}", f"dims {ds[name].dims}", "the dim of the stations alone")
    for variable in source.variables.values():
        dims = set(ds[variable.name].dims)
        if dims not in ({station}, {station, time}):
            faults.add(
                f"{where}: {variable.name}", f"dims {ds[variable.name].dims}",
                f"({station},) or ({time}, {station})", "Name the axis of times under `dims`.",
            )  # fmt: skip
    faults.raise_if_any()


def _check_stations(lat: np.ndarray, lon: np.ndarray, names: np.ndarray, where: str) -> None:
    faults = Faults()
    for name, values, limit in (("latitude", lat, 90.0), ("longitude", lon, 360.0)):
        bad = names[~(np.abs(values) <= limit)]
        if bad.size:
            faults.add(f"{where}: {name}", f"no degrees at stations, {listed(bad)}",
                       f"degrees from -{limit:g} to {limit:g}")  # fmt: skip
    unique, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        faults.add(where, f"duplicate stations, {listed(unique[counts > 1])}", "each station once")
    faults.raise_if_any()


DRIVER = Driver(
    name="stations",
    open=open_stations,
    returns="sites",
    needs=("lat", "lon"),
    options=StationOptions,
)
