"""The source cell of a point, for grids in degrees, in metres, and with 2-D coordinates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from pipeline.entries.source import Source
from pipeline.sources.open import nearest_cells

ROWS, COLS = 12, 16


def source(folder: Path, ds: xr.Dataset, crs: str) -> Source:
    ds.to_netcdf(folder / "a.nc")
    return Source.model_validate(
        {"name": "test", "uri": str(folder / "a.nc"), "driver": "netcdf", "crs": crs,
         "variables": {"soil_moisture": {"name": "v"}}}
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["degrees", "metres", "curvilinear"])
def test_a_point_near_a_centre_has_the_number_of_its_cell(kind: str, tmp_path: Path) -> None:
    values = np.ones((ROWS, COLS))
    i, j = np.meshgrid(np.arange(COLS), np.arange(ROWS))
    crs = "EPSG:5070" if kind == "metres" else "EPSG:4326"
    if kind == "curvilinear":
        lon, lat = -90 + 1.0 * i + 0.2 * j, 40 - 1.0 * j + 0.2 * i
        coords = {"XLONG": (("j", "i"), lon, {"units": "degrees_east"}),
                  "XLAT": (("j", "i"), lat, {"units": "degrees_north"})}  # fmt: skip
        ds = xr.Dataset({"v": (("j", "i"), values)}, coords)
    else:
        x, y = (
            (np.arange(COLS) * 1e5 - 5e5, 2e6 - np.arange(ROWS) * 1e5) if kind == "metres"
            else (270.0 + np.arange(COLS), 40.0 - np.arange(ROWS))
        )  # fmt: skip
        ds = xr.Dataset({"v": (("y", "x"), values)}, {"y": y, "x": x})
        change = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        lon, lat = change.transform(*np.meshgrid(x, y))
        lon = (lon + 180) % 360 - 180
    near = np.random.default_rng(0).uniform(-0.3, 0.3, (2, ROWS, COLS))
    found = nearest_cells(
        source(tmp_path, ds, crs), (lon + near[0]).ravel(), (lat + near[1]).ravel()
    )
    np.testing.assert_array_equal(found, np.arange(ROWS * COLS))
