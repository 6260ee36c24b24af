"""Slope, aspect and curvature from elevation, with distances in metres on every kind of grid.

Horn's 3 x 3 differences (1981, doi:10.1109/PROC.1981.11918) with the length of a degree at each
latitude on the WGS 84 ellipsoid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyproj
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from pipeline.core.errors import bad_input
from pipeline.grid.crs import crs_of, is_rotated

BLOCK_CELLS = 1 << 18
"""Number of cells derived at once: few enough for all intermediate arrays to stay in the cache."""
ATTRIBUTES = {
    "slope": ("degree", "steepest slope"),
    "aspect_sine": ("1", "sine of the direction that the slope faces"),
    "aspect_cosine": ("1", "cosine of the direction that the slope faces"),
    "curvature": ("m-1", "Laplacian of elevation"),
}
"""Units and long name of each derived variable."""
_A, _E2 = 6378137.0, 0.0066943799901413165  # WGS 84: semi-major axis (m), eccentricity squared


def terrain(elevation: xr.DataArray) -> xr.Dataset:
    """Slope (degree), aspect as sine and cosine, curvature (m-1); dims (y, x), float32.

    `elevation` in metres, dims (y, x), rows north-up, on a regular grid. Aspect is the direction
    that the slope faces, clockwise from true north; both parts are 0 where it is flat. Curvature
    is the Laplacian: positive in valleys, negative on ridges. Cells without elevation are NaN;
    missing neighbours and the border are extrapolated through the cell; columns are periodic on a
    global grid. The result is lazy where `elevation` is. `InputError` for units other than metres,
    for rows that are not north-up and for a single row or column.
    """
    if str(elevation.attrs.get("units", "m")) not in {"m", "metre", "metres", "meter", "meters"}:
        raise bad_input(
            str(elevation.name), f'units "{elevation.attrs["units"]}"', "elevation in m"
        )
    da = elevation.transpose("y", "x")
    if min(da.shape) < 2 or da["y"].values[0] < da["y"].values[-1]:
        raise bad_input(
            str(elevation.name), "rows south-up or a single row or column", "a north-up grid",
            "Canonicalise it first",
        )  # fmt: skip
    surface = _Surface(da.variable, *_spacing(da), _Convergence(da))
    if da.variable._in_memory:
        arrays: Mapping[str, Any] = surface.derive(ATTRIBUTES, slice(0, da.shape[0]))
    else:
        lazy = {name: _Lazy(surface, name) for name in ATTRIBUTES}
        arrays = {name: indexing.LazilyIndexedArray(array) for name, array in lazy.items()}
    mapping = {k: v for k, v in elevation.attrs.items() if k == "grid_mapping"}
    variables = {
        name: xr.Variable(da.dims, arrays[name], {"units": units, "long_name": text, **mapping})
        for name, (units, text) in ATTRIBUTES.items()
    }
    return xr.Dataset(variables, da.coords)


@dataclass(frozen=True, eq=False)
class _Surface:
    """Elevation, dims (y, x), with cell widths and heights in m, each dims (y, 1)."""

    elevation: xr.Variable
    dx: np.ndarray
    dy: np.ndarray
    is_periodic: bool
    convergence: _Convergence

    def derive(self, names: Iterable[str], rows: slice) -> dict[str, np.ndarray]:
        """Derived variables of some rows, by name, float32, dims (y, x).

        Rows are read at once but derived in blocks: the intermediate float64 arrays take about 20
        times the memory of the elevation.
        """
        (height, width), (start, stop) = self.elevation.shape, (rows.start, rows.stop)
        read = slice(max(0, start - 1), min(height, stop + 1))
        values = self.elevation[read].values
        out = {name: np.empty((stop - start, width), np.float32) for name in names}
        step = max(1, BLOCK_CELLS // width)
        for first in range(start, stop, step):
            block = slice(first, min(first + step, stop))
            z = np.full((block.stop - block.start + 2, width), np.nan)
            low, high = max(read.start, block.start - 1), min(read.stop, block.stop + 1)
            z[low - block.start + 1 : high - block.start + 1] = values[
                low - read.start : high - read.start
            ]
            derived = self._derived(z, block)
            for name, array in out.items():
                array[block.start - start : block.stop - start] = derived[name]
        return out

    def _derived(self, z: np.ndarray, rows: slice) -> dict[str, np.ndarray]:
        """All derived variables of `rows`; `z` has one more row on each side, NaN off the grid."""
        east, north, curvature = _derivatives(z, self.dx[rows], self.dy[rows], self.is_periodic)
        steepness = np.hypot(east, north)
        with np.errstate(invalid="ignore", divide="ignore"):
            sine = np.where(steepness > 0, -east / steepness, 0 * steepness)
            cosine = np.where(steepness > 0, -north / steepness, 0 * steepness)
        turn = self.convergence.angle(rows)
        return {
            "slope": np.rad2deg(np.arctan(steepness)),
            "aspect_sine": sine * np.cos(turn) - cosine * np.sin(turn),
            "aspect_cosine": cosine * np.cos(turn) + sine * np.sin(turn),
            "curvature": curvature,
        }


class _Lazy(BackendArray):
    """One derived variable of an elevation that is too large for memory."""

    def __init__(self, surface: _Surface, name: str) -> None:
        self.surface = surface
        self.name = name
        self.shape = surface.elevation.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        wanted = np.arange(self.shape[0])[key[0]]
        if not wanted.size:
            return np.empty(self.shape, np.float32)[:0][:, key[1]]
        rows = slice(int(wanted.min()), int(wanted.max()) + 1)
        values = self.surface.derive([self.name], rows)[self.name]
        return values[wanted - rows.start][..., key[1]]


def _spacing(da: xr.DataArray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cell widths and heights in m, each dims (y, 1), and whether the columns are periodic."""
    x, y = da["x"].values.astype(float), da["y"].values.astype(float)
    dx, dy = (x[-1] - x[0]) / (x.size - 1), (y[0] - y[-1]) / (y.size - 1)
    crs = pyproj.CRS.from_user_input(crs_of(da))
    rows = np.ones((y.size, 1))
    if not crs.is_geographic:
        unit = crs.axis_info[0].unit_conversion_factor
        return dx * unit * rows, dy * unit * rows, False
    lat = np.deg2rad(y)[:, None]
    bent = 1 - _E2 * np.sin(lat) ** 2
    width = np.deg2rad(dx) * _A * np.cos(lat) / np.sqrt(bent)
    height = np.deg2rad(dy) * _A * (1 - _E2) / bent**1.5
    return np.maximum(width, 1e-6 * height), height, abs(x.size * dx - 360) < 1e-6 * 360


def _derivatives(
    z: np.ndarray, dx: np.ndarray, dy: np.ndarray, periodic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient to the east and to the north (m/m) and Laplacian (1/m); each dims (y, x).

    `z` has one more row on each side.
    """
    padded = np.pad(z, ((0, 0), (1, 1)), constant_values=np.nan)
    if periodic:
        padded[:, 0], padded[:, -1] = z[:, -1], z[:, 0]
    z = z[1:-1]

    def neighbour(row: int, col: int) -> np.ndarray:
        """The neighbour, mirrored through the cell from the opposite one where it is missing."""
        near, far = (
            padded[1 + s * row : padded.shape[0] - 1 + s * row,
                   1 + s * col : padded.shape[1] - 1 + s * col]
            for s in (1, -1)
        )  # fmt: skip
        return np.where(np.isnan(near), 2 * z - far, near)

    def side(row: int, col: int) -> np.ndarray:
        found = neighbour(row, col)
        return np.where(np.isnan(found), z, found)

    n, s, w, e = side(-1, 0), side(1, 0), side(0, -1), side(0, 1)

    def corner(row: int, col: int, along_y: np.ndarray, along_x: np.ndarray) -> np.ndarray:
        found = neighbour(row, col)
        return np.where(np.isnan(found), along_y + along_x - z, found)

    nw, ne = corner(-1, -1, n, w), corner(-1, 1, n, e)
    sw, se = corner(1, -1, s, w), corner(1, 1, s, e)
    east = ((ne + 2 * e + se) - (nw + 2 * w + sw)) / (8 * dx)
    north = ((nw + 2 * n + ne) - (sw + 2 * s + se)) / (8 * dy)
    missing = np.where(np.isnan(z), np.nan, 0.0)
    curvature = (e - 2 * z + w) / dx**2 + (n - 2 * z + s) / dy**2
    return east + missing, north + missing, curvature


class _Convergence:
    """Direction of true north on a grid, radians clockwise from grid north."""

    def __init__(self, da: xr.DataArray) -> None:
        crs = crs_of(da)
        self.x, self.y = (da[name].values.astype(float) for name in ("x", "y"))
        self.is_geographic = pyproj.CRS.from_user_input(crs).is_geographic
        self.to_lonlat = None
        if not self.is_geographic or is_rotated(crs):
            self.to_lonlat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)

    def angle(self, rows: slice) -> np.ndarray | float:
        """Angle in some rows, dims (y, x); 0 on a grid of longitude and latitude."""
        if self.to_lonlat is None:
            return 0.0
        x, y = np.meshgrid(self.x, self.y[rows])
        lon, lat = self.to_lonlat.transform(x, y)
        step = np.where(np.asarray(lat) > 0, -1e-4, 1e-4)  # away from the pole
        x1, y1 = self.to_lonlat.transform(lon, lat + step, direction="INVERSE")
        east = (x1 - x) * (np.cos(np.deg2rad(y)) if self.is_geographic else 1.0)
        return np.arctan2(east * np.sign(step), (y1 - y) * np.sign(step))
