"""terrain(): slope, aspect and curvature from elevation, in metres on every kind of grid.

Upstream: `canonical` or `regrid`. Downstream: static attributes. Horn's 3 x 3 differences (1981,
doi:10.1109/PROC.1981.11918) with the length of a degree at each latitude on the WGS 84 ellipsoid.
"""

from __future__ import annotations

import numpy as np
import pyproj
import xarray as xr

from pipeline.crs import crs_of, is_rotated
from stefaland.errors import bad_input

_A, _E2 = 6378137.0, 0.0066943799901413165  # WGS 84: semi-major axis (m), eccentricity squared


def terrain(elevation: xr.DataArray) -> xr.Dataset:
    """Slope (degree), aspect as sine and cosine, curvature (m-1); dims (y, x), float32.

    `elevation` in metres, dims (y, x), rows north-up, on a regular grid. Aspect is the direction
    that the slope faces, clockwise from true north; both parts are 0 where it is flat. Curvature
    is the Laplacian: positive in valleys, negative on ridges. Cells without elevation are NaN;
    missing neighbours and the border are extrapolated through the cell, columns go round where
    the grid does. `InputError` where units are no metres or rows not north-up.
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
    dx, dy, periodic = _spacing(da)
    east, north, curvature = _derivatives(da.values.astype(float), dx, dy, periodic)
    steepness = np.hypot(east, north)
    with np.errstate(invalid="ignore", divide="ignore"):
        sine = np.where(steepness > 0, -east / steepness, 0 * steepness)
        cosine = np.where(steepness > 0, -north / steepness, 0 * steepness)
    turn = _convergence(da)
    sine, cosine = (
        sine * np.cos(turn) - cosine * np.sin(turn),
        (cosine * np.cos(turn) + sine * np.sin(turn)),
    )
    about = {
        "slope": (np.rad2deg(np.arctan(steepness)), "degree", "steepest slope"),
        "aspect_sine": (sine, "1", "sine of the direction that the slope faces"),
        "aspect_cosine": (cosine, "1", "cosine of the direction that the slope faces"),
        "curvature": (curvature, "m-1", "Laplacian of elevation"),
    }
    mapping = {k: v for k, v in elevation.attrs.items() if k == "grid_mapping"}
    return xr.Dataset(
        {
            name: xr.DataArray(
                values.astype(np.float32), da.coords, da.dims,
                attrs={"units": units, "long_name": text, **mapping},
            )
            for name, (values, units, text) in about.items()
        }
    )  # fmt: skip


def _spacing(da: xr.DataArray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cell widths and heights in m, each dims (y, 1), and whether the columns go round."""
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
    """Gradient to the east and to the north (m/m) and Laplacian (1/m); each dims (y, x)."""
    padded = np.pad(z, 1, constant_values=np.nan)
    if periodic:
        padded[1:-1, 0], padded[1:-1, -1] = z[:, -1], z[:, 0]

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


def _convergence(da: xr.DataArray) -> np.ndarray | float:
    """Direction of true north on the grid, radians clockwise from grid north; dims (y, x)."""
    crs = crs_of(da)
    geographic = pyproj.CRS.from_user_input(crs).is_geographic
    if geographic and not is_rotated(crs):
        return 0.0
    x, y = np.meshgrid(da["x"].values.astype(float), da["y"].values.astype(float))
    to_lonlat = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = to_lonlat.transform(x, y)
    step = np.where(np.asarray(lat) > 0, -1e-4, 1e-4)  # away from the pole
    x1, y1 = to_lonlat.transform(lon, lat + step, direction="INVERSE")
    east = (x1 - x) * (np.cos(np.deg2rad(y)) if geographic else 1.0)
    return np.arctan2(east * np.sign(step), (y1 - y) * np.sign(step))
