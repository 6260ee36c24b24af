"""Small files of every format with the entries that read them, damaged, checked and regridded.

Which values are right after a damage:

- Metadata and coordinates unchanged, as another library reads them: each cell whose stored value
  is unchanged has its value in the cube, and no cell without a value gets one.
- Metadata or coordinates changed: the file says something else now. Its values may differ, but
  the cube keeps its form: the cells of the grid, real numbers, increasing times.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.open import check_source, open_source
from tests.faults.fuzz.mutate import damaged_bytes, damaged_value
from tests.faults.fuzz.oracle import FindingError, outcome, require_clear

GRID = TargetGrid.from_bounds("small", "EPSG:4326", (10.0, 50.0, 14.0, 53.0), 1.0)
DAYS = pd.date_range("2001-01-01", periods=3)
RAIN = {"precipitation": {"name": "rain", "units": "mm/day"}}


def rain(name: str = "rain") -> xr.Dataset:
    """Three days of rain on the grid itself, float32, with one missing value."""
    values = np.random.default_rng(3).random((3, *GRID.shape)).astype(np.float32)
    values[1, 1, 2] = np.nan
    coords = {"time": DAYS, "lat": GRID.y, "lon": GRID.x}
    ds = xr.Dataset({name: (("time", "lat", "lon"), values, {"units": "mm/day"})}, coords)
    ds["lat"].attrs, ds["lon"].attrs = {"units": "degrees_north"}, {"units": "degrees_east"}
    ds["time"].encoding = {"units": "days since 2000-01-01"}
    return ds


@dataclass(frozen=True)
class Format:
    """A format: how a file of it is written, its entry, and another library's view of it."""

    write: Callable[[Path], None]
    name: str
    entry: dict[str, Any]
    stored: Callable[[Path], tuple[dict[str, Any], np.ndarray]] | None = None
    """Metadata with coordinates, and the stored values, as another library reads them."""
    is_grid: bool = True
    header: int | None = None
    others: tuple[str, ...] = field(default=())
    """Endings of files beside, which are damaged as well."""


def _netcdf3(path: Path) -> None:
    rain().to_netcdf(path, format="NETCDF3_CLASSIC", engine="scipy")


def _netcdf4(path: Path) -> None:
    rain().to_netcdf(path, encoding={"rain": {"zlib": True, "shuffle": True}})


def _packed(path: Path) -> None:
    packing = {"dtype": "i2", "scale_factor": 0.001, "_FillValue": -9999, "fletcher32": True}
    rain().to_netcdf(path, encoding={"rain": packing})


def _group(path: Path) -> None:
    rain().to_netcdf(path, group="Grid", encoding={"rain": {"chunksizes": (1, 3, 4)}})


def _tiff(path: Path) -> None:
    import rasterio

    profile = {"driver": "GTiff", "height": 3, "width": 4, "count": 1, "dtype": "float32",
               "crs": "EPSG:4326", "transform": rasterio.Affine(1, 0, 10, 0, -1, 53),
               "nodata": -9999.0}  # fmt: skip
    with rasterio.open(path, "w", compress="deflate", tiled=False, **profile) as file:
        file.write(np.arange(12, dtype=np.float32).reshape(1, 3, 4))


def _plain_tiff(path: Path) -> None:
    import rasterio

    profile = {"driver": "GTiff", "height": 3, "width": 4, "count": 1, "dtype": "int16",
               "crs": "EPSG:4326", "transform": rasterio.Affine(1, 0, 10, 0, -1, 53)}  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.arange(12, dtype=np.int16).reshape(1, 3, 4))
        file.scales, file.units = (0.5,), ("m",)


def _zarr(path: Path, version: int) -> None:
    rain().to_zarr(path, zarr_format=version, encoding={"rain": {"chunks": (1, 3, 4)}})


def _grib(path: Path) -> None:
    import eccodes

    keys = {
        "Ni": 4, "Nj": 3, "latitudeOfFirstGridPointInDegrees": 52.5, "dataDate": 20010101,
        "latitudeOfLastGridPointInDegrees": 50.5, "longitudeOfFirstGridPointInDegrees": 10.5,
        "longitudeOfLastGridPointInDegrees": 13.5, "iDirectionIncrementInDegrees": 1,
        "jDirectionIncrementInDegrees": 1, "shortName": "2t", "dataTime": 0,
    }  # fmt: skip
    with path.open("wb") as file:
        for day in (20010101, 20010102):
            message = eccodes.codes_grib_new_from_samples("regular_ll_sfc_grib2")
            for key, value in {**keys, "dataDate": day}.items():
                eccodes.codes_set(message, key, value)
            eccodes.codes_set_values(message, 270 + np.arange(12.0))
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)


def _npz(path: Path) -> None:
    ds = rain()
    np.savez(path, rain=ds["rain"].values, lat=ds["lat"].values, lon=ds["lon"].values)


def _csv(path: Path) -> None:
    rows = [
        f"{site},{day:%Y-%m-%d},{51 + site},{11 + site},{site + number / 4}"
        for site in (1, 2)
        for number, day in enumerate(DAYS)
    ]
    path.write_text("\n".join(["site,date,lat,lon,rain", *rows]) + "\n")


def _polygons(path: Path) -> None:
    import geopandas
    from shapely.geometry import box

    outlines = [box(10, 50, 12, 53), box(12, 50, 14, 53)]
    geopandas.GeoDataFrame({"clay": [20.0, 30.0]}, geometry=outlines, crs="EPSG:4326").to_file(path)


def _stored_netcdf(path: Path, group: str | None = None) -> tuple[dict[str, Any], np.ndarray]:
    with xr.open_dataset(path, group=group, decode_cf=False, engine="netcdf4") as ds:
        ds = ds.load()
    return _metadata(ds), ds["rain"].values


def _metadata(ds: xr.Dataset) -> dict[str, Any]:
    described: dict[str, Any] = {str(name): str(da.attrs) for name, da in ds.variables.items()}
    coords = {f"{name} values": da.values.tobytes() for name, da in ds.coords.items()}
    return {**described, **coords, "sizes": dict(ds.sizes), "dtype": str(ds["rain"].dtype)}


def _stored_tiff(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    import rasterio

    with rasterio.open(path) as file:
        about = {"profile": str(file.profile), "tags": file.tags(), "units": file.units,
                 "scales": file.scales, "offsets": file.offsets, "masks": file.mask_flag_enums,
                 "crs": str(file.crs)}  # fmt: skip
        return about, file.read(1)


def _stored_zarr(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    import zarr

    group = zarr.open_group(path, mode="r", use_consolidated=False)
    about = {str(file.relative_to(path)): file.read_bytes() for file in _metadata_files(path)}
    coords = {name: group[name][...].tobytes() for name in ("time", "lat", "lon")}
    return {**about, **{f"{k} values": v for k, v in coords.items()}}, group["rain"][...]


def _metadata_files(store: Path) -> list[Path]:
    return [file for file in store.rglob("*") if file.name.startswith((".z", "zarr.json"))]


def _stored_npz(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name].tobytes() for name in ("lat", "lon")}, archive["rain"]


def _grid(driver: str, **more: Any) -> dict[str, Any]:
    return {"driver": driver, "variables": RAIN, **more}


HEIGHT = {"elevation": {"name": "band_1", "units": "m"}}
TIFF = {"driver": "raster", "variables": HEIGHT, "static": True}
CLAY = {"driver": "vector", "method": "mean", "variables": {"clay": {"name": "clay", "units": "%"}}}
FORMATS = {
    "netcdf3": Format(_netcdf3, "rain.nc", _grid("netcdf"), _stored_netcdf),
    "netcdf4": Format(_netcdf4, "rain.nc", _grid("netcdf"), _stored_netcdf),
    "packed": Format(_packed, "rain.nc", _grid("netcdf"), _stored_netcdf),
    "hdf5": Format(
        _group, "rain.h5", _grid("netcdf", options={"group": "Grid"}),
        lambda path: _stored_netcdf(path, "Grid"),
    ),
    "tiff": Format(_tiff, "rain.tif", TIFF, _stored_tiff),
    "plain_tiff": Format(_plain_tiff, "rain.tif", TIFF, _stored_tiff),
    "zarr2": Format(lambda path: _zarr(path, 2), "rain.zarr", _grid("zarr"), _stored_zarr),
    "zarr3": Format(lambda path: _zarr(path, 3), "rain.zarr", _grid("zarr"), _stored_zarr),
    "grib": Format(
        _grib, "heat.grib",
        {"driver": "grib", "variables": {"air_temperature": {"name": "t2m", "units": "K"}}},
    ),
    "npz": Format(
        _npz, "rain.npz",
        _grid("npz", lat="lat", lon="lon", time={"start": "2001-01-01", "step": "daily"}),
        _stored_npz,
    ),
    "csv": Format(
        _csv, "rain.csv",
        _grid("table", lat="lat", lon="lon", cell="site", dims={"time": "date"}), is_grid=False,
    ),
    "geopackage": Format(_polygons, "clay.gpkg", CLAY),
    "shapefile": Format(_polygons, "clay.shp", CLAY),
}  # fmt: skip


@cache
def pristine(name: str, folder: Path) -> tuple[Path, Any]:
    """The whole file (or folder) of a format, and the values that are read from it."""
    home = folder / "whole"
    home.mkdir(parents=True)
    path = home / FORMATS[name].name
    FORMATS[name].write(path)
    found = values_of(name, path, home)
    if isinstance(found, InputError):
        raise found
    return path, found


def values_of(name: str, path: Path, home: Path) -> Any:
    """The cube of a file, or its table of sites, after its check; or the clear error."""
    source = Source.model_validate({"name": "small", "uri": str(path), **FORMATS[name].entry})
    faults = Faults()
    checked = outcome(lambda: check_source(source, faults))
    if not isinstance(checked, InputError) and faults.faults:
        require_clear(faults.faults)
    if checked is None and not faults.faults:
        raise FindingError("a check without a result and without a fault")
    if FORMATS[name].is_grid:
        return outcome(lambda: build_cube(home / "cube.zarr", GRID, [source], tile=(2, 2)).load())
    return outcome(lambda: open_source(source).load())


def damage(path: Path, rng: random.Random, header: int | None) -> None:
    """Damage one file in place: of a store or of several parts, any of them."""
    siblings = [path] if path.suffix != ".shp" else list(path.parent.glob(f"{path.stem}.*"))
    files = [f for one in siblings for f in ([one] if one.is_file() else one.rglob("*"))]
    file = rng.choice(sorted(f for f in files if f.is_file()))
    content = file.read_bytes()
    if (file.suffix == ".json" or file.name.startswith(".z")) and rng.random() < 0.7:
        file.write_text(json.dumps(damaged_value(json.loads(content), rng)))
        return
    within = header if rng.random() < 0.5 else None
    file.write_bytes(damaged_bytes(content, rng, within))


def example(name: str, seed: int, folder: Path) -> str:
    """Damage the file of a format as the seed decides; "refused" or "read", or `FindingError`."""
    rng = random.Random(f"{name} {seed}")
    whole, expected = pristine(name, folder)
    home = folder / str(seed)
    shutil.copytree(whole.parent, home, ignore=lambda _, names: [n for n in names if "cube." in n])
    path = home / whole.name
    damage(path, rng, FORMATS[name].header)
    try:
        found = values_of(name, path, home)
        if isinstance(found, InputError):
            return "refused"
        _require_right(name, whole, path, expected, found)
        return "read"
    finally:
        shutil.rmtree(home)


def _require_right(name: str, whole: Path, path: Path, expected: Any, found: xr.Dataset) -> None:
    _require_form(name, found)
    stored = FORMATS[name].stored
    if stored is None:
        return
    about, raw = stored(whole)
    try:
        about_damaged, raw_damaged = stored(path)
    except Exception as error:
        raise FindingError(
            f"values of a file that another library refuses: {error!r}"[:300]
        ) from None
    if about != about_damaged or raw.shape != raw_damaged.shape:
        return
    same = (raw == raw_damaged) | ((raw != raw) & (raw_damaged != raw_damaged))
    for variable in expected.data_vars:
        before, after = expected[variable].values, found[variable].values
        right = (before == after) | (np.isnan(before) & np.isnan(after))
        if before.shape == same.shape and not right[same].all():
            raise FindingError(
                f"{variable}: other values of cells whose stored values are unchanged"
            )


def _require_form(name: str, found: xr.Dataset) -> None:
    on_grid = {"y": GRID.y, "x": GRID.x} if FORMATS[name].is_grid else {}
    if not all(np.array_equal(found[axis], at) for axis, at in on_grid.items()):
        raise FindingError("a cube of another grid")
    for variable, da in found.data_vars.items():
        if da.dtype.kind == "f" and np.isinf(da.values).any():
            raise FindingError(f"{variable}: infinite values")
    times = found["time"].values if "time" in found.dims else np.zeros(0, "datetime64[ns]")
    if not (np.diff(times) > np.timedelta64(0)).all():
        raise FindingError("times that do not increase")
