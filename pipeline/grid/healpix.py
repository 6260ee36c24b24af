"""Pixels of HEALPix, which divide the sphere into equal areas (Górski et al. 2005).

The package healpix-geo (extra `healpix`) has the geometry; here is what files declare of it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field

from pipeline.core.errors import bad_input
from pipeline.core.settings import Frozen

PIXEL = "healpix"
"""Coordinate with the number of each pixel; its attributes are `depth` and `is_nested`."""
_SIDES = ("nside", "healpix_nside", "GRIB_Nside", "GRIB_nside")
_DEPTHS = ("refinement_level", "healpix_zoom", "level", "zoom", "depth")
_ORDERS = ("indexing_scheme", "healpix_order", "order", "ordering", "GRIB_orderingConvention")
_NAMES = ("cell", "cells", "cell_ids", "pixel", "pix", "healpix", "hp", "hpx", "values")
NUMBERS = ("cell_ids", "healpix_index", "pixel_index", PIXEL)
"""Usual names of the variable with the numbers of the pixels that a file has."""
_HINT = "Declare it in the entry: `options: {healpix: {nside: 64, order: nested}}`, or ring."
_FINE = 8  # depth from which the sides of a pixel are straight but for a millionth of its area


class Healpix(Frozen):
    """Settings of a HEALPix grid that its file does not declare."""

    nside: int = Field(ge=1, le=1 << 29)
    """Pixels along each side of the twelve base pixels: a power of 2."""
    order: Literal["nested", "ring"]
    """Order in which the pixels are numbered."""


class GridOptions(Frozen):
    """Options of entries of grids."""

    healpix: Healpix | None = None
    """Size and order of HEALPix pixels, such as `{nside: 64, order: nested}`."""
    grid_file: str | None = None
    """NetCDF file with the latitudes and longitudes of the cells, and their corners if it has them,
    such as icon_grid_0026_R03B07_G.nc; the number of cells must be that of the data."""


def pixels_of(
    ds: xr.Dataset, dims: Iterable[Any], declared: Healpix | None, where: str
) -> xr.DataArray | None:
    """Return the numbers of the pixels along one of `dims`; None if nothing declares HEALPix.

    `declared` of the entry comes before what the file declares. Raises
    `InputError` for a size that is not that of the globe, without an order, and where the package
    is not installed.
    """
    attrs = _declaration(ds)
    if attrs is None and declared is None:
        return None
    attrs = {**(attrs or {}), **(declared.model_dump() if declared else {})}
    dim = next((d for d in dims if str(d).lower() in _NAMES), None)
    if dim is None:
        raise bad_input(
            where, f"dimensions {', '.join(map(str, dims))}",
            f"a dimension of HEALPix pixels, such as {', '.join(_NAMES[:4])}", "Rename it.",
        )  # fmt: skip
    size = int(ds.sizes[dim])
    numbers = _numbers(ds, dim)
    nside = next((int(attrs[k]) for k in _SIDES if k in attrs), None)
    if nside is None:
        depth = next((int(attrs[k]) for k in _DEPTHS if k in attrs), None)
        nside = round((size / 12) ** 0.5) if depth is None else 2**depth
    order = next((str(attrs[k]).lower() for k in _ORDERS if k in attrs), "")
    if nside < 1 or nside & (nside - 1) or (numbers is None and size != 12 * nside**2):
        raise bad_input(
            where, f"{size} pixels of HEALPix with nside {nside}",
            f"{12 * nside**2}, for an nside that is a power of 2", _HINT,
        )  # fmt: skip
    if order not in ("nested", "nest", "ring"):
        raise bad_input(where, f'an order "{order}" of HEALPix pixels', "nested or ring", _HINT)
    if importlib.util.find_spec("healpix_geo") is None:
        raise bad_input(
            where, "no module healpix_geo, which HEALPix needs", "the package healpix-geo",
            "Run `pip install 'stefaland[healpix]'`.",
        )  # fmt: skip
    values = np.arange(size) if numbers is None else numbers
    known = {"depth": nside.bit_length() - 1, "is_nested": order != "ring"}
    return xr.DataArray(values.astype(np.int64), dims=[dim], name=PIXEL, attrs=known)


def hint_of(sizes: Mapping[Any, int]) -> str | None:
    """Return a hint for dimensions of which one has as many cells as a HEALPix grid; None else."""
    for dim, size in sizes.items():
        if size in (12 * 4**depth for depth in range(2, 16)):
            nside = round((size / 12) ** 0.5)
            declared = f"`options: {{healpix: {{nside: {nside}, order: nested}}}}`"
            return f"If {dim} are pixels of HEALPix, set {declared}, or ring."
    return None


def _declaration(ds: xr.Dataset) -> dict[str, Any] | None:
    """Return the attributes of a file that declare HEALPix; None without any."""
    for name in ds.variables:
        attrs = {str(key): value for key, value in ds[name].attrs.items()}
        named = (attrs.get(key) for key in ("grid_mapping_name", "grid_name", "GRIB_gridType"))
        if "healpix" in [str(value).lower() for value in named]:
            return attrs
    attrs = {str(key): value for key, value in ds.attrs.items()}
    return attrs if any(key.startswith("healpix") for key in attrs) else None


def _numbers(ds: xr.Dataset, dim: Any) -> np.ndarray | None:
    """Return the numbers of the pixels that a file lists (a part of the globe); None without."""
    for name in dict.fromkeys((str(dim), *NUMBERS)):
        if name in ds.variables and ds[name].dims == (dim,) and ds[name].dtype.kind in "iu":
            return np.asarray(ds[name].values)
    return None


def centres(pixels: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """Return longitudes and latitudes of the centres of pixels in degrees; each (cell,)."""
    numbers = np.ascontiguousarray(pixels.values)
    return _centres(numbers.tobytes(), int(pixels.attrs["depth"]), bool(pixels.attrs["is_nested"]))


@lru_cache(maxsize=2)
def _centres(numbers: bytes, depth: int, is_nested: bool) -> tuple[np.ndarray, np.ndarray]:
    """Centres of pixels, cached because each tile of a grid needs all of them."""
    lon, lat = _scheme(is_nested).healpix_to_lonlat(
        np.frombuffer(numbers, np.int64).astype(np.uint64), depth, "sphere"
    )
    return np.asarray(lon), np.asarray(lat)


def corners(
    pixels: xr.DataArray, parts: int | None = None
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return longitudes and latitudes of points around pixels in degrees; each (cell, 4 · parts).

    Sides, which are curves, have as many `parts` as their length needs, by default.
    """
    if not pixels.size:
        return np.empty((0, 4)), np.empty((0, 4))
    depth = int(pixels.attrs["depth"])
    lon, lat = _scheme(bool(pixels.attrs["is_nested"])).vertices(
        pixels.values.astype(np.uint64), depth, "sphere", step=parts or 2 ** max(1, _FINE - depth)
    )
    return np.asarray(lon), np.asarray(lat)


def _scheme(is_nested: bool) -> Any:
    from healpix_geo import nested, ring

    return nested if is_nested else ring
