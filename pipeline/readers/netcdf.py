"""One opener a driver: the files of a catalog entry as a Dataset, lazy where the format allows.

Upstream: catalog.py. Downstream: sources.py crops. Values come unpacked; nothing is renamed here.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr

from pipeline.catalog.catalog import Source
from pipeline.catalog.file_series import pattern_keys, step_date
from pipeline.core.errors import Faults, InputError, bad_input, nearest_name
from pipeline.readers.camels_us import open_camels
from pipeline.readers.caravan import open_caravan
from pipeline.readers.dims import USUAL
from pipeline.readers.grib import read_grib
from pipeline.readers.ismn import open_ismn
from pipeline.readers.landslides import open_landslides
from pipeline.readers.packing import Nodata, nodata_of, unpacked
from pipeline.readers.profiles import open_profiles
from pipeline.readers.raster import evenly_packed, read_raster
from pipeline.readers.series import joined
from pipeline.readers.stations import open_stations
from pipeline.readers.table import open_table
from pipeline.readers.wrf_coordinates import plain_coordinates

INSTALL = "Run `make data`, or set STEFALAND_DATA to the folder that holds it."
OPEN_FILES = 512
"""Files whose metadata a process remembers; the bytes stay on disk."""


def _open_files(source: Source) -> xr.Dataset:
    """The one file of a source, or its many as one series in time."""
    if len(source.series) == 1:
        return READERS[source.driver](source, source.files[0])
    stamps = tuple(path.stat().st_mtime_ns for path in source.opened.values())
    return _series(source, stamps).copy()


@lru_cache(maxsize=64)
def _series(source: Source, stamps: tuple[int, ...]) -> xr.Dataset:
    """The files joined; remembered by the process until one changes, for there may be thousands."""
    files, datasets, faults = source.opened, [], Faults()
    for path in files.values():
        try:
            datasets.append(READERS[source.driver](source, path))
        except InputError as error:
            faults.faults += error.faults
    faults.raise_if_any()
    time = _time_name(source, datasets[0])
    if source.driver == "raster":
        datasets = evenly_packed(datasets, source)
    ds = joined(datasets, time, source)
    dated = "year" in pattern_keys(source.uri) and time not in ds.coords
    if dated and ds.sizes[time] == len(files):
        dates = [step_date(step) for step in files]
        ds = ds.assign_coords({time: np.array(dates, "datetime64[ns]")})
    return ds


def _time_name(source: Source, ds: xr.Dataset) -> str:
    """The axis of times, or the one time of a file without such an axis."""
    named = source.dims.get("time")
    usual = (name for names in (ds.dims, ds.coords) for name in USUAL["time"] if name in names)
    return named or next(usual, "time")


def _netcdf(source: Source, path: Path) -> xr.Dataset:
    ds = _dataset(path, source)
    return _redealt(ds, _chosen(ds, source, path), source)


def _dataset(path: Path, source: Source) -> xr.Dataset:
    """A NetCDF or GRIB file opened, remembered by the process until the file changes."""
    stat = path.stat()
    stamp = (stat.st_mtime_ns, stat.st_size)
    keys = tuple(sorted(source.options.get("filter_by_keys", {}).items()))
    where = f'source "{source.name}", {path}'
    nodata = tuple(nodata_of(source).items())
    try:
        return _opened(path, stamp, source.driver, source.time.kind == "file", keys, nodata, where)
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise unreadable(source, path, error) from None


@lru_cache(maxsize=OPEN_FILES)
def _opened(
    path: Path, stamp: tuple[int, int], driver: str, has_times: bool, keys: tuple[Any, ...],
    nodata: tuple[tuple[str, Nodata], ...], where: str,
) -> xr.Dataset:  # fmt: skip
    if driver == "netcdf":
        stored = {name: False for name, _ in nodata}
        ds = xr.open_dataset(path, decode_times=has_times, mask_and_scale=stored, cache=False)
        return unpacked(ds, dict(nodata), where)
    return read_grib(path, dict(keys))


def _open_grib(source: Source) -> xr.Dataset:
    if importlib.util.find_spec("cfgrib") is None:
        raise bad_input(
            f'source "{source.name}"', "no reader of GRIB files", "the package cfgrib",
            "Run `pip install 'stefaland[grib]'`.",
        )  # fmt: skip
    return _open_files(source)


def _redealt(ds: xr.Dataset, chosen: xr.Dataset, source: Source) -> xr.Dataset:
    """The variables whose time steps are dealt out among several, put together again."""
    time = source.dims.get("time", "time")
    for entry in source.variables.values():
        if not entry.records:
            continue
        spread = xr.concat([ds[name].load() for name in entry.records], "record")
        dealt = spread.transpose(time, "record", ...).values
        steps = dealt.shape[0]
        flat = dealt.reshape(-1, *dealt.shape[2:])[entry.layer * steps : (entry.layer + 1) * steps]
        template = ds[entry.name].transpose(time, ...)
        chosen[entry.name] = template.copy(data=flat)
    return chosen


def _zarr(source: Source, path: Path) -> xr.Dataset:
    nodata = nodata_of(source)
    try:
        ds = xr.open_zarr(
            path, chunks=None, decode_times=source.time.kind == "file",
            mask_and_scale=dict.fromkeys(nodata, False),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise unreadable(source, path, error) from None
    return _chosen(unpacked(ds, nodata, f'source "{source.name}", {path}'), source, path)


def _raster(source: Source, path: Path) -> xr.Dataset:
    try:
        return read_raster(source, path)
    except rasterio.RasterioIOError as error:
        raise unreadable(source, path, error) from None


def _open_npz(source: Source) -> xr.Dataset:
    lat, lon = (_npz_axis(source, which) for which in ("lat", "lon"))
    arrays = {}
    for variable in source.variables.values():
        stacked = _npz_values(
            tuple(source.files), variable.name, variable.probabilities, source.name
        )
        arrays[variable.name] = (("time", "y", "x"), stacked)
    return xr.Dataset(arrays, coords={"y": lat, "x": lon})


def _npz_axis(source: Source, which: str) -> np.ndarray:
    """Latitudes or longitudes: of their own file (1-D or a constant 2-D field), or an array."""
    given = getattr(source, which)
    if given is None:
        raise bad_input(f'source "{source.name}": {which}', "nothing", "a file or an array name")
    if given.endswith(".npz"):
        values = _load_npz(Path(given), "arr_0", source.name)
    else:
        values = _load_npz(source.files[0], given, source.name)
    if values.ndim == 2:
        values = values[:, 0] if which == "lat" else values[0]
    return values.astype(np.float64)


@lru_cache(maxsize=64)
def _load_npz(path: Path, name: str, source: str) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if name not in archive:
                hint = nearest_name(name, archive.files)
                found = f"arrays {', '.join(archive.files)}"
                raise bad_input(f'source "{source}", {path}', found, f'an array "{name}"', hint)
            return archive[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise bad_input(
            f'source "{source}", {path}', f"{type(error).__name__}: {error}", "a NumPy archive",
            INSTALL,
        ) from None  # fmt: skip


@lru_cache(maxsize=4)
def _npz_values(
    files: tuple[Path, ...], name: str, probabilities: str | None, source: str
) -> np.ndarray:
    """[T, y, x] float32; decoded once a process."""
    if probabilities is not None:
        levels = _load_npz(files[0], name, source).astype(np.float64)
        weights = _load_npz(files[0], probabilities, source).astype(np.float64)
        total = np.nansum(weights, -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(total > 0, np.nansum(levels * weights, -1) / total, np.nan)
        _load_npz.cache_clear()
        return np.moveaxis(mean, 2, 0).astype(np.float32)
    months = [_load_npz(path, name, source).astype(np.float32) for path in files]
    _load_npz.cache_clear()
    return np.stack(months)


def _chosen(ds: xr.Dataset, source: Source, path: Path) -> xr.Dataset:
    """The entry's variables, and latitudes, longitudes and times as coordinates."""
    faults = Faults()
    names = [variable.name for variable in source.variables.values()]
    for name in names:
        if name not in ds:
            known = [str(known) for known in ds.data_vars]
            faults.add(
                f'source "{source.name}", {path}', f"variables {', '.join(known) or 'none'}",
                f'a variable "{name}"', nearest_name(name, known),
            )  # fmt: skip
    faults.raise_if_any()
    named = (source.lat, source.lon, source.dims.get("time"))
    places = {str(n) for n in named if n in ds.variables}
    places |= {
        str(n)
        for n in ds.variables
        if ds[n].ndim == 2 and ds[n].attrs.get("standard_name") in ("latitude", "longitude")
    }
    mappings = {str(ds[n].attrs.get("grid_mapping", "")).split(":")[0] for n in names}
    kept = places | {name for name in mappings if name in ds.variables}
    chosen = ds.set_coords(sorted(kept))[names]
    return plain_coordinates(chosen, source, f'source "{source.name}", {path}')


def unreadable(source: Source, path: Path, error: Exception) -> InputError:
    """The error of a file that its reader refuses."""
    return bad_input(
        f'source "{source.name}", {path}', f"a file that cannot be read ({error})",
        f"a whole {source.driver} file", "Fetch it again: it may be truncated.",
    )  # fmt: skip


READERS: dict[str, Callable[[Source, Path], xr.Dataset]] = {
    "netcdf": _netcdf,
    "grib": _netcdf,
    "zarr": _zarr,
    "raster": _raster,
}
"""Reader of one file of each driver whose files join to a series."""
OPENERS: dict[str, Callable[[Source], xr.Dataset]] = {
    "netcdf": _open_files,
    "grib": _open_grib,
    "zarr": _open_files,
    "raster": _open_files,
    "npz": _open_npz,
    "table": open_table,
    "stations": open_stations,
    "caravan": open_caravan,
    "camels_us": open_camels,
    "profiles": open_profiles,
    "landslides": open_landslides,
    "ismn": open_ismn,
}
"""Opener of each driver that gives variables; the others have readers of their own."""
