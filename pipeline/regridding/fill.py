"""Filling of small gaps on land with the nearest valid value, and the masks of what was filled.

Called from `pipeline.regrid_tile`; the quality flag of the maps marks filled cells.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from pipeline.core.errors import bad_input


@dataclass(frozen=True, kw_only=True)
class GapFilling:
    """Settings of gap filling: which gaps of which inputs are filled."""

    distance: int
    """Largest distance to the nearest valid value, in cells."""
    land_fraction: str | None = None
    """Name of the variable with the land fraction of a cell; without it, all cells are land."""
    min_land_fraction: float = 0.5
    """Land fraction from which a cell counts as land."""
    never: tuple[str, ...] = ()
    """Variables that are never filled, such as targets: scores must not use filled values."""


def with_gaps_filled(ds: xr.Dataset, filling: GapFilling) -> xr.Dataset:
    """The data with small gaps on land filled, and the variable `input_is_filled`, dims (y, x)."""
    shape = ds.sizes["y"], ds.sizes["x"]
    land = np.ones(shape, bool)
    if filling.land_fraction:
        land = ds[filling.land_fraction].values >= filling.min_land_fraction
    inputs = ds.drop_vars(filling.never, errors="ignore")
    filled, masks = fill_gaps(inputs, land, filling.distance)
    flag = np.zeros(shape, np.uint8)
    for mask in masks.data_vars.values():
        flag |= mask.values.reshape(-1, *shape).any(0).astype(np.uint8)
    attrs = {"long_name": "an input was missing and took the nearest value", "flag_values": [0, 1],
             "flag_meanings": "no yes"}  # fmt: skip
    kept = [name for name in ds.data_vars if name not in filled]
    return filled.merge(ds[kept]).assign(input_is_filled=(("y", "x"), flag, attrs))


def fill_gaps(
    ds: xr.Dataset, land_mask: np.ndarray | xr.DataArray, max_distance: float
) -> tuple[xr.Dataset, xr.Dataset]:
    """The data with small gaps on land filled, and bool masks of what was filled.

    `ds` has dims (..., y, x) and the mask (y, x). A missing value on land takes the nearest valid
    one of the same time step within `max_distance` cells (Euclidean; north before south, west
    before east on a tie); columns are periodic on a global grid. `<name>_coverage` variables are
    passed through. Filling a tile with a halo of `max_distance` cells equals filling the whole.
    `InputError` for a mask of another shape.
    """
    land = np.asarray(land_mask, bool)
    filled: dict[str, xr.DataArray] = {}
    masks: dict[str, xr.DataArray] = {}
    for name, da in ds.data_vars.items():
        if not {"y", "x"} <= set(da.dims) or str(name).endswith("_coverage"):
            continue
        da = da.transpose(..., "y", "x")
        if da.shape[-2:] != land.shape:
            raise bad_input(
                "land mask", f"shape {land.shape}", f"that of {name}, {da.shape[-2:]} (y, x)"
            )
        values, mask = _filled(da.values, land, max_distance, _is_periodic(da))
        filled[str(name)] = da.copy(data=values)
        attrs = {"long_name": f"{name} was missing and took the nearest value"}
        masks[str(name)] = da.copy(data=mask).drop_attrs(deep=False).assign_attrs(attrs)
    return ds.assign(filled), xr.Dataset(masks)


def _filled(
    values: np.ndarray, land: np.ndarray, max_distance: float, periodic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Values with gaps filled and the mask of them; dims (..., y, x)."""
    shape = values.shape
    flat = values.reshape(-1, *shape[-2:])
    out, mask = flat.copy(), np.zeros(flat.shape, bool)
    time, row, col = np.nonzero(np.isnan(flat) & land)
    for down, right in _offsets(max_distance):
        near_row, near_col = row + down, col + right
        inside = (near_row >= 0) & (near_row < shape[-2])
        if periodic:
            near_col = near_col % shape[-1]
        else:
            inside &= (near_col >= 0) & (near_col < shape[-1])
        found = np.full(row.size, np.nan)
        found[inside] = flat[time[inside], near_row[inside], near_col[inside]]
        done = ~np.isnan(found)
        out[time[done], row[done], col[done]] = found[done]
        mask[time[done], row[done], col[done]] = True
        time, row, col = time[~done], row[~done], col[~done]
        if not row.size:
            break
    return out.reshape(shape), mask.reshape(shape)


def _offsets(max_distance: float) -> list[tuple[int, int]]:
    """Steps (rows, columns) to all cells within the distance, the nearest first."""
    reach = int(max_distance)
    steps = range(-reach, reach + 1)
    offsets = [(i, j) for i in steps for j in steps if 0 < i * i + j * j <= max_distance**2]
    return sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, o))


def _is_periodic(da: xr.DataArray) -> bool:
    """Whether the longitudes cover the full circle."""
    x = da["x"].values if "x" in da.coords else np.zeros(1)
    if x.size < 2 or da["x"].attrs.get("standard_name", "longitude") != "longitude":
        return False
    return bool(abs((x[-1] - x[0]) * x.size / (x.size - 1) - 360) < 1e-3)
