"""TargetGrid: CRS, edges, centres and cell areas of the regular grid onto which data are regridded.

All edges follow from `origin + step * index` with the index counted in the *parent* grid, so that
a window of a grid has bitwise the same edges as the same cells of the whole grid.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox

from pipeline.core.errors import Faults, bad_input
from pipeline.grid.crs import (
    EARTH_RADIUS,
    crs_of,
    is_rotated,
    parsed,
    spatial_ref_attrs,
    unit_factor,
    wrap_longitude,
)
from pipeline.grid.spacing import edge_and_step

MAX_SIDE = 50_000_000
"""Rows or columns of a grid of the whole earth in cells of less than a metre."""
_SNAP = 1e-6  # fraction of a cell by which bounds may differ from a whole number of cells


@dataclass(frozen=True, kw_only=True)
class TargetGrid:
    """A regular grid in any CRS; rows north-up, dims (y, x), sizes and edges in units of the CRS.

    `west` and `north` are the outer corner of the parent grid's first cell and `offset` the
    (row, column) of this window in it; `bounds` are those of the window. Raises `InputError` for an
    unknown CRS, sizes that are not positive, an empty shape, and cells beyond the globe.

    >>> grid = TargetGrid.from_bounds("alps", "EPSG:4326", (5, 43, 17, 49), 0.5)
    >>> grid.shape, grid.y[:2].tolist(), grid.x[:2].tolist()
    ((12, 24), [48.75, 48.25], [5.25, 5.75])
    """

    name: str
    crs: str
    west: float
    north: float
    dx: float
    dy: float
    shape: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        where = f'grid "{self.name}"'
        faults = Faults()
        try:
            pyproj.CRS.from_user_input(self.crs)
        except pyproj.exceptions.CRSError:
            faults.add(where, f"crs {self.crs!r}", "a CRS that PROJ knows, such as EPSG:4326")
        else:
            if is_rotated(self.crs):
                faults.add(
                    where, "degrees of a rotated pole", "true degrees or a projection",
                    "Choose a grid over the same region.",
                )  # fmt: skip
        if not (self.dx > 0 and self.dy > 0):
            faults.add(where, f"cell size {self.dx} x {self.dy}", "positive sizes, rows north-up")
        if min(self.shape) < 1 or max(self.shape) > MAX_SIDE:
            faults.add(where, f"shape {self.shape}", f"1 to {MAX_SIDE:,} rows and columns")
        faults.raise_if_any()
        if self.is_geographic:
            _, south, _, north = self.bounds
            if north > 90 + _SNAP * self.dy or south < -90 - _SNAP * self.dy:
                raise bad_input(where, f"latitudes {south}..{north}", "latitudes within -90..90")
            if self.shape[1] * self.dx > 360 * (1 + 1e-9):
                raise bad_input(where, f"{self.shape[1] * self.dx} degrees wide", "at most 360")

    @classmethod
    def from_bounds(
        cls,
        name: str,
        crs: str,
        bounds: tuple[float, float, float, float],
        resolution: float | tuple[float, float],
    ) -> TargetGrid:
        """Return the grid within (west, south, east, north) with cells of `resolution` or (dx, dy).

        Raises `InputError` if the bounds do not contain a whole number of cells.
        """
        west, south, east, north = (float(b) for b in bounds)
        dx, dy = _pair(resolution)
        shape = []
        for axis, extent, step in (
            ("north-south", north - south, dy),
            ("west-east", east - west, dx),
        ):
            count = round(extent / step) if step > 0 and np.isfinite(extent / step) else 0
            if count < 1 or abs(extent / step - count) > _SNAP * max(1, count) ** 0.5:
                raise bad_input(
                    f'grid "{name}"',
                    f"{extent} {axis} in cells of {step}",
                    "bounds (west, south, east, north) that contain a whole number of cells",
                    f"{max(1, count)} cells would be {max(1, count) * step} wide",
                )
            shape.append(count)
        return cls(
            name=name, crs=crs, west=west, north=north, dx=dx, dy=dy, shape=(shape[0], shape[1])
        )

    @classmethod
    def like(cls, source: xr.Dataset | xr.DataArray | str | Path, name: str) -> TargetGrid:
        """Return the north-up grid of a Dataset with regular y and x, or of a raster or NetCDF.

        Raises `InputError` if there is none.
        """
        if isinstance(source, (str, Path)):
            return grid_of_file(Path(source), name)
        return grid_of_dataset(source, name)

    def window(self, rows: slice, cols: slice) -> TargetGrid:
        """Return the grid cut to `rows` and `cols`; edges and centres keep their bits."""
        row, stop_row, _ = rows.indices(self.shape[0])
        col, stop_col, _ = cols.indices(self.shape[1])
        offset = (self.offset[0] + row, self.offset[1] + col)
        return replace(self, shape=(stop_row - row, stop_col - col), offset=offset)

    @property
    def x_edges(self) -> np.ndarray:
        """Edges of columns from west to east; dims (x + 1,), float64."""
        return self.west + self.dx * (self.offset[1] + np.arange(self.shape[1] + 1))

    @property
    def y_edges(self) -> np.ndarray:
        """Edges of rows from north to south; dims (y + 1,), float64."""
        edges = self.north - self.dy * (self.offset[0] + np.arange(self.shape[0] + 1))
        return np.clip(edges, -90, 90) if self.is_geographic else edges

    @property
    def x(self) -> np.ndarray:
        """Centres of columns, ascending; dims (x,), float64."""
        return self.west + self.dx * (self.offset[1] + 0.5 + np.arange(self.shape[1]))

    @property
    def y(self) -> np.ndarray:
        """Centres of rows, descending; dims (y,), float64."""
        return self.north - self.dy * (self.offset[0] + 0.5 + np.arange(self.shape[0]))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Outer (west, south, east, north) of this window, in units of the CRS."""
        row, col = self.offset
        return (
            self.west + self.dx * col,
            self.north - self.dy * (row + self.shape[0]),
            self.west + self.dx * (col + self.shape[1]),
            self.north - self.dy * row,
        )

    @property
    def transform(self) -> Affine:
        """Affine transform from (column, row) of this window to (x, y)."""
        west, _, _, north = self.bounds
        return Affine(self.dx, 0.0, west, 0.0, -self.dy, north)

    @property
    def geobox(self) -> GeoBox:
        """Geometry of the grid for odc-geo."""
        return GeoBox(self.shape, self.transform, self.crs)

    @cached_property
    def is_geographic(self) -> bool:
        """Whether x and y are longitude and latitude in degrees."""
        return bool(parsed(self.crs).is_geographic)

    @property
    def is_periodic(self) -> bool:
        """Whether the columns span the globe, so that the grid is periodic in longitude."""
        return self.is_geographic and abs(self.shape[1] * self.dx - 360) < _SNAP * self.dx

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the geometry, which does not depend on the name of the grid."""
        crs = parsed(self.crs).to_wkt()
        numbers = [float(v).hex() for v in (self.west, self.north, self.dx, self.dy)]
        text = "|".join([crs, *numbers, str(tuple(self.shape)), str(tuple(self.offset))])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def cell_area(self) -> np.ndarray:
        """Return the area of each cell on the authalic sphere; dims (y, x), m2, float64."""
        if self.is_geographic:
            edges = np.deg2rad(self.y_edges)
            middle, half = (edges[:-1] + edges[1:]) / 2, (edges[:-1] - edges[1:]) / 2
            rows = EARTH_RADIUS**2 * np.deg2rad(self.dx) * 2 * np.cos(middle) * np.sin(half)
            return np.repeat(rows[:, None], self.shape[1], axis=1)
        unit = parsed(self.crs).axis_info[0].unit_conversion_factor
        area = np.full(self.shape, self.dx * self.dy * unit**2)
        lon, lat = self.lonlat()
        factors = pyproj.Proj(self.crs).get_factors(lon, lat, errcheck=False)
        scale = np.asarray(factors.areal_scale)
        return area if np.allclose(scale, 1, atol=1e-6) else area / scale

    def lonlat(self) -> tuple[np.ndarray, np.ndarray]:
        """Return longitude (-180..180) and latitude of the centres; each dims (y, x), degrees."""
        x, y = np.meshgrid(self.x, self.y)
        if not self.is_geographic:
            to_lonlat = pyproj.Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
            x, y = to_lonlat.transform(x, y)
        return wrap_longitude(x), y

    def index_of(self, lon: Any, lat: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return row and column of the cell that contains each point (degrees); -1 outside.

        Northern and western edges belong to a cell; the last edges of the grid to the last cells.
        """
        x, y = np.broadcast_arrays(np.asarray(lon, float), np.asarray(lat, float))
        west, _, east, _ = self.bounds
        if self.is_geographic:
            shifted = west + np.mod(x - west, 360)
            x = np.where((x >= west) & (x <= east), x, shifted)
        else:
            from_lonlat = pyproj.Transformer.from_crs("EPSG:4326", self.crs, always_xy=True)
            x, y = from_lonlat.transform(x, y)
        row = _cell_of(-self.y_edges, -np.asarray(y))
        col = _cell_of(self.x_edges, np.asarray(x))
        outside = (row < 0) | (col < 0)
        return np.where(outside, -1, row), np.where(outside, -1, col)

    def coords(self) -> dict[str, xr.DataArray]:
        """Return coordinate variables `y`, `x` (float64, CF attributes) and `spatial_ref`."""
        if self.is_geographic:
            names = ("latitude", "longitude")
            units = ("degrees_north", "degrees_east")
        else:
            names = ("projection_y_coordinate", "projection_x_coordinate")
            unit = parsed(self.crs).axis_info[0].unit_name
            units = ("m" if unit == "metre" else unit,) * 2
        y, x = (
            xr.DataArray(v, dims=d, attrs={"standard_name": n, "units": u, "axis": d.upper()})
            for v, d, n, u in zip((self.y, self.x), ("y", "x"), names, units, strict=True)
        )
        transform = " ".join(repr(float(v)) for v in self.transform.to_gdal())
        attrs = {**spatial_ref_attrs(self.crs), "GeoTransform": transform}
        return {"y": y, "x": x, "spatial_ref": xr.DataArray(np.int64(0), attrs=attrs)}


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, (tuple, list)):
        return float(value[0]), float(value[1])
    return float(value), float(value)


def _cell_of(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the index of the cell between ascending `edges`; -1 outside or if not finite."""
    n = edges.size - 1
    index = np.searchsorted(edges, values, side="right") - 1
    index = np.where(values == edges[-1], n - 1, index)
    return np.where((index >= 0) & (index < n) & np.isfinite(values), index, -1)


_AXES = {"lat": "y", "latitude": "y", "lon": "x", "longitude": "x"}
_EXPECTED = "a raster or NetCDF file with the wanted grid"


def grid_of_dataset(ds: xr.Dataset | xr.DataArray, name: str) -> TargetGrid:
    """Return the north-up grid of regular 1-D `y` and `x`; raises `InputError` if there is none."""
    for axis in ("y", "x"):
        if axis not in ds.coords or ds[axis].ndim != 1:
            raise bad_input(
                name, f"coordinates {', '.join(map(str, ds.coords)) or 'none'}",
                f"1-D coordinates of rows and columns; there is none for {axis}",
                "Rename them to y and x, or lat and lon, or describe the grid by bounds.",
            )  # fmt: skip
    crs = crs_of(ds)
    (west, _, dx), (first, last, dy) = (_extent(ds[a], f"{name}: {a}", crs) for a in ("x", "y"))
    if dx < 0:
        raise bad_input(f"{name}: x", "descending values", "x ascending, west to east")
    shape = (ds.sizes["y"], ds.sizes["x"])
    return TargetGrid(
        name=name, crs=crs, west=west, north=max(first, last), dx=dx, dy=abs(dy), shape=shape
    )


def grid_of_file(path: Path, name: str) -> TargetGrid:
    """Return the grid of a file; raises `InputError` if it is missing or not a raster."""
    if not path.exists():
        raise bad_input(str(path), "no such file", _EXPECTED)
    if path.suffix in {".nc", ".nc4", ".zarr"}:
        try:
            ds = xr.open_dataset(path, decode_times=False)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise _unreadable(path, error) from None
        with ds:
            renames = {k: v for k, v in _AXES.items() if k in ds.coords and ds[k].ndim == 1}
            return grid_of_dataset(ds.rename(renames), name)
    return _of_raster(path, name)


def _of_raster(path: Path, name: str) -> TargetGrid:
    import rasterio

    try:
        raster = rasterio.open(path)
    except rasterio.RasterioIOError as error:
        raise _unreadable(path, error) from None
    with raster:
        affine, crs = raster.transform, raster.crs
        if affine.b or affine.d or crs is None:
            found = "no CRS" if crs is None else "a rotated transform"
            raise bad_input(str(path), found, "a north-up raster with a CRS")
        dx, dy = abs(affine.a), abs(affine.e)
        west, north = min(affine.c, affine.c + raster.width * affine.a), raster.bounds.top
        authority = pyproj.CRS.from_wkt(crs.to_wkt()).to_authority(min_confidence=100)
        text = ":".join(authority) if authority else crs.to_wkt()
        return TargetGrid(
            name=name,
            crs=text,
            west=west,
            north=max(north, raster.bounds.bottom),
            dx=dx,
            dy=dy,
            shape=raster.shape,
        )


def _unreadable(path: Path, error: Exception) -> Exception:
    reason = " ".join(str(error).split())[:200]
    return bad_input(str(path), f"a file that cannot be read ({reason})", _EXPECTED)


def _extent(da: xr.DataArray, where: str, crs: str) -> tuple[float, float, float]:
    """Return first edge, last edge and step of regular centres in array order, units of the CRS."""
    factor = unit_factor(da.attrs.get("units"), crs)
    found = edge_and_step(da.values)
    if found is not None:
        first, size = found
        return float(first) * factor, float(first + size * da.size) * factor, float(size) * factor
    values = da.values.astype(float) * factor
    if values.size < 2:
        raise bad_input(where, f"{values.size} value", "at least two, to know the cell size")
    step = (values[-1] - values[0]) / (values.size - 1)
    if np.abs(np.diff(values) - step).max() > 1e-3 * abs(step):
        raise bad_input(where, "unequal spacing", "a regular grid")
    return float(values[0] - step / 2), float(values[-1] + step / 2), float(step)
