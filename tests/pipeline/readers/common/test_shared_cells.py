"""Series of curvilinear files: cells of all files compared, and those unseen in one completed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.curvilinear import Locator
from pipeline.grid.target_grid import TargetGrid
from pipeline.readers.common import shared_cells as module
from pipeline.readers.common.shared_cells import known_degrees
from pipeline.sources.open import check_source, open_source

GRID = TargetGrid.from_bounds("grid", "EPSG:4326", (2, 42, 6, 45), 1.0)
STEP = 0.2
Y, X = 30, 40


def cells() -> tuple[np.ndarray, np.ndarray]:
    """Latitudes and longitudes of a grid that is turned a little."""
    row, col = np.meshgrid(np.arange(Y), np.arange(X), indexing="ij")
    return 46.0 - STEP * row + 0.02 * col, 0.5 + STEP * col + 0.03 * row


def write(
    folder: Path, year: int, shift: float = 0.0, unseen: Any = None, fill: float | None = -9999.0
) -> None:
    lat, lon = cells()
    values = 4.0 * lon + (year - 2000) / 10
    lon = lon + shift
    if unseen is not None:
        values = np.where(unseen, np.nan, values)
        lat, lon = (np.where(unseen, np.nan if fill is None else fill, v) for v in (lat, lon))
    dims = ("south_north", "west_east")
    xr.Dataset(
        {"T2": (("time", *dims), values[None].astype("f4"), {"units": "degC"})},
        {"time": pd.DatetimeIndex([f"{year}-01-01"]),
         "XLAT": (dims, lat, {"units": "degrees_north"}),
         "XLONG": (dims, lon, {"units": "degrees_east"})},
    ).to_netcdf(folder / f"wrf_{year}.nc")  # fmt: skip


def source(folder: Path, uri: str = "wrf_{year}.nc", **more: Any) -> Source:
    years = {} if "*" in uri else {"years": [2019, 2021]}
    entry = {"name": "wrf", "uri": str(folder / uri), "driver": "netcdf", "lat": "XLAT",
             "lon": "XLONG", "time": years, "variables": {"air_temperature": {"name": "T2"}},
             "method": "bilinear"}  # fmt: skip
    return Source.model_validate(entry | more)


@pytest.mark.parametrize("uri", ["wrf_{year}.nc", "wrf_*.nc"])
@pytest.mark.parametrize("whole", [True, False])
def test_another_grid_in_a_later_file_is_refused_with_its_distance(
    tmp_path: Path, uri: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:
        monkeypatch.setattr(module, "WHOLE_CELLS", 100)
    for year, shift in ((2019, 0.0), (2020, 0.0), (2021, 1.5)):
        write(tmp_path, year, shift)
    faults = Faults()
    check_source(source(tmp_path, uri), faults)
    text = str(InputError(faults.faults))
    assert "wrf_2021.nc: XLAT, XLONG: found cells up to" in text
    assert "km from those of" in text
    assert "wrf_2019.nc" in text
    with pytest.raises(InputError, match="files on one grid"):
        build_cube(tmp_path / "c.zarr", GRID, [source(tmp_path, uri)])


def test_rounding_of_coordinates_is_no_other_grid(tmp_path: Path) -> None:
    for year, shift in ((2019, 0.0), (2020, 1e-6), (2021, 360.0)):
        write(tmp_path, year, shift)
    faults = Faults()
    check_source(source(tmp_path), faults)
    assert faults.faults == []


@pytest.mark.parametrize("fill", [-9999.0, None])
@pytest.mark.parametrize("method", ["conservative", "bilinear"])
def test_cells_unseen_in_the_first_file_are_those_of_others(
    tmp_path: Path, fill: float | None, method: str
) -> None:
    """Each file has coordinates of other columns only, as swaths on one grid."""
    (tmp_path / "whole").mkdir()
    col = np.broadcast_to(np.arange(X), (Y, X))
    for i, year in enumerate((2019, 2020, 2021)):
        write(tmp_path, year, unseen=(col + 5 * i) % 15 < 5, fill=fill)
        write(tmp_path / "whole", year)
    cubes = [build_cube(folder / "c.zarr", GRID, [source(folder, method=method, min_coverage=0.0)])
             for folder in (tmp_path, tmp_path / "whole")]  # fmt: skip
    found, expected = (cube["air_temperature"].values for cube in cubes)
    seen = np.isfinite(found)
    assert seen.mean() > 0.3
    tolerance = 1e-4 if method == "bilinear" else 3.0  # other cells of a target cell are missing
    if method == "bilinear":
        inside = cubes[0]["air_temperature_coverage"].values == 1
        assert inside.any()
        seen &= inside
    np.testing.assert_allclose(found[seen], expected[seen], atol=tolerance)


def test_cells_that_no_file_has_do_not_spoil_their_neighbours(tmp_path: Path) -> None:
    unseen = np.zeros((Y, X), bool)
    unseen[12:16, 18:22] = True
    for year in (2019, 2020, 2021):
        write(tmp_path, year, unseen=unseen)
    cube = build_cube(tmp_path / "c.zarr", GRID, [source(tmp_path, method="conservative")])
    found = cube["air_temperature"].values[0]
    lon = np.broadcast_to(GRID.x, GRID.shape)
    assert np.isfinite(found).sum() >= 8
    seen = np.isfinite(found)
    np.testing.assert_allclose(found[seen], 4 * lon[seen] + 1.9, atol=1.5)


def test_areas_next_to_missing_centres_are_those_of_whole_cells() -> None:
    lat, lon = cells()
    whole = Locator(lon, lat).cell_area()
    lat[10, 10] = lon[10, 10] = np.nan
    area = Locator(lon, lat).cell_area()
    assert np.isnan(area).sum() <= 1
    known = np.isfinite(area)
    np.testing.assert_allclose(area[known], whole[known], rtol=0.02)


def test_fill_values_are_no_degrees() -> None:
    found = known_degrees(np.array([-9999.0, 45, np.nan, 1e20]), 90.0)
    np.testing.assert_array_equal(found, [np.nan, 45, np.nan, np.nan])


def test_1d_axes_in_a_later_file_are_another_grid(tmp_path: Path) -> None:
    write(tmp_path, 2019)
    write(tmp_path, 2021)
    lat, lon = cells()
    xr.Dataset(
        {"T2": (("time", "south_north", "west_east"), lat[None], {"units": "degC"})},
        {"time": pd.DatetimeIndex(["2020-01-01"]),
         "XLAT": ("south_north", lat[:, 0], {"units": "degrees_north"}),
         "XLONG": ("west_east", lon[0], {"units": "degrees_east"})},
    ).to_netcdf(tmp_path / "wrf_2020.nc")  # fmt: skip
    with pytest.raises(InputError, match=r"2020\.nc: found XLAT along south_north; XLONG"):
        build_cube(tmp_path / "cube.zarr", GRID, [source(tmp_path)])


def test_rows_without_coordinates_in_a_later_file_are_another_grid(tmp_path: Path) -> None:
    at = {"lat": np.arange(45.5, 41, -1), "lon": np.arange(0.5, 7)}
    for year in (2019, 2020, 2021):
        ds = xr.Dataset(
            {"T2": (("time", "lat", "lon"), np.ones((1, 5, 7)), {"units": "degC"})},
            {"time": pd.DatetimeIndex([f"{year}-01-01"]), **at},
        )  # fmt: skip
        if year == 2020:
            ds = ds.drop_vars(["lat", "lon"])
        ds.to_netcdf(tmp_path / f"wrf_{year}.nc")
    with pytest.raises(InputError, match=r'2020\.nc: found "lat" that differs'):
        open_source(source(tmp_path, "wrf_*.nc", lat=None, lon=None))


def test_rounded_rows_are_the_same_grid(tmp_path: Path) -> None:
    at = {"lat": np.arange(45.5, 41, -1), "lon": np.arange(0.5, 7)}
    for year in (2019, 2020):
        xr.Dataset(
            {"T2": (("time", "lat", "lon"), np.ones((1, 5, 7)), {"units": "degC"})},
            {"time": pd.DatetimeIndex([f"{year}-01-01"]), **at},
        ).to_netcdf(tmp_path / f"wrf_{year}.nc")  # fmt: skip
        at["lat"] = at["lat"] + 1e-5
    entry = source(tmp_path, "wrf_*.nc", lat=None, lon=None, time={"gaps": "missing"})
    cube = build_cube(tmp_path / "cube.zarr", GRID, [entry])
    assert float(cube["air_temperature"].min()) == float(cube["air_temperature"].max())
