"""Sites (stations, profiles, events) matched to the cells of a grid, and means of sites by cell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyproj
import xarray as xr

from pipeline.core.errors import Faults, listed
from pipeline.grid.target_grid import TargetGrid


def match_sites(ds: xr.Dataset, grid: TargetGrid, name: str) -> pd.DataFrame:
    """Table of the cells of sites, one row per site.

    Columns are `site`, `lon`, `lat`, `row`, `col`, `cell` (row-major; -1 outside the grid),
    `distance_km` to the cell's centre, and for variable `name` `sites_in_cell` (number of sites
    with a value), `cell_mean` and `departure` (value of the site minus mean of its cell).

    `ds` has dims (..., cell), coordinates `lat` and `lon` and optionally `site`. Distances are
    geodesics on WGS 84. Series are averaged over time.
    """
    ids = ds["site"].values if "site" in ds.coords else ds["cell"].values
    lon, lat = ds["lon"].values.astype(float), ds["lat"].values.astype(float)
    row, col = grid.index_of(lon, lat)
    inside = row >= 0
    cell = np.where(inside, row * grid.shape[1] + col, -1)
    centre_lon, centre_lat = grid.lonlat()
    distance = np.full(lon.size, np.nan)
    at = (row[inside], col[inside])
    _, _, metres = pyproj.Geod(ellps="WGS84").inv(
        lon[inside], lat[inside], centre_lon[at], centre_lat[at]
    )
    distance[inside] = np.asarray(metres) / 1000
    da = ds[name]
    value = da.mean("time").values if "time" in da.dims else da.values
    table = pd.DataFrame(
        {
            "site": np.asarray(ids).astype(str), "lon": lon, "lat": lat, "row": row, "col": col,
            "cell": cell, "distance_km": distance, "value": value.astype(float),
        }
    )  # fmt: skip
    of_cell = table[inside].groupby("cell")["value"]
    table["sites_in_cell"] = table["cell"].map(of_cell.count()).fillna(0).astype(int)
    table["cell_mean"] = table["cell"].map(of_cell.mean())
    table["departure"] = table["value"] - table["cell_mean"]
    return table.drop(columns="value")


def unmatched(table: pd.DataFrame, land: np.ndarray) -> dict[str, np.ndarray]:
    """Masks [site] of the sites without a cell of `land`, dims (y, x), by reason."""
    cell = table["cell"].to_numpy()
    outside = cell < 0
    return {
        "outside the grid": outside,
        "in cells without land or forcings": ~outside & ~land.ravel()[np.maximum(cell, 0)],
    }


def unmatched_faults(table: pd.DataFrame, without: dict[str, np.ndarray], where: str) -> Faults:
    """One fault for each reason, with the number and ids of the sites."""
    faults = Faults()
    for reason, which in without.items():
        if which.any():
            faults.add(
                where, f"sites {reason}, {listed(table['site'].to_numpy()[which])}",
                "sites in cells with land and forcings",
                "Leave them out with inputs.exclude_unmatched: true, or choose another grid.",
            )  # fmt: skip
    return faults


def cell_means(da: xr.DataArray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted cells, and the means of their sites, dims (..., cell), float32; NaN is left out.

    `cell` is the cell of each site.
    """
    cells, position = np.unique(cell, return_inverse=True)
    values = da.transpose("cell", ...).values.astype(np.float64)
    known = ~np.isnan(values)
    total = np.zeros((cells.size, *values.shape[1:]))
    count = np.zeros_like(total)
    np.add.at(total, position, np.where(known, values, 0.0))
    np.add.at(count, position, known)
    mean = total / np.where(count > 0, count, np.nan)
    return cells, np.moveaxis(mean, 0, -1).astype(np.float32)
