"""Published files reopened and held against what they claim: grid, values, legend, STAC.

Upstream: everything written by `geotiff`, `cf`, `style` and `stac`. Downstream: `stefaland publish
--verify`. Faults are returned, not raised, so that all files are reported together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import rasterio
import xarray as xr
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from pipeline.cf import open_map_zarr, overview_levels
from pipeline.footprint import footprint
from pipeline.geotiff import cog_faults, grid_faults, read_window, same_value
from pipeline.grid import TargetGrid
from pipeline.legend import NODATA_CODE, Legend
from pipeline.stac import validate_collection
from pipeline.style import read_qml
from stefaland.errors import Fault, Faults, InputError

_STRIP_BYTES = 32 * 2**20
_ROUNDING = 1e-6  # of the data's range: means are rounded to float32


def verify_product(
    path: str | Path,
    grid: TargetGrid,
    *,
    legend: Legend | None = None,
    band_names: Sequence[str] | None = None,
    source: xr.DataArray | None = None,
    land_mask: np.ndarray | None = None,
) -> list[Fault]:
    """What is wrong with a published `.tif` or `.zarr`; an empty list where nothing is.

    Compares CRS and transform (to 1e-9 of a cell), nodata, band names, statistics with the values,
    overviews with the range or the codes of the data, codes and colours with the legend, and the
    `.qml` beside it. With `source` every value must be equal; with `land_mask`, dims (y, x), land
    without a value is a fault that says how much.
    """
    path = Path(path)
    if not path.exists():
        return [Fault(str(path), "no such file", "a published map")]
    try:
        if path.suffix == ".zarr":
            return _zarr_faults(path, grid, source)
        return _tif_faults(path, grid, legend, band_names, source, land_mask)
    except (rasterio.errors.RasterioError, OSError, ValueError) as error:
        return [Fault(str(path), f"unreadable ({error})", "a readable map")]


def verify_style(path: str | Path, legend: Legend) -> list[Fault]:
    """What of a `.qml` is not the legend's: kind, values, colours, labels."""
    where = Path(path).name
    try:
        kind, entries = read_qml(path)
    except InputError as error:
        return list(error.faults)
    faults = Faults()
    if kind != legend.kind:
        faults.add(where, f"a {kind} style", f"a {legend.kind} one")
    wanted = {stop.value: (stop.colour, stop.label) for stop in legend.stops}
    for value in sorted({*entries, *wanted}):
        if entries.get(value) != wanted.get(value):
            found, expected = (str(of.get(value, "nothing")) for of in (entries, wanted))
            faults.add(f"{where}: value {value:g}", found, expected)
    return faults.faults


def verify_collection(path: str | Path) -> list[Fault]:
    """What is wrong with a STAC collection on disk: its validity, and each map against its item."""
    path = Path(path)
    try:
        validate_collection(path)
        collection = pystac.Collection.from_file(str(path))
        items = list(collection.get_items())
    except (pystac.STACError, pystac.STACValidationError, OSError, ValueError) as error:
        return [Fault(str(path), f"not valid ({error})", "a valid STAC collection")]
    faults: list[Fault] = []
    for item in items:
        grid = _item_grid(item)
        _, expected = footprint(grid)
        if item.bbox is None or not np.allclose(item.bbox, expected, atol=1e-6):
            name = f"{item.id}.json: bbox"
            faults.append(Fault(name, str(item.bbox), f"{[round(v, 6) for v in expected]}"))
        for asset in item.get_assets().values():
            file = path.parent / asset.href
            if not file.exists():
                faults.append(Fault(f"{item.id}: {asset.href}", "no such file", "a published map"))
            elif file.suffix in (".tif", ".zarr"):
                faults += verify_product(file, grid)
    return faults


def _item_grid(item: pystac.Item) -> TargetGrid:
    dx, _, west, _, dy, north = item.properties["proj:transform"]
    rows, cols = item.properties["proj:shape"]
    crs = item.properties["proj:code"] or json.dumps(item.properties["proj:projjson"])
    return TargetGrid(item.id, crs, west, north, dx, -dy, (rows, cols))


def _tif_faults(
    path: Path,
    grid: TargetGrid,
    legend: Legend | None,
    band_names: Sequence[str] | None,
    source: xr.DataArray | None,
    land_mask: np.ndarray | None,
) -> list[Fault]:
    faults = Faults()
    _, errors, warnings = cog_validate(path, strict=True, quiet=True)
    for message in (*errors, *warnings):
        faults.add(f"{path.name}: layout", message, "a strict Cloud Optimized GeoTIFF")
    with rasterio.open(path) as raster:
        is_codes = raster.dtypes[0] == "uint8"
        nodata, dtype = (NODATA_CODE, "uint8") if is_codes else (np.nan, "float32")
        faults.faults += cog_faults(path, grid, band_names, nodata, dtype)
        if raster.shape != tuple(grid.shape):
            return faults.faults
        if None in raster.descriptions:
            faults.add(f"{path.name}: band names", str(raster.descriptions), "one for each band")
        ranges = _ranges(raster)
        faults.faults += _statistics_faults(path.name, raster, ranges)
        faults.faults += _overview_faults(path, raster, ranges)
        if is_codes:
            faults.faults += _code_faults(path, raster, legend)
        if source is not None:
            faults.faults += _source_faults(path.name, raster, source)
        if land_mask is not None:
            faults.faults += _hole_faults(path.name, raster, land_mask)
    if legend is not None and path.with_suffix(".qml").exists():
        faults.faults += verify_style(path.with_suffix(".qml"), legend)
    return faults.faults


def _strips(raster: Any) -> Iterator[Window]:
    """Windows of whole rows of blocks, a bounded number of bytes each."""
    block = raster.block_shapes[0][0]
    bytes_row = raster.width * raster.count * np.dtype(raster.dtypes[0]).itemsize
    height = max(block, _STRIP_BYTES // (bytes_row * block) * block)
    for top in range(0, raster.height, height):
        yield Window(0, top, raster.width, min(height, raster.height - top))


def _is_missing(values: np.ndarray, nodata: float | None) -> np.ndarray:
    if values.dtype.kind == "f" and (nodata is None or np.isnan(nodata)):
        return np.isnan(values)
    return values == nodata


def _ranges(raster: Any) -> list[tuple[float, float]]:
    """Minimum and maximum of each band's valid cells; (inf, -inf) where there are none."""
    ranges = [(np.inf, -np.inf)] * raster.count
    for window in _strips(raster):
        values = raster.read(window=window)
        missing = _is_missing(values, raster.nodata)
        for i in range(raster.count):
            valid = values[i][~missing[i]]
            if valid.size:
                low, high = ranges[i]
                ranges[i] = (min(low, float(valid.min())), max(high, float(valid.max())))
    return ranges


def _statistics_faults(
    where: str, raster: Any, ranges: Sequence[tuple[float, float]]
) -> list[Fault]:
    faults = Faults()
    for number, (low, high) in enumerate(ranges, start=1):
        tags = raster.tags(number)
        stated = [float(tags.get(f"STATISTICS_{n}", "nan")) for n in ("MINIMUM", "MAXIMUM")]
        if low <= high and stated != [low, high]:
            faults.add(f"{where}: statistics of band {number}", str(stated), str([low, high]))
    return faults.faults


def _overview_faults(path: Path, raster: Any, ranges: Sequence[tuple[float, float]]) -> list[Fault]:
    """Overviews outside the data's range: nodata or edges went into their means."""
    faults = Faults()
    for level in range(len(raster.overviews(1))):
        with rasterio.open(path, overview_level=level) as smaller:
            for i, (low, high) in enumerate(_ranges(smaller)):
                slack = _ROUNDING * max(1e-30, ranges[i][1] - ranges[i][0])
                if low < ranges[i][0] - slack or high > ranges[i][1] + slack:
                    where = f"{path.name}: overview {level + 1} of band {i + 1}"
                    faults.add(where, f"{low}..{high}", "within {}..{}".format(*ranges[i]))
    return faults.faults


def _codes(raster: Any) -> set[int]:
    found = [np.unique(raster.read(1, window=window)) for window in _strips(raster)]
    return set(np.unique(np.concatenate(found)).tolist()) - {NODATA_CODE}


def _code_faults(path: Path, raster: Any, legend: Legend | None) -> list[Fault]:
    faults, codes = Faults(), _codes(raster)
    for level in range(len(raster.overviews(1))):
        with rasterio.open(path, overview_level=level) as smaller:
            strange = _codes(smaller) - codes
        if strange:
            faults.add(f"{path.name}: overview {level + 1}", f"codes {sorted(strange)}",
                       "only codes of the map")  # fmt: skip
    if legend is None:
        return faults.faults
    known = {int(stop.value) for stop in legend.stops}
    if codes - known:
        faults.add(f"{path.name}: codes", str(sorted(codes - known)), f"codes {sorted(known)}")
    if raster.count == 1:
        try:
            table = raster.colormap(1)
        except ValueError:
            table = {}
        wrong = [int(s.value) for s in legend.stops if table.get(int(s.value), ())[:3] != s.rgb]
        if wrong:
            faults.add(f"{path.name}: colour table", f"other colours of codes {wrong}",
                       f"those of legend {legend.name}")  # fmt: skip
    return faults.faults


def _source_faults(where: str, raster: Any, source: xr.DataArray) -> list[Fault]:
    differing = 0
    for window in _strips(raster):
        wanted = read_window(source, window).astype(raster.dtypes[0], copy=False)
        found = raster.read(window=window)
        same = found == wanted
        if found.dtype.kind == "f":
            same |= np.isnan(found) & np.isnan(wanted)
        differing += int((~same).sum())
    if not differing:
        return []
    return [Fault(f"{where}: values", f"{differing} other values", "the values of its source")]


def _hole_faults(where: str, raster: Any, land_mask: np.ndarray) -> list[Fault]:
    empty = 0
    for window in _strips(raster):
        rows, cols = window.toslices()
        missing = _is_missing(raster.read(window=window), raster.nodata).any(axis=0)
        empty += int((missing & land_mask[rows, cols]).sum())
    if not empty:
        return []
    found = f"{empty} of {int(land_mask.sum())} land cells without a value"
    return [Fault(f"{where}: mosaic", found, "a value in every land cell")]


def _zarr_faults(path: Path, grid: TargetGrid, source: xr.DataArray | None) -> list[Fault]:
    faults = Faults()
    for level in range(overview_levels(path) + 1):
        place = path / f"overviews/{2**level}" if level else path
        with rasterio.open(place) as raster:
            if level == 0:
                found = raster.crs, raster.transform, raster.shape
                faults.faults += grid_faults(path.name, grid, *found)
                nodata = NODATA_CODE if raster.dtypes[0] == "uint8" else np.nan
                if not same_value(raster.nodata, nodata):
                    faults.add(f"{path.name}: nodata", str(raster.nodata), str(nodata))
                ranges = _ranges(raster)
                if source is not None and not faults.faults:
                    faults.faults += _source_faults(path.name, raster, source)
                continue
            for i, (low, high) in enumerate(_ranges(raster)):
                slack = _ROUNDING * max(1e-30, ranges[i][1] - ranges[i][0])
                if low < ranges[i][0] - slack or high > ranges[i][1] + slack:
                    where = f"{path.name}: overview {2**level} of band {i + 1}"
                    faults.add(where, f"{low}..{high}", "within {}..{}".format(*ranges[i]))
    da = open_map_zarr(path)
    for dim in ("y", "x"):
        if da[dim].dtype != np.float64:
            faults.add(f"{path.name}: {dim}", str(da[dim].dtype), "float64, or GDAL loses the grid")
    return faults.faults
