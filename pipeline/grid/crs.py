"""CRS of a Dataset and its CF description, longitudes, and points on the sphere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import xarray as xr

from pipeline.core.errors import bad_input
from pipeline.core.units import linear_conversion
from pipeline.core.untrusted.safe_json import parse_json

EARTH_RADIUS = 6371007.180918475
"""Radius in m of the sphere with the area of the WGS 84 ellipsoid."""


def wrap_longitude(lon: Any) -> np.ndarray:
    """Return longitudes in [-180, 180); values already inside keep their bits."""
    lon = np.asarray(lon, float)
    return np.where((lon >= -180) & (lon < 180), lon, np.mod(lon + 180, 360) - 180)


def unit_vectors(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Return points (degrees) as vectors on the unit sphere; dims (..., 3)."""
    lon, lat = np.deg2rad(lon), np.deg2rad(lat)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


@lru_cache
def parsed(crs: str) -> pyproj.CRS:
    """Return the CRS of a text, cached because PROJ takes a millisecond to parse it."""
    return pyproj.CRS.from_user_input(crs)


@lru_cache
def is_rotated(crs: str) -> bool:
    """Whether the degrees of a CRS are not true latitudes and longitudes (a rotated pole)."""
    return bool(parsed(crs).is_geographic and parsed(crs).is_derived)


def spatial_ref_attrs(crs: str) -> dict[str, Any]:
    """Return attributes of a CF grid-mapping variable for GDAL, rioxarray and CF readers."""
    return dict(_grid_mapping(crs))


@lru_cache
def _grid_mapping(crs: str) -> dict[str, Any]:
    attrs = dict(parsed(crs).to_cf())
    attrs["spatial_ref"] = attrs["crs_wkt"]
    return attrs


def crs_of(ds: xr.Dataset | xr.DataArray) -> str:
    """Return the CRS of a Dataset: its grid mapping, else its `crs` attribute, else EPSG:4326.

    Raises `InputError` if it has neither and the coordinates cannot be degrees.
    """
    text = ds.attrs.get("crs")
    crs = declared_crs(ds) or (parsed(text) if text else None)
    if crs is not None:
        authority = crs.to_authority(min_confidence=100)
        return ":".join(authority) if authority else crs.to_wkt()
    if "x" in ds.coords and "y" in ds.coords:
        x, y = ds["x"].values, ds["y"].values
        if np.abs(y).max() > 90.5 or np.abs(x).max() > 361:
            raise bad_input(
                "spatial_ref",
                "no CRS and coordinates that are not degrees",
                "a declared CRS",
                "Set it in the catalog entry, such as `crs: EPSG:5070`.",
            )
    return "EPSG:4326"


def declared_crs(ds: xr.Dataset | xr.DataArray) -> pyproj.CRS | None:
    """Return the CRS of the variables' grid mapping, else of `spatial_ref`, else None."""
    # `ds[name]` takes as long as there are variables: of many, only this form is fast.
    is_dataset = isinstance(ds, xr.Dataset)
    arrays = [ds.variables[name] for name in ds.data_vars] if is_dataset else [ds]
    named = [{**da.encoding, **da.attrs}.get("grid_mapping", "") for da in arrays]
    known: Mapping[Any, Any] = ds.variables if is_dataset else ds.coords
    for text in [*named, "spatial_ref"]:
        # The extended form of CF, "crs: lat lon", also lists coordinates.
        name = str(text).split(":")[0]
        found = _of_mapping(known[name].attrs) if name in known else None
        if found is not None:
            return found
    return None


@lru_cache(maxsize=256)
def named_crs(crs: str) -> str:
    """Return the EPSG code of a CRS, or its WKT if it has none.

    >>> named_crs(pyproj.CRS.from_epsg(32618).to_wkt())
    'EPSG:32618'
    """
    code = parsed(crs).to_epsg()
    return str(parsed(crs).to_wkt()) if code is None else f"EPSG:{code}"


TEXTS = (
    *("crs_wkt", "spatial_ref", "esri_pe_string", "proj4", "proj4_params", "proj4text"),
    *("proj4_string", "epsg_code", "EPSG_code", "epsg", "EPSG"),
)  # fmt: skip
"""Attributes of a grid mapping that hold its CRS as a text, or the number of its EPSG code."""


def _of_mapping(attrs: Mapping[str, Any]) -> pyproj.CRS | None:
    """Return the CRS of a grid mapping's attributes; None if they do not define one.

    WKT is used first, then the parameters of CF, then other texts.
    """
    texts = {key: str(attrs[key]).strip() for key in TEXTS if str(attrs.get(key, "")).strip()}
    wkt = next((texts[key] for key in TEXTS[:2] if key in texts), None)
    try:
        if wkt:
            return parsed(wkt)
        if attrs.get("grid_mapping_name") == "latitude_longitude":
            return parsed("EPSG:4326")  # whatever the datum, which is rarely named
        plain = {key: np.asarray(value).tolist() for key, value in attrs.items()}
        return _from_cf(json.dumps(plain, sort_keys=True, default=str))
    except (pyproj.exceptions.CRSError, KeyError, ValueError, TypeError):
        return next(filter(None, map(_of_text, texts.values())), None)


def _of_text(text: str) -> pyproj.CRS | None:
    """Return the CRS of a text, or of the number of an EPSG code; None if it is none."""
    try:
        return parsed(f"EPSG:{text}" if text.isdigit() else text)
    except pyproj.exceptions.CRSError:
        return None


@lru_cache(maxsize=64)
def _from_cf(grid_mapping: str) -> pyproj.CRS:
    """Return the CRS of a grid mapping's attributes (JSON), cached because datums are slow."""
    return pyproj.CRS.from_cf(parse_json(grid_mapping))


def unit_factor(units: object, crs: str) -> float:
    """Return the factor from coordinates in `units`, such as km, to those of a projected CRS.

    Those of a geostationary satellite may be angles, which PROJ multiplies by its height.
    """
    if not units or is_geographic_crs(crs):
        return 1.0
    height = satellite_height(crs)
    if height is not None:
        try:
            return linear_conversion(str(units), "radian")[0] * height
        except ValueError:
            pass  # lengths
    try:
        metres, _ = linear_conversion(str(units), "m")
    except ValueError:
        return 1.0
    factor = metres / parsed(crs).axis_info[0].unit_conversion_factor
    # Survey and international metres and feet have the same names in files.
    return 1.0 if abs(factor - 1) < _SAME_UNIT else factor


@lru_cache
def satellite_height(crs: str) -> float | None:
    """Return the height in m of a geostationary satellite whose view is the CRS, or else None."""
    operation = parsed(crs).coordinate_operation
    if operation is None or "Geostationary" not in operation.method_name:
        return None
    named = (p.value for p in operation.params if p.name.lower() == "satellite height")
    return float(next(named))


def is_length(units: object) -> bool:
    """Whether coordinates declare a unit of length, such as km."""
    try:
        return bool(units) and linear_conversion(str(units), "m") is not None
    except ValueError:
        return False


_SAME_UNIT = 1e-4


@lru_cache(maxsize=256)
def is_geographic_crs(crs: str) -> bool:
    """Whether the coordinates of a CRS are degrees."""
    return bool(pyproj.CRS.from_user_input(crs).is_geographic)
