"""Sites matched to cells, and absences drawn beside events."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.sites.absences import draw_absences
from pipeline.sites.match import cell_means, match_sites, unmatched, unmatched_faults

GRID = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -60, 180, 60), 2.0)


def sites(lon, lat, values, time=None) -> xr.Dataset:
    dims = ("time", "cell") if time is not None else ("cell",)
    coords = {
        "cell": np.arange(len(lon)), "lon": ("cell", np.asarray(lon, float)),
        "lat": ("cell", np.asarray(lat, float)),
        "site": ("cell", [f"s{i}" for i in range(len(lon))]),
    }  # fmt: skip
    if time is not None:
        coords["time"] = time
    return xr.Dataset({"soil_moisture": (dims, np.asarray(values, np.float32))}, coords)


def test_a_site_has_the_cell_that_holds_it_and_its_distance() -> None:
    ds = sites([1.0, 1.5, -0.001, 10.0], [1.0, 1.0, 0.001, 75.0], [0.1, 0.3, 0.2, 0.4])
    table = match_sites(ds, GRID, "soil_moisture")
    assert table["site"].tolist() == ["s0", "s1", "s2", "s3"]
    assert table["row"].tolist() == [29, 29, 29, -1]
    assert table["col"].tolist() == [90, 90, 89, -1]
    assert table["cell"].tolist() == [29 * 180 + 90, 29 * 180 + 90, 29 * 180 + 89, -1]
    # Half a degree along the parallel of 1 degree; WGS 84.
    assert table["distance_km"][0] == pytest.approx(0.0, abs=1e-9)
    assert table["distance_km"][1] == pytest.approx(55.65, abs=0.02)
    assert np.isnan(table["distance_km"][3])
    assert table["sites_in_cell"].tolist()[:3] == [2, 2, 1]
    np.testing.assert_allclose(table["departure"][:3], [-0.1, 0.1, 0.0], atol=1e-7)


def test_across_the_antimeridian_and_0_360_the_same_cell() -> None:
    one = match_sites(sites([181.0, -179.0, 359.0, -1.0], [5.0] * 4, [0.1] * 4), GRID,
                      "soil_moisture")  # fmt: skip
    assert one["cell"][0] == one["cell"][1]
    assert one["cell"][2] == one["cell"][3]
    assert (one["distance_km"] < 1e-6).all()


def test_means_of_cells_leave_missing_values_out() -> None:
    time = np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]")
    ds = sites([1, 1, 5], [1, 1, 1], [[0.1, 0.3, 0.2], [np.nan, 0.4, np.nan]], time)
    cells, values = cell_means(ds["soil_moisture"], np.array([7, 7, 3]))
    assert cells.tolist() == [3, 7]
    np.testing.assert_allclose(values, [[0.2, 0.2], [np.nan, 0.4]], rtol=1e-6)


def test_sites_at_sea_and_outside_are_reported_together() -> None:
    ds = sites([1, 5, 10, 12], [1, 1, 75, 76], [0.1] * 4)
    land = np.zeros(GRID.shape, bool)
    land[29, 90] = True
    table = match_sites(ds, GRID, "soil_moisture")
    without = unmatched(table, land)
    assert [int(which.sum()) for which in without.values()] == [2, 1]
    with pytest.raises(InputError) as caught:
        unmatched_faults(table, without, 'source "x"').raise_if_any()
    assert "2 (s2, s3)" in str(caught.value)
    assert "without land or forcings, 1 (s1)" in str(caught.value)


def test_absences_keep_away_from_events_and_near_the_inventory() -> None:
    land = np.ones(GRID.shape, bool)
    land[:, :60] = False
    events = np.array([30 * 180 + 100, 30 * 180 + 101, 40 * 180 + 120])
    settings = {"ratio": 20.0, "buffer_km": 500.0, "reach_km": 2500.0}
    drawn = draw_absences(land, events, GRID, **settings, seed=3)
    assert len(np.unique(drawn)) == 60
    assert land.ravel()[drawn].all()
    lon, lat = (np.deg2rad(degrees.ravel()) for degrees in GRID.lonlat())
    for cell in drawn:
        cosine = np.sin(lat[cell]) * np.sin(lat[events]) + np.cos(lat[cell]) * np.cos(
            lat[events]
        ) * np.cos(lon[cell] - lon[events])
        nearest = 6371.0 * np.arccos(np.clip(cosine, -1, 1)).min()
        assert 495 < nearest < 2510
    again = draw_absences(land, events, GRID, **settings, seed=3)
    other = draw_absences(land, events, GRID, **settings, seed=4)
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)


def test_too_few_cells_for_absences_are_reported() -> None:
    land = np.zeros(GRID.shape, bool)
    land[30, 100:104] = True
    with pytest.raises(InputError, match="farther than 400 km"):
        draw_absences(land, np.array([30 * 180 + 100]), GRID, ratio=3.0, buffer_km=400.0,
                      reach_km=None, seed=0)  # fmt: skip
