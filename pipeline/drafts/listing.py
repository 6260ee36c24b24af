"""The variables in one file, with their metadata and without their values."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import xarray as xr

from pipeline.core.errors import LIBRARY_ERRORS, InputError
from pipeline.entries.source import Source
from pipeline.readers.common.dims import Layout, layout
from pipeline.readers.common.refusals import unreadable
from pipeline.readers.driver import common_options
from pipeline.readers.guards.rasters import check_raster
from pipeline.readers.netcdf import list_netcdf

ENGINES = {"zarr": "zarr", "grib": "cfgrib"}
GRIB_OPTIONS = {"indexpath": "", "time_dims": ("valid_time",)}
MOST_BANDS = 64


@dataclass(frozen=True)
class Field:
    """One variable or band of a file: its name there, and what the file states about it."""

    name: str
    dims: tuple[str, ...]
    standard_name: str = ""
    long_name: str = ""
    units: str = ""
    is_class: bool = False
    """Whether whole numbers have colours or meanings of their own, as classes do."""


@dataclass(frozen=True)
class Listing:
    """Fields of a file on one grid, and the axes of that grid; no axes of a file of sites."""

    fields: tuple[Field, ...]
    axes: Layout | None = None
    sizes: Mapping[str, int] | None = None
    problem: str = ""
    """Why a file that can be read has no grid."""
    skipped: tuple[str, ...] = ()
    """What cfgrib says of variables that it left out, such as those on other levels."""


def list_grid(driver: str, path: Path, name: str) -> Listing:
    """Return the fields of a gridded file; raises `InputError` for files that cannot be read."""
    probe = probe_source(driver, str(path), name, {})
    where = f'source "{name}", {path}'
    try:
        if driver == "raster":
            check_raster(path, common_options(probe).trust, where)
            return Listing(_bands(path))
        if driver == "netcdf":
            return _fields(list_netcdf(probe, path), probe)
        options = {"backend_kwargs": GRIB_OPTIONS} if driver == "grib" else {"decode_times": False}
        settings: dict[str, Any] = {"engine": ENGINES[driver], "mask_and_scale": False, **options}
        with _skipping() as skipped, xr.open_dataset(path, **settings) as ds:
            return replace(_fields(ds, probe), skipped=tuple(skipped))
    except (*LIBRARY_ERRORS, rasterio.errors.RasterioError) as error:
        raise unreadable(where, path, error, f"a whole {driver} file") from None


@contextmanager
def _skipping() -> Iterator[list[str]]:
    """Collect what cfgrib logs of variables that it leaves out, which is not shown then."""
    skipped: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: skipped.append(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("cfgrib")
    passes, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield skipped
    finally:
        log.removeHandler(handler)
        log.propagate = passes


def _fields(ds: xr.Dataset, probe: Source) -> Listing:
    helpers = {str(da.attrs.get("bounds") or da.attrs.get("grid_mapping")) for da in
               ds.variables.values()}  # fmt: skip
    names = [
        str(key) for key, da in ds.data_vars.items()
        if da.ndim >= 1 and da.dtype.kind in "iuf" and str(key) not in helpers
    ]  # fmt: skip
    if not names:
        return Listing(())
    try:
        axes = layout(ds[names], probe)
    except InputError as error:
        return Listing((), problem=" ".join(f"{f.found}; expected {f.expected}. {f.hint}"
                                            for f in error.faults))  # fmt: skip
    plane = {axes.y, axes.x} if not axes.is_curvilinear else set(ds[str(axes.lat)].dims)
    fields = tuple(
        Field(
            key, tuple(map(str, ds[key].dims)), str(ds[key].attrs.get("standard_name", "")),
            str(ds[key].attrs.get("long_name", "")), str(ds[key].attrs.get("units", "")),
            "flag_values" in ds[key].attrs and _stored(ds[key]).kind in "iu",
        )
        for key in names
        if plane <= {*ds[key].dims} and key not in (axes.lat, axes.lon)
    )  # fmt: skip
    return Listing(fields, axes, {str(dim): size for dim, size in ds.sizes.items()})


def _stored(da: xr.DataArray) -> np.dtype[Any]:
    return np.dtype(da.encoding.get("dtype", da.dtype))


def _bands(path: Path) -> tuple[Field, ...]:
    with rasterio.open(path) as file:
        if file.count == 0:
            return ()
        fields = []
        for number in range(1, min(file.count, MOST_BANDS) + 1):
            is_class = np.dtype(file.dtypes[number - 1]).kind in "iu" and _has_colours(file, number)
            text = file.descriptions[number - 1] or ""
            name = text if text and file.descriptions.count(text) == 1 else f"band_{number}"
            fields.append(Field(name, ("y", "x"), "", text, file.units[number - 1] or "", is_class))
    return tuple(fields)


def _has_colours(file: rasterio.DatasetReader, number: int) -> bool:
    try:
        return bool(file.colormap(number))
    except ValueError:
        return False


def probe_source(
    driver: str, uri: str | tuple[str, ...], name: str, variables: Mapping[str, object]
) -> Source:
    """Return an entry that names no more than the files and the variables to look at."""
    return Source.model_validate(
        {"name": name, "uri": uri, "driver": driver, "variables": variables}
    )
