"""Published maps packed for a web page: quantised cells of a COG's overview, outlines, legend.

The report's `viewer.js` unpacks the result of `pack`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling

from pipeline.maps.legend import Legend
from pipeline.publish.png import read_outlines

LEVELS = 65534
"""Number of steps between a map's minimum and maximum; codes are 1 to LEVELS + 1, 0 if missing."""

_LATTICE = 33  # number of points a side with longitude and latitude


def page_product(
    name: str,
    maps: Sequence[tuple[Path, Legend, str]],
    cells: int,
    *,
    spreads: Mapping[int, int] | None = None,
    outlines: Path | None = None,
    outlines_of: xr.DataArray | None = None,
) -> dict[str, Any]:
    """One product for the page: its maps (COG, legend, title), all on one grid, as JSON values.

    Uses the finest overview at which all maps together have at most `cells` cells, so that the page
    is small however large the maps. `spreads` maps the number of a map to that of its spread.
    `outlines` is a vector file, clipped to `outlines_of`.
    """
    with rasterio.open(maps[0][0]) as raster:
        shape, transform, crs = raster.shape, raster.transform, raster.crs
    bands = sum(_band_count(path) for path, _, _ in maps)
    factor = overview_factor(shape, bands, cells)
    height, width = (-(-side // factor) for side in shape)
    transform = transform @ Affine.scale(factor)
    lines = read_outlines(outlines, outlines_of) if outlines_of is not None else []
    layers = [page_layer(path, legend, title, factor) for path, legend, title in maps]
    for number, spread in (spreads or {}).items():
        layers[number]["spread"] = spread
    return {
        "name": name,
        "width": width,
        "height": height,
        "factor": factor,
        "lattice": lonlat_lattice(transform, crs, height, width),
        "outlines": pixel_lines(lines, transform, height, width),
        "layers": layers,
    }


def overview_factor(shape: tuple[int, int], bands: int, cells: int) -> int:
    """The least power of two by which a map of that many bands shrinks to at most `cells`."""
    factor = 1
    while bands * -(-shape[0] // factor) * -(-shape[1] // factor) > cells and factor < max(shape):
        factor *= 2
    return factor


def page_layer(path: Path, legend: Legend, title: str, factor: int) -> dict[str, Any]:
    """One map as JSON values: band names, legend and packed cells of the overview of `factor`."""
    with rasterio.open(path) as raster:
        shape = tuple(-(-side // factor) for side in raster.shape)
        # The size of an overview: where it exists, GDAL reads it without resampling.
        how = Resampling.average if legend.kind == "continuous" else Resampling.mode
        values = raster.read(out_shape=(raster.count, *shape), masked=True, resampling=how)
        names = [text or f"band {i}" for i, text in enumerate(raster.descriptions, start=1)]
        units = raster.units[0] or legend.units
    codes, low, step = quantised(values)
    return {
        "title": title,
        "spread": None,
        "file": path.name,
        "kind": legend.kind,
        "units": units,
        "bands": names,
        "stops": [[stop.value, stop.colour, stop.label] for stop in legend.stops],
        "low": low,
        "step": step,
        "data": pack(codes),
    }


def quantised(values: np.ma.MaskedArray) -> tuple[np.ndarray, float, float]:
    """Codes (uint16, same dims), minimum and step, where value = low + (code - 1) · step.

    Code 0 is missing. Class codes (uint8) are kept as they are, plus 1.
    """
    missing = np.ma.getmaskarray(values)
    if values.dtype == np.uint8:
        return np.where(missing, 0, values.data.astype(np.uint16) + 1), 0.0, 1.0
    data = values.data.astype(np.float64)
    missing = missing | ~np.isfinite(data)
    if missing.all():
        return np.zeros(data.shape, np.uint16), 0.0, 1.0
    low, high = float(data[~missing].min()), float(data[~missing].max())
    step = (high - low) / LEVELS or 1.0
    codes = np.where(missing, 0, 1 + np.round((np.where(missing, low, data) - low) / step))
    return codes.astype(np.uint16), low, step


def pack(codes: np.ndarray) -> str:
    """Codes (uint16) as base64 of deflated differences, all low bytes before all high bytes.

    Neighbours differ by little, so that differences compress to about half the size of the codes.
    """
    flat = np.ascontiguousarray(codes, "<u2").ravel()
    differences = np.diff(flat, prepend=flat.dtype.type(0))  # modulo 2^16, like the sum in the page
    planes = differences.view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode()


def lonlat_lattice(
    transform: Affine, crs: CRS, height: int, width: int
) -> list[list[float | None]]:
    """Longitude and latitude (degrees) at evenly spaced corners, row by row; None outside."""
    cols, rows = np.meshgrid(np.linspace(0, width, _LATTICE), np.linspace(0, height, _LATTICE))
    x = transform.c + transform.a * cols.ravel() + transform.b * rows.ravel()
    y = transform.f + transform.d * cols.ravel() + transform.e * rows.ravel()
    to_lonlat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(x, y)
    pairs = np.column_stack([lon, lat]).round(5)
    return [pair if np.isfinite(pair).all() else [None, None] for pair in pairs.tolist()]


def pixel_lines(
    lines: Sequence[np.ndarray], transform: Affine, height: int, width: int
) -> list[list[float]]:
    """Lines (n, 2) of the map's CRS as flat lists col, row, …, simplified to half a cell."""
    import shapely

    kept = []
    frame = shapely.box(0, 0, width, height)
    for line in lines:
        cols, rows = ~transform @ (line[:, 0], line[:, 1])
        points = np.column_stack([cols, rows])
        if len(points) < 2 or not np.isfinite(points).all():
            continue
        shape = shapely.simplify(shapely.LineString(points), 0.5).intersection(frame)
        for part in shapely.get_parts(shape):
            if part.geom_type == "LineString" and part.length > 1:
                kept.append(np.asarray(part.coords).round(1).ravel().tolist())
    return kept


def _band_count(path: Path) -> int:
    with rasterio.open(path) as raster:
        return int(raster.count)
