"""open_source(): a catalog entry's files as a lazy Dataset, as found, cropped to a window.

Upstream: catalog.py. Downstream: canonical.py, which renames, rescales and checks. One opener per
driver; nothing here interpolates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import rioxarray
import xarray as xr

from pipeline.catalog import Source
from stefaland.errors import Faults, InputError, bad_input, nearest_name

Window = tuple[float, float, float, float]
"""west, south, east, north in the source's CRS."""
MARGIN = 2.0
"""Cells kept around a window, for methods that look at neighbours."""
INSTALL = "Run `make data`, or set STEFALAND_DATA to the folder that holds it."


def open_source(
    source: Source, window: Window | None = None, margin: float | None = None
) -> xr.Dataset:
    """The source's variables under their file names, lazy where the format allows.

    Dims as in the file; npz has (time, y, x). A `window` crops to the cells that overlap it and
    `margin` cells more (by default what the source's method looks at), to all longitudes where
    that crosses the file's seam. Raises `InputError` for missing files and variables.
    """
    faults = Faults()
    check_files(source, faults)
    faults.raise_if_any()
    ds = _OPENERS[source.driver](source)
    return ds if window is None else _cropped(ds, source, window, margin)


def check_files(source: Source, faults: Faults) -> bool:
    """Add a fault for every file that is missing or empty; gives whether all are there."""
    bad = len(faults.faults)
    for path in source.files:
        where = f'source "{source.name}", {path}'
        if not path.exists():
            faults.add(where, "no such file", "the data of the catalog entry", INSTALL)
        elif path.is_file() and path.stat().st_size == 0:
            faults.add(where, "an empty file", "the data of the catalog entry", INSTALL)
    return len(faults.faults) == bad


def _open_netcdf(source: Source) -> xr.Dataset:
    path = source.files[0]
    try:
        ds = xr.open_dataset(path, decode_times=source.time.kind == "file", mask_and_scale=True)
    except (OSError, ValueError) as error:
        raise _unreadable(source, path, error) from None
    return _redealt(ds, _chosen(ds, source), source)


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


def _open_zarr(source: Source) -> xr.Dataset:
    try:
        return _chosen(xr.open_zarr(source.files[0], chunks=None), source)
    except (OSError, ValueError, KeyError) as error:
        raise _unreadable(source, source.files[0], error) from None


def _open_raster(source: Source) -> xr.Dataset:
    path = source.files[0]
    try:
        da = rioxarray.open_rasterio(path, cache=False, masked=False)
    except rasterio.RasterioIOError as error:
        raise _unreadable(source, path, error) from None
    assert isinstance(da, xr.DataArray)
    bands = {}
    for variable in source.variables.values():
        number = int(variable.name.removeprefix("band_"))
        if number not in da["band"].values:
            raise bad_input(
                f'source "{source.name}", {path}',
                f"{da.sizes['band']} bands",
                f"a band {number} for {variable.name}",
            )
        band = da.sel(band=number, drop=True)
        bands[variable.name] = band
    return xr.Dataset(bands)


def _open_npz(source: Source) -> xr.Dataset:
    lat, lon = (_axis(source, which) for which in ("lat", "lon"))
    arrays = {}
    for variable in source.variables.values():
        stacked = _npz_values(
            tuple(source.files), variable.name, variable.probabilities, source.name
        )
        arrays[variable.name] = (("time", "y", "x"), stacked)
    rows = slice(source.trim_start[0], lat.size - source.trim[0])
    cols = slice(source.trim_start[1], lon.size - source.trim[1])
    ds = xr.Dataset(arrays, coords={"y": lat, "x": lon})
    return ds.isel(y=rows, x=cols)


def _axis(source: Source, which: str) -> np.ndarray:
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
    except (OSError, ValueError, EOFError) as error:
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


def _chosen(ds: xr.Dataset, source: Source) -> xr.Dataset:
    faults = Faults()
    names = [variable.name for variable in source.variables.values()]
    for name in names:
        if name not in ds:
            known = [str(known) for known in ds.data_vars]
            faults.add(
                f'source "{source.name}", {source.files[0]}', f"variables {', '.join(known)}",
                f'a variable "{name}"', nearest_name(name, known),
            )  # fmt: skip
    faults.raise_if_any()
    return ds[names]


def _unreadable(source: Source, path: Path, error: Exception) -> InputError:
    return bad_input(
        f'source "{source.name}", {path}',
        f"a file that cannot be read ({error})",
        f"a whole {source.driver} file",
        "Fetch it again: it may be truncated.",
    )


_OPENERS: dict[str, Callable[[Source], xr.Dataset]] = {
    "netcdf": _open_netcdf,
    "zarr": _open_zarr,
    "raster": _open_raster,
    "npz": _open_npz,
}


def axis_names(source: Source) -> tuple[str, str]:
    """The file's names of the y and x dimensions."""
    return source.dims.get("y", "y"), source.dims.get("x", "x")


def is_geographic(source: Source) -> bool:
    """Whether the source's coordinates are degrees."""
    return bool(pyproj.CRS.from_user_input(source.crs).is_geographic)


def _cropped(ds: xr.Dataset, source: Source, window: Window, margin: float | None) -> xr.Dataset:
    west, south, east, north = window
    y_name, x_name = axis_names(source)
    y, x = ds[y_name].values.astype(np.float64), ds[x_name].values.astype(np.float64)
    if margin is None:
        margin = MARGIN if source.method in ("bilinear", "nearest") else 0.0
    # The centre of a cell that overlaps the window lies within half a cell of it.
    margin += 0.5 - 1e-9
    rows = _run((y >= south - margin * _step(y)) & (y <= north + margin * _step(y)))
    reach = margin * _step(x)
    if is_geographic(source):
        cols = _run((x - west + reach) % 360.0 <= min(east - west + 2 * reach, 360.0))
    else:
        cols = _run((x >= west - reach) & (x <= east + reach))
    return ds.isel({y_name: rows, x_name: cols})


def _step(values: np.ndarray) -> float:
    return float(np.median(np.abs(np.diff(values)))) if values.size > 1 else 0.0


def _run(inside: np.ndarray) -> slice:
    """The positions where `inside` is True as one slice; all where they are not one run."""
    places = np.flatnonzero(inside)
    if not places.size:
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first != places.size:
        return slice(0, inside.size)
    # One more on each side: a single row or column would not tell its own width.
    return slice(max(0, first - 1), last + 1)


@dataclass(frozen=True)
class SourceInfo:
    """What a source's files hold: axes, bounds (west, south, east, north) and bytes on disk."""

    name: str
    shape: tuple[int, int]
    bounds: Window
    resolution: tuple[float, float]
    bytes: int


def source_coordinates(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the source's cells as found, float64."""
    ds = open_source(source)
    y_name, x_name = axis_names(source)
    return ds[x_name].values.astype(np.float64), ds[y_name].values.astype(np.float64)


def check_source(source: Source, faults: Faults) -> SourceInfo | None:
    """Compare the files with the entry, reading metadata only; adds all faults found.

    Gives None where the files cannot be opened or the driver has no grid.
    """
    if not check_files(source, faults):
        return None
    if source.driver not in _OPENERS:
        return None
    try:
        ds = open_source(source)
        where = f'source "{source.name}", {source.files[0]}'
        y_name, x_name = axis_names(source)
        for name in (y_name, x_name):
            if name not in ds.coords:
                known = ", ".join(str(dim) for dim in ds.dims)
                faults.add(where, f"dimensions {known}", f'a coordinate "{name}"',
                           "Name it under `dims`.")  # fmt: skip
                return None
        _check_crs(source, ds, where, faults)
        _check_units(source, ds, where, faults)
        _check_months(source, ds, where, faults)
        return _info(source, ds[y_name].values, ds[x_name].values)
    except InputError as error:
        faults.faults.extend(error.faults)
        return None


def _check_crs(source: Source, ds: xr.Dataset, where: str, faults: Faults) -> None:
    if source.driver != "raster" or source.crs_is_wrong:
        return
    found = ds.rio.crs
    expected = pyproj.CRS.from_user_input(source.crs)
    if found is None or not pyproj.CRS.from_wkt(found.to_wkt()).equals(
        expected, ignore_axis_order=True
    ):
        faults.add(
            f"{where}: crs", "none" if found is None else found.to_string(), source.crs,
            "Correct `crs`, or say `crs_is_wrong: true` where the file is wrong.",
        )  # fmt: skip


def _check_units(source: Source, ds: xr.Dataset, where: str, faults: Faults) -> None:
    for canonical, variable in source.variables.items():
        found: Any = ds[variable.name].attrs.get("units")
        if variable.units is None and not found:
            faults.add(f"{where}: {canonical}", "no units in the file", "units",
                       "Give `units` in the catalog.")  # fmt: skip


def _check_months(source: Source, ds: xr.Dataset, where: str, faults: Faults) -> None:
    time_name = source.dims.get("time", "time")
    if source.time.kind == "months" and ds.sizes.get(time_name) != 12:
        found = f"{ds.sizes.get(time_name, 0)} time steps"
        faults.add(f"{where}: {time_name}", found, "12, a climatology of months")


def _info(source: Source, y: np.ndarray, x: np.ndarray) -> SourceInfo:
    dy, dx = _step(y), _step(x)
    west, east = float(x.min()) - dx / 2, float(x.max()) + dx / 2
    if is_geographic(source) and east - west > 359.0:
        west, east = -180.0, 180.0
    bounds = (west, float(y.min()) - dy / 2, east, float(y.max()) + dy / 2)
    size = sum(f.stat().st_size for f in source.files if f.is_file())
    return SourceInfo(source.name, (y.size, x.size), bounds, (dx, dy), size)
