"""Maps as Cloud Optimized GeoTIFFs, written by GDAL's COG driver and compared after reopening.

Values are written window by window to an uncompressed scratch file, whose overviews are built band
by band, so that memory does not grow with the raster (the COG driver builds those of all bands at
once). Missing values of float maps are NaN, tagged as nodata: arithmetic that ignores the tag then
yields NaN, where a number such as -9999 would yield a plausible mean.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from rasterio.enums import Resampling
from rasterio.windows import Window

from pipeline.core.errors import Fault, Faults, bad_input
from pipeline.core.files import replacing, require_space
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import NODATA_CODE, Legend
from pipeline.publish.bands import BandStatistics, describe, names_of_bands
from pipeline.publish.faults import cog_faults

Kind = Literal["continuous", "categorical"]

MAX_BLOCK = 512
_TILE_BYTES = (
    16 * 2**20
)  # size of an uncompressed tile with all bands, which readers hold as a whole
_WINDOW_BYTES = 48 * 2**20
_CACHE_BYTES = 64 * 2**20
_LOADED_BYTES = 64 * 2**20  # lazy maps up to this size are read whole, larger ones streamed
_COMPARED_BYTES = 64 * 2**20  # larger files are compared with their source in five windows


def write_cog(
    path: str | Path,
    da: xr.DataArray,
    grid: TargetGrid,
    *,
    kind: Kind = "continuous",
    band_names: Sequence[str] | None = None,
    units: str | None = None,
    nodata: float | None = None,
    legend: Legend | None = None,
    metadata: Mapping[str, Any] | None = None,
    level: int = 6,
    threads: int | None = None,
) -> Path:
    """Write a map, dims (band, y, x) or (y, x), as a COG on `grid`, whole or not at all.

    Continuous maps become float32 with NaN and AVERAGE overviews; categorical ones uint8 with 255
    and MODE overviews, and the legend's colour table where there is one band. Bands have names,
    units and exact statistics; `metadata` (text, or values stored as JSON) becomes tags of the
    file. `da` may be lazy. `InputError` lists all faults of the map; `RuntimeError` where the file
    differs from the map after writing.

    >>> from tempfile import mkdtemp
    >>> grid = TargetGrid.from_bounds("two", "EPSG:4326", (0, 0, 4, 4), 2.0)
    >>> da = xr.DataArray(np.array([[0.1, 0.2], [np.nan, 0.4]]), dims=("y", "x"))
    >>> path = write_cog(Path(mkdtemp()) / "clay.tif", da, grid, units="1")
    >>> with rasterio.open(path) as raster:
    ...     print(raster.units, raster.bounds.right, raster.driver)
    ('1',) 4.0 GTiff
    """
    path = Path(path)
    dtype = "float32" if kind == "continuous" else "uint8"
    nodata = nodata if nodata is not None else (math.nan if dtype == "float32" else NODATA_CODE)
    names = list(band_names) if band_names is not None else names_of_bands(da)
    workers = threads or len(os.sched_getaffinity(0))
    size = len(names) * math.prod(grid.shape) * np.dtype(dtype).itemsize
    with replacing(path) as cog, gdal_environment(workers):
        require_space(cog, size)
        with uncompressed(
            cog.with_name("scratch.tif"), da, grid, kind=kind, names=names, units=units,
            nodata=nodata, legend=legend, metadata=metadata, workers=workers, where=path.name,
        ) as raster:  # fmt: skip
            block = raster.block_shapes[0][0]
            options = {
                "BLOCKSIZE": block,
                "COMPRESS": "DEFLATE",
                "LEVEL": level,
                "PREDICTOR": "YES" if kind == "continuous" else "NO",
                "NUM_THREADS": workers,
                "BIGTIFF": "IF_SAFER",
            }
            rasterio.shutil.copy(raster, cog, driver="COG", **options)
        require_space(cog)
        faults = [
            *cog_faults(cog, grid, names, nodata, dtype),
            *_value_faults(cog, da, nodata, block),
        ]
        if faults:
            raise RuntimeError(
                "the written file differs from the map:\n" + "\n".join(map(str, faults))
            )
    return path


def gdal_environment(workers: int) -> rasterio.Env:
    """GDAL's environment for writing maps: bounded memory and `workers` threads."""
    return rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, GDAL_NUM_THREADS=workers)


@contextmanager
def uncompressed(
    path: Path,
    da: xr.DataArray,
    grid: TargetGrid,
    *,
    kind: Kind,
    names: Sequence[str],
    units: str | None,
    nodata: float,
    legend: Legend | None,
    metadata: Mapping[str, Any] | None,
    workers: int,
    where: str,
) -> Iterator[Any]:
    """Yields the open raster with the contents of a COG: tags, colours, values, overviews.

    `where` is the file name in faults.
    """
    _check_map(where, da, grid, kind, names)
    if not isinstance(da.variable._data, np.ndarray) and da.nbytes <= _LOADED_BYTES:
        da = da.compute()
    bands = len(names)
    units = str(da.attrs.get("units", "")) if units is None else units
    dtype = "float32" if kind == "continuous" else "uint8"
    block = block_size(grid.shape, bands, np.dtype(dtype).itemsize)
    profile = {
        "driver": "GTiff", "dtype": dtype, "count": bands, "nodata": nodata,
        "height": grid.shape[0], "width": grid.shape[1], "crs": grid.crs,
        "transform": grid.transform, "tiled": True, "blockxsize": block, "blockysize": block,
        "interleave": "band", "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    resampling = Resampling.average if kind == "continuous" else Resampling.mode
    with rasterio.open(path, "w+", **profile) as raster:
        describe(raster, da, names, units, metadata or {})
        if legend is not None and kind == "categorical" and bands == 1:
            raster.write_colormap(1, legend.colour_table)
        _stream(raster, da, block, where, workers)
        _release_memory()
        raster.build_overviews(overview_factors(grid.shape, block), resampling)
        _release_memory()
        yield raster


def _release_memory() -> None:
    """Return freed memory to the system, where the C library can.

    glibc keeps the memory that each step freed, in pieces too small for the next one's buffers, so
    that the resident set would grow with the map although the memory in use does not.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def block_size(shape: tuple[int, int], bands: int, itemsize: int) -> int:
    """Edge of the COG's square blocks: small enough for an overview and for small tiles."""
    block = MAX_BLOCK
    while block > 128 and (block >= max(shape) or block**2 * bands * itemsize > _TILE_BYTES):
        block //= 2
    return block


def overview_factors(shape: tuple[int, int], block: int) -> list[int]:
    """Factors of a COG's overviews, until one block holds the map, as in GDAL's COG driver."""
    factors: list[int] = []
    while max(shape) // (factors[-1] if factors else 1) > block:
        factors.append(2 * factors[-1] if factors else 2)
    return factors


def _check_map(
    where: str, da: xr.DataArray, grid: TargetGrid, kind: str, names: Sequence[str]
) -> None:
    faults = Faults()
    if da.ndim not in (2, 3) or tuple(da.dims[-2:]) != ("y", "x"):
        faults.add(where, f"dims {da.dims}", "dims (y, x) or (time, y, x)")
        faults.raise_if_any()
    if tuple(da.shape[-2:]) != tuple(grid.shape):
        faults.add(where, f"shape {da.shape[-2:]}", f"the grid's shape {grid.shape}")
    for dim, wanted, step in (("y", grid.y, grid.dy), ("x", grid.x, grid.dx)):
        if dim in da.coords and da[dim].shape == wanted.shape:
            gap = float(np.abs(da[dim].values - wanted).max())
            if gap > 1e-6 * step:
                faults.add(f"{where}: {dim}", f"centres {gap:g} away", "the grid's centres",
                           "Rows run north to south, columns west to east.")  # fmt: skip
    bands = 1 if da.ndim == 2 else da.shape[0]
    if len(names) != bands:
        faults.add(f"{where}: band names", f"{len(names)}", f"one for each of {bands} bands")
    if kind not in ("continuous", "categorical"):
        faults.add(f"{where}: kind", repr(kind), "continuous or categorical")
    if kind == "categorical" and da.dtype != np.uint8:
        faults.add(f"{where}: type", str(da.dtype), "uint8 codes, 255 where missing")
    faults.raise_if_any()


def _windows(shape: tuple[int, int], bands: int, itemsize: int, block: int) -> Iterator[Window]:
    """Windows of whole blocks with a bounded number of bytes, row by row."""
    budget = max(1, _WINDOW_BYTES // (block**2 * bands * itemsize))
    across = min(budget, math.ceil(shape[1] / block))
    down = max(1, budget // across)
    for top in range(0, shape[0], down * block):
        for left in range(0, shape[1], across * block):
            height = min(down * block, shape[0] - top)
            width = min(across * block, shape[1] - left)
            yield Window(left, top, width, height)


def read_window(da: xr.DataArray, window: Window) -> np.ndarray:
    """The map's values in a window; dims (band, y, x)."""
    rows, cols = window.toslices()
    values = np.asarray(da.isel(y=rows, x=cols).values)
    return values if values.ndim == 3 else values[None]


def _stream(raster: Any, da: xr.DataArray, block: int, where: str, workers: int) -> None:
    """Copy the values to the raster; set its exact statistics."""
    statistics = [BandStatistics() for _ in range(raster.count)]
    dtype, nodata = np.dtype(raster.dtypes[0]), [raster.nodata] * raster.count
    with ThreadPoolExecutor(workers) as pool:
        for window in _windows(raster.shape, raster.count, dtype.itemsize, block):
            values = read_window(da, window).astype(dtype, copy=False)
            counted = pool.map(BandStatistics.add, statistics, values, nodata)
            raster.write(_stored(values, raster.nodata), window=window)
            try:
                list(counted)
            except ValueError as error:
                raise bad_input(where, str(error), "finite values or NaN") from None
    for number, band in enumerate(statistics, start=1):
        raster.update_tags(number, **band.tags(raster.height * raster.width))


def _stored(values: np.ndarray, nodata: float) -> np.ndarray:
    """Values as stored in the file, with `nodata` instead of NaN."""
    if values.dtype.kind != "f" or math.isnan(nodata):
        return values
    return np.where(np.isnan(values), values.dtype.type(nodata), values)


def _value_faults(path: Path, da: xr.DataArray, nodata: float, block: int) -> list[Fault]:
    """Differences of the written values from the map's, in large files in five windows only."""
    with rasterio.open(path) as raster:
        itemsize = np.dtype(raster.dtypes[0]).itemsize
        windows = list(_windows(raster.shape, raster.count, itemsize, block))
        if raster.height * raster.width * raster.count * itemsize > _COMPARED_BYTES:
            ends = [(0, max(0, (n - block) // block * block)) for n in raster.shape]
            corners = [(r, c) for r in ends[0] for c in ends[1]]
            middle = tuple(n // 2 // block * block for n in raster.shape)
            windows = [
                Window(c, r, min(block, raster.width - c), min(block, raster.height - r))
                for r, c in (*corners, middle)
            ]
        for window in windows:
            wanted = read_window(da, window).astype(raster.dtypes[0], copy=False)
            found = raster.read(window=window)
            if not np.array_equal(
                found, _stored(wanted, nodata), equal_nan=found.dtype.kind == "f"
            ):
                return [Fault(f"{path.name}: {window}", "other values", "the map's values")]
    return []
