"""layout(): the dimensions y, x and time of an opened grid, and whether it is curvilinear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.entries.source import Source
from pipeline.entries.source_grid import OF_FILE
from pipeline.grid.crs import (
    declared_crs,
    is_geographic_crs,
    is_rotated,
    named_crs,
    satellite_height,
)
from pipeline.grid.healpix import hint_of

USUAL = {
    "y": ("y", "lat", "latitude", "rlat", "nav_lat", "south_north", "YDim", "j"),
    "x": ("x", "lon", "longitude", "rlon", "nav_lon", "west_east", "XDim", "i"),
    "time": ("time", "valid_time", "day", "date", "t", "Time"),
}
STANDARD = {
    "y": ("latitude", "projection_y_coordinate", "grid_latitude"),
    "x": ("longitude", "projection_x_coordinate", "grid_longitude"),
    "time": ("time",),
}
ROTATED = ("rlat", "rlon")
CURVILINEAR = {"lat": ("latitude", "degrees_north"), "lon": ("longitude", "degrees_east")}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of the axes in the file; `lat` and `lon` are 2-D variables of a curvilinear grid."""

    y: str
    x: str
    time: str | None
    lat: str | None = None
    lon: str | None = None
    crs: str = "EPSG:4326"
    """CRS of the 1-D axes, or of `lat` and `lon`."""

    @property
    def is_curvilinear(self) -> bool:
        """Whether cells are located by 2-D latitudes and longitudes."""
        return self.lat is not None


def layout(ds: xr.Dataset, source: Source) -> Layout:
    """Return the axes that the entry names, or else those with CF attributes or usual names.

    Degrees of a rotated pole are not used as true degrees: if the entry's `crs` is not rotated, 2-D
    latitudes and longitudes are used if there are any, or else the file's grid mapping. That of a
    geostationary satellite replaces a geographic `crs` of the entry.
    Raises `InputError` if an axis cannot be found or has no coordinates.
    """
    dims = _dims(ds)
    time = _axis(ds, source, "time", dims)
    y, x = (_axis(ds, source, axis, dims) for axis in ("y", "x"))
    where = f'source "{source.name}", {source.files[0]}'
    if y is None or x is None:
        y, x = _plane(ds, source, dims) or (y, x)
    if y is None or x is None:
        absent = "y" if y is None else "x"
        raise bad_input(
            where, f"dimensions {', '.join(dims) or 'none'}", f"a dimension for {absent}",
            hint_of(ds.sizes) or f"Name it in the entry: `dims: {{{absent}: …}}`; if the cells lie"
            " along one dimension and their latitudes and longitudes are in another file, name it:"
            " `options: {grid_file: …}`.",
        )  # fmt: skip
    _check_swapped(ds, source, y, x, where)
    if source.crs == OF_FILE:
        source = source.model_copy(update={"crs": _crs_of_file(ds, where)})
    one_dimensional = all(name in ds.coords and ds[name].ndim == 1 for name in (y, x))
    rotated = _rotated(ds, source, y, x) and not is_rotated(source.crs)
    if source.lat or not one_dimensional or rotated:
        lat, lon = (_field(ds, getattr(source, name), name, {y, x}) for name in ("lat", "lon"))
        if lat and lon:
            return Layout(y=y, x=x, time=time, lat=lat, lon=lon)
    if not one_dimensional:
        absent = y if y not in ds.coords or ds[y].ndim != 1 else x
        raise bad_input(
            where, f'no coordinate "{absent}" and no 2-D latitudes and longitudes',
            "the coordinates of the cells", "Name them in the entry: `lat: …, lon: …`.",
        )  # fmt: skip
    crs = _rotated_crs(ds, where, y, x) if rotated else _satellite_crs(ds, source) or source.crs
    return Layout(y=y, x=x, time=time, crs=crs)


def _check_swapped(ds: xr.Dataset, source: Source, y: str, x: str, where: str) -> None:
    """Raise `InputError` if `dims` of the entry names longitudes as y and latitudes as x.

    Attributes and names of the file decide, unless the numbers contradict them.
    """
    if not ({"y", "x"} & source.dims.keys() and _states(ds, y, "x") and _states(ds, x, "y")):
        return
    if y in ds.coords and x in ds.coords and is_geographic_crs(source.crs):
        most_y, most_x = (float(np.abs(ds[name].values).max()) for name in (y, x))
        if most_y <= 90.5 < most_x:
            return
    raise bad_input(
        where, f"{y} as y and {x} as x, which are the other way round in the file",
        "the dimension of rows as y and that of columns as x",
        f"Swap them: `dims: {{y: {x}, x: {y}}}`.",
    )  # fmt: skip


def _states(ds: xr.Dataset, dim: str, axis: str) -> bool:
    """Whether a coordinate states by its attributes, or else its name, that it is an axis."""
    attrs = ds[dim].attrs if dim in ds.coords else {}
    if attrs.get("standard_name") in STANDARD[axis] or attrs.get("axis") == _letter(axis):
        return True
    lat_or_lon = CURVILINEAR["lat" if axis == "y" else "lon"]
    return attrs.get("units") in lat_or_lon or dim.lower() in (lat_or_lon[0], lat_or_lon[0][:3])


def _crs_of_file(ds: xr.Dataset, where: str) -> str:
    """Return the CRS that a file declares; raises `InputError` if it declares none."""
    declared = declared_crs(ds)
    if declared is None:
        raise bad_input(
            f"{where}: crs", "none in the file", "that of each file, as `crs: file` of the entry",
            "Name the CRS in the entry, such as EPSG:32633.",
        )  # fmt: skip
    return named_crs(declared.to_wkt())


def _satellite_crs(ds: xr.Dataset, source: Source) -> str | None:
    """Return the CRS of the file if it is a satellite's view and that of the entry in degrees."""
    declared = None if source.overrides("crs") else declared_crs(ds)
    if declared is None or not is_geographic_crs(source.crs):
        return None
    text = str(declared.to_wkt())
    return text if satellite_height(text) is not None else None


def time_axis(ds: xr.Dataset, source: Source) -> str | None:
    """Return the time dimension that the entry names, or else one with a CF attribute or name."""
    return _axis(ds, source, "time", _dims(ds))


def _dims(ds: xr.Dataset) -> list[str]:
    """Return the names of the dimensions of all variables that are no coordinates."""
    # `ds[name]` takes as long as there are variables: of many, only this form is fast.
    return list(dict.fromkeys(
        str(dim) for name in ds.data_vars for dim in ds.variables[name].dims
    ))  # fmt: skip


def _rotated(ds: xr.Dataset, source: Source, y: str, x: str) -> bool:
    """Whether the axes are degrees of a rotated pole, by their names or the grid mapping."""
    if source.overrides("crs") or not is_geographic_crs(source.crs):
        return False
    for name in (y, x):
        attrs = ds[name].attrs if name in ds.coords else {}
        standard = attrs.get("standard_name", "grid_latitude" if name in ROTATED else "")
        if standard in ("grid_latitude", "grid_longitude"):
            return True
    declared = declared_crs(ds)
    return declared is not None and is_rotated(declared.to_wkt())


def _rotated_crs(ds: xr.Dataset, where: str, y: str, x: str) -> str:
    """Return the CRS of the file's grid mapping; raises `InputError` if its pole is not rotated."""
    declared = declared_crs(ds)
    if declared is None or not is_rotated(declared.to_wkt()):
        raise bad_input(
            f"{where}: {y}, {x}", "degrees of a rotated pole without a grid mapping of it",
            "2-D true latitudes and longitudes, or the CRS",
            "Name the CRS in the entry (`crs:`, as WKT) or the fields (`lat: …, lon: …`); if these"
            " are true degrees, set `wrong_in_file: [crs]`.",
        )  # fmt: skip
    return declared.to_wkt()


def _axis(ds: xr.Dataset, source: Source, axis: str, dims: list[str]) -> str | None:
    named = source.dims.get(axis)  # type: ignore[call-overload]
    if named is not None:
        if named not in dims and axis != "time":
            raise bad_input(
                f'source "{source.name}", {source.files[0]}', f"dimensions {', '.join(dims)}",
                f'"{named}" as {axis}', "Correct `dims` of the entry.",
            )  # fmt: skip
        return named if named in dims else None
    for dim in dims:
        attrs = ds[dim].attrs if dim in ds.coords else {}
        if attrs.get("standard_name") in STANDARD[axis] or attrs.get("axis") == _letter(axis):
            return dim
    return next((name for name in USUAL[axis] if name in dims), None)


def _plane(ds: xr.Dataset, source: Source, dims: list[str]) -> tuple[str, str] | None:
    """Return the two dimensions of 2-D latitudes and longitudes, None if there are none."""
    for da in ds.variables.values():
        plane = [str(dim) for dim in da.dims]
        if len(plane) != 2 or not {*plane} <= {*dims}:
            continue
        lat, lon = (_field(ds, getattr(source, name), name, {*plane}) for name in ("lat", "lon"))
        if lat and lon and lat != lon:
            return plane[0], plane[1]
    return None


def _letter(axis: str) -> str:
    return {"y": "Y", "x": "X", "time": "T"}[axis]


def _field(ds: xr.Dataset, named: str | None, which: str, plane: set[str]) -> str | None:
    """Return the name of the 2-D latitudes or longitudes, None if there are none."""
    if named is not None:
        return named if named in ds.variables and set(ds[named].dims) == plane else None
    standard, units = CURVILINEAR[which]
    for key, da in ds.variables.items():
        name = str(key)
        known = da.attrs.get("standard_name") == standard or da.attrs.get("units") == units
        if set(da.dims) == plane and (known or name.lower() in (which, standard, f"nav_{which}")):
            return name
    return None


def cell_size(values: np.ndarray) -> float:
    """Return the median distance of neighbouring centres; 0 for a single one."""
    return float(np.median(np.abs(np.diff(values)))) if values.size > 1 else 0.0
