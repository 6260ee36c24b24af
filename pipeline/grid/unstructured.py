"""Grids whose cells lie along one dimension: meshes, reduced Gaussian grids and HEALPix.

`as_cells` recognises them in an opened file. Cells have centres, and their corners where the file
has them or where they follow from the grid: MPAS and UGRID list the nodes of each cell, rows of a
reduced Gaussian grid divide a circle of latitude, and pixels of HEALPix are numbered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.grid.healpix import NUMBERS, PIXEL, Healpix, centres, pixels_of

CELL = "cell"
"""Dimension of the cells of an unstructured source."""
_STANDARD = {"lat": "latitude", "lon": "longitude"}
_UNITS = {"lat": ("degrees_north", "degree_north"), "lon": ("degrees_east", "degree_east")}
_NAMES = {
    "lat": ("lat", "latitude", "clat", "latcell", "nav_lat", "grid_center_lat", "mesh2d_face_y"),
    "lon": ("lon", "longitude", "clon", "loncell", "nav_lon", "grid_center_lon", "mesh2d_face_x"),
}
_IN_RADIANS = ("clat", "clon", "latcell", "loncell", "latvertex", "lonvertex")
_BOUNDS = ("{}_bnds", "{}_bounds", "{}_vertices", "{}_vert", "bounds_{}")
_UNNAMED = "phony_dim"  # what xarray calls dimensions of HDF5 files without names
_MPAS = ("verticesOnCell", "lonVertex", "latVertex")
_SAME_ROW = 1e-6  # degrees
_EVEN = 1e-3  # fraction of a step by which the longitudes of a row may differ from even ones


def centre_names(
    ds: xr.Dataset, dims: Iterable[Any], lat: str | None = None, lon: str | None = None
) -> tuple[str, str] | None:
    """Return the names of the latitudes and longitudes that share one of `dims`, None without any.

    `lat` and `lon` are names that the catalog entry gives.
    """
    # Sites of a time series are points and not the cells of a field.
    if "featureType" in ds.attrs:
        return None
    for dim in dims:
        if str(dim).startswith(_UNNAMED):
            continue  # all axes of one length have it
        pair = [_centre(ds, dim, which, name) for which, name in (("lat", lat), ("lon", lon))]
        if pair[0] and pair[1] and pair[0] != pair[1]:
            return pair[0], pair[1]
    return None


def _centre(ds: xr.Dataset, dim: Any, which: str, named: str | None) -> str | None:
    for name in [named] if named else map(str, ds.variables):
        if name not in ds.variables or ds.variables[name].dims != (dim,):
            continue
        attrs = ds.variables[name].attrs
        plain = attrs.get("standard_name") == _STANDARD[which]
        plain |= attrs.get("units") in _UNITS[which]
        if named or plain or name.lower() in _NAMES[which]:
            return name
    return None


def mesh_variables(
    ds: xr.Dataset, dims: Iterable[Any], lat: str | None = None, lon: str | None = None
) -> set[str]:
    """Return the names of all variables that locate the cells along one of `dims`."""
    dims = list(dims)
    names = {name for name in NUMBERS if name in ds.variables and set(ds[name].dims) <= set(dims)}
    pair = centre_names(ds, dims, lat, lon)
    if pair is None:
        return names
    names |= {*pair, *(found for name in pair if (found := _bounds_name(ds, name)))}
    names |= {name for name in (*_MPAS, "nEdgesOnCell") if name in ds.variables}
    return names | set(_ugrid(ds) or ())


def _bounds_name(ds: xr.Dataset, name: str) -> str | None:
    """Return the name of the variable with the corners (cell, vertex) of a coordinate, or None."""
    da = ds[name]
    named = {**da.encoding, **da.attrs}.get("bounds")
    for found in [named, *(text.format(name) for text in _BOUNDS)]:
        if found in ds.variables and ds[found].ndim == 2 and da.dims[0] in ds[found].dims:
            return str(found)
    return None


def _ugrid(ds: xr.Dataset) -> tuple[str, str, str, str] | None:
    """Return the names of a UGRID's connectivity, its nodes' coordinates and its topology."""
    for topology, da in ds.variables.items():
        nodes = str(da.attrs.get("node_coordinates", "")).split()
        faces = da.attrs.get("face_node_connectivity")
        if faces in ds.variables and len(nodes) == 2 and set(nodes) <= set(ds.variables):
            lon, lat = sorted(nodes, key=lambda name: "lat" in name.lower() or name.endswith("y"))
            return str(faces), lon, lat, str(topology)
    return None


def as_cells(
    ds: xr.Dataset,
    lat: str | None = None,
    lon: str | None = None,
    healpix: Healpix | None = None,
    where: str = "source",
) -> xr.Dataset | None:
    """Return an unstructured source with its cells along `cell`; None if it is not unstructured.

    Coordinates are `lat` and `lon` (cell,) in degrees and, where they are known, `lon_bounds` and
    `lat_bounds` (cell, vertex) as stored (`bounds_of` converts them) or `healpix` (cell,), the
    number of each pixel. `healpix` is what the file does not declare of a HEALPix grid.
    Raises `InputError` for a HEALPix grid of another size than declared.
    """
    dims = list(dict.fromkeys(dim for da in ds.data_vars.values() for dim in da.dims))
    pixels = pixels_of(ds, dims, healpix, where)
    if pixels is not None:
        dim = pixels.dims[0]
        at_lon, at_lat = centres(pixels)
        coords = {PIXEL: (CELL, pixels.values, pixels.attrs),
                  "lat": (CELL, at_lat), "lon": (CELL, at_lon)}  # fmt: skip
        return _renamed(ds, dim).assign_coords(coords)
    pair = centre_names(ds, dims, lat, lon)
    if pair is None:
        return None
    dim = ds[pair[0]].dims[0]
    at_lat, at_lon = (_degrees(ds[name]) for name in pair)
    coords = {"lat": (CELL, at_lat), "lon": (CELL, at_lon)}
    bounds = _bounds(ds, dim, pair, at_lat, at_lon)
    return _renamed(ds, dim).assign_coords(coords | bounds)


def _renamed(ds: xr.Dataset, dim: Any) -> xr.Dataset:
    """Return the data variables with `dim` as `cell`, and of the coordinates those without it."""
    ds = ds.drop_vars([name for name, c in ds.coords.items() if dim in c.dims])
    return ds if dim == CELL else ds.rename_dims({dim: CELL})


def _degrees(da: xr.DataArray) -> np.ndarray:
    """Return angles of a coordinate in degrees, float64, from degrees or radians."""
    values = da.values.astype(np.float64)
    return np.rad2deg(values) if _in_radians(da.attrs, str(da.name)) else values


def _in_radians(attrs: Mapping[Any, Any], name: str) -> bool:
    units = str(attrs.get("units", ""))
    return units.startswith("rad") or (not units and name.lower().startswith(_IN_RADIANS))


def _bounds(
    ds: xr.Dataset, dim: Any, pair: tuple[str, str], lat: np.ndarray, lon: np.ndarray
) -> dict[str, Any]:
    """Return the coordinates `lat_bounds` and `lon_bounds`; empty if the corners are unknown."""
    names = [_bounds_name(ds, name) for name in pair]
    if names[0] and names[1]:
        found = {}
        for which, name, centre in zip(("lat", "lon"), names, pair, strict=True):
            da = ds[str(name)].transpose(dim, ...)
            # CF lets bounds leave out the units of their coordinate.
            units = da.attrs.get("units", ds[centre].attrs.get("units", ""))
            radians = _in_radians({"units": units}, centre)
            variable = da.variable
            found[f"{which}_bounds"] = xr.Variable(
                (CELL, "vertex"), variable._data, {"units": "radian" if radians else "degrees"},
                variable.encoding, fastpath=True,
            )  # fmt: skip
        return found
    corners = _connected(ds, dim)
    corners = _gaussian(lat, lon) if corners is None else corners
    if corners is None:
        return {}
    return {f"{which}_bounds": ((CELL, "vertex"), values, {"units": "degrees"})
            for which, values in zip(("lon", "lat"), corners, strict=True)}  # fmt: skip


def _connected(ds: xr.Dataset, dim: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the corners (lon, lat) that nodes of MPAS or UGRID give; None without them."""
    names = _MPAS if all(name in ds.variables for name in _MPAS) else _ugrid(ds)
    if names is None or dim not in ds[names[0]].dims:
        return None
    nodes = ds[names[0]].transpose(dim, ...)
    first = 1 if names == _MPAS else int(nodes.attrs.get("start_index", 0))
    index = nodes.values.astype(np.float64) - first
    lon, lat = (_degrees(ds[name]) for name in names[1:3])
    known = (index >= 0) & (index < lon.size)
    if "nEdgesOnCell" in ds.variables and names == _MPAS:
        known &= np.arange(index.shape[1]) < ds["nEdgesOnCell"].values[:, None]
    at = np.where(known, index, 0).astype(np.int64)
    return np.where(known, lon[at], np.nan), np.where(known, lat[at], np.nan)


def _gaussian(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the boxes (cell, 2) of rows that each divide a whole circle of latitude evenly.

    Edges of rows are halfway between them, as for other grids; None for other cells.
    """
    first = np.flatnonzero(np.abs(np.diff(lat)) > _SAME_ROW) + 1
    begin = np.concatenate([[0], first, [lat.size]])
    rows = lat[begin[:-1]]
    steps = np.diff(rows)
    count = np.diff(begin)
    if rows.size < 2 or count.min() < 2 or not ((steps > 0).all() or (steps < 0).all()):
        return None
    width = np.repeat(360.0 / count, count)
    turned = (np.diff(lon) - width[:-1] + 180.0) % 360.0 - 180.0
    turned[begin[1:-1] - 1] = 0.0  # from the last cell of a row to the first of the next
    if not (np.abs(turned) <= _EVEN * width[:-1]).all():
        return None
    ends = np.copysign(90.0, rows[[0, -1]])
    edges = np.concatenate([ends[:1], (rows[1:] + rows[:-1]) / 2, ends[1:]])
    half = width / 2
    return (
        np.stack([lon - half, lon + half], axis=1),
        np.stack([np.repeat(edges[:-1], count), np.repeat(edges[1:], count)], axis=1),
    )


def bounds_of(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return longitudes and latitudes of the corners of cells in degrees; each (cell, vertex)."""
    lon, lat = (ds.coords[f"{which}_bounds"] for which in ("lon", "lat"))
    return _degrees(lon), _degrees(lat)
