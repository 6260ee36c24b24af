from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
import zarr
from scipy.interpolate import interpn

from pipeline.core.errors import InputError
from pipeline.cube.open import cube_tiles, open_cube
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.holes import holes, land_on
from pipeline.maps.legend import named_legend
from pipeline.maps.mosaic import (
    aggregated,
    create_map,
    fill_map_tile,
    is_coarser,
    mosaic,
    reproject_map,
)
from pipeline.publish.geotiff import write_cog
from pipeline.publish.qgis_layers import date_layers
from pipeline.publish.qml import write_qml
from pipeline.publish.stac import times_of
from pipeline.publish.verify import verify_product
from pipeline.publish.zarr import open_map_zarr, write_map_zarr
from tests.maps import ALBERS, GRID, NAMES, TARGET, field, on_land, truth, write_prediction

EASE = TargetGrid(
    name="ease",
    crs="EPSG:6933",
    west=-12061785.9,
    north=6000000.0,
    dx=36032.2,
    dy=36032.2,
    shape=(90, 160),
)
COARSE = TargetGrid.from_bounds("coarse", "EPSG:4326", (-125, 24, -65, 50), 2.0)


@pytest.fixture(scope="module")
def prediction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prediction(tmp_path_factory.mktemp("p") / "p.zarr")


def loaded(path: Path) -> xr.Dataset:
    return open_cube(path).load().drop_attrs()


def test_in_its_own_grid_a_mosaic_is_the_prediction(prediction: Path, tmp_path: Path) -> None:
    counts = mosaic(prediction, GRID, tmp_path / "m.zarr")
    found, wanted = loaded(tmp_path / "m.zarr"), field().drop_attrs()
    for name in wanted.data_vars:
        np.testing.assert_array_equal(found[name].values, wanted[name].values)
    assert counts["cells"] == int(wanted[TARGET].notnull().any("time").sum())
    assert open_cube(tmp_path / "m.zarr").attrs["config"] == {"seed": 1}


@pytest.mark.parametrize("grid", [GRID, ALBERS, EASE, COARSE], ids=lambda grid: grid.name)
def test_many_tiles_are_one_tile(prediction: Path, tmp_path: Path, grid: TargetGrid) -> None:
    for tile in (512, 64, 48):
        mosaic(prediction, grid, tmp_path / f"{tile}.zarr", tile=tile, aggregate="seasonal")
    whole = loaded(tmp_path / "512.zarr")
    for tile in (64, 48):
        xr.testing.assert_identical(loaded(tmp_path / f"{tile}.zarr"), whole)


@pytest.mark.parametrize("grid", [ALBERS, EASE], ids=lambda grid: grid.name)
def test_another_projection_agrees_at_locations(
    prediction: Path, tmp_path: Path, grid: TargetGrid
) -> None:
    mosaic(prediction, grid, tmp_path / "m.zarr")
    found = open_cube(tmp_path / "m.zarr").load()
    lon, lat = np.meshgrid(np.arange(-115, -75, 2.3), np.arange(29, 47, 1.7))
    inside = on_land(lon, lat) & on_land(lon + 1, lat) & on_land(lon - 1, lat)
    lon, lat = lon[inside], lat[inside]
    row, col = grid.index_of(lon, lat)
    assert (row >= 0).all()
    values = found[TARGET].values[:, row, col]
    assert np.isfinite(values).all()
    cell_lon, cell_lat = grid.lonlat()
    exact = truth(cell_lon[row, col], cell_lat[row, col])
    # Bilinear on half degrees is off by at most h^2 / 8 times the second derivative.
    np.testing.assert_allclose(values, exact, atol=2e-4)
    np.testing.assert_allclose(values, truth(lon, lat), atol=4e-3)


def test_published_files_of_two_projections_agree_at_locations(
    prediction: Path, tmp_path: Path
) -> None:
    """The EPSG:5070 file, cell by cell, is the EPSG:4326 file at that cell's location."""
    for grid in (GRID, ALBERS):
        mosaic(prediction, grid, tmp_path / f"{grid.name}.zarr")
        write_cog(
            tmp_path / f"{grid.name}.tif", open_cube(tmp_path / f"{grid.name}.zarr")[TARGET], grid
        )
    with rasterio.open(tmp_path / "albers.tif") as raster:
        albers, to_place = raster.read(), raster.transform
        lonlat = pyproj.Transformer.from_crs(raster.crs, "EPSG:4326", always_xy=True)
    with rasterio.open(tmp_path / "test.tif") as raster:
        degrees, to_cell = raster.read().astype(np.float64), ~raster.transform
    row, col = np.argwhere(np.isfinite(albers[0]))[::7].T
    x, y = to_cell @ lonlat.transform(*(to_place @ (col + 0.5, row + 0.5)))
    around = [np.arange(n) + 0.5 for n in degrees.shape[1:]]
    wanted = np.stack([interpn(around, band, np.column_stack([y, x])) for band in degrees])
    whole = np.isfinite(wanted[0])  # at the coast a corner of the four is missing
    assert whole.sum() > 100
    np.testing.assert_allclose(albers[:, row, col][:, whole], wanted[:, whole], atol=1e-6)


@pytest.mark.parametrize("grid", [ALBERS, EASE, COARSE], ids=lambda grid: grid.name)
def test_values_lie_exactly_where_the_flag_allows_them(
    prediction: Path, tmp_path: Path, grid: TargetGrid
) -> None:
    mosaic(prediction, grid, tmp_path / "m.zarr")
    ds = open_cube(tmp_path / "m.zarr").load()
    valid = np.isfinite(ds[TARGET].values)
    flag = ds["quality_flag"].values
    assert set(np.unique(flag)) == {0, 1, 3, 255}
    np.testing.assert_array_equal(valid.all(axis=0), (flag == 0) | (flag == 1))
    np.testing.assert_array_equal(valid.any(axis=0), valid.all(axis=0))


def test_a_coarser_grid_averages_areas(prediction: Path, tmp_path: Path) -> None:
    source = open_cube(prediction)
    assert is_coarser(source, COARSE)
    assert not is_coarser(source, ALBERS)
    ds = reproject_map(source, COARSE)
    row, col = COARSE.index_of(-95.0, 38.0)
    west, east = COARSE.x_edges[int(col)], COARSE.x_edges[int(col) + 1]
    north, south = COARSE.y_edges[int(row)], COARSE.y_edges[int(row) + 1]
    part = field()[TARGET].sel(x=slice(west, east), y=slice(north, south))
    weight = np.cos(np.deg2rad(part["y"]))
    wanted = part.weighted(weight).mean(("y", "x"))
    np.testing.assert_allclose(ds[TARGET].values[:, row, col], wanted.values, atol=1e-5)


def test_aggregates_have_their_own_times(prediction: Path, tmp_path: Path) -> None:
    mosaic(prediction, GRID, tmp_path / "mean.zarr", aggregate="mean")
    ds = open_cube(tmp_path / "mean.zarr")
    assert ds[TARGET].dims == ("y", "x")
    np.testing.assert_array_equal(ds["quality_flag"].values, field()["quality_flag"].values)
    mosaic(prediction, GRID, tmp_path / "season.zarr", aggregate="seasonal")
    season = open_cube(tmp_path / "season.zarr")
    assert season.sizes["time"] == 4
    assert season[TARGET].attrs["long_name"] == "soil moisture, seasonal mean"
    assert season[TARGET].attrs["cell_methods"] == "time: mean"
    assert season["quality_flag"].attrs["long_name"] == "quality flag"


def test_a_published_percentile_is_named_and_its_spread_is_a_mean(
    prediction: Path, tmp_path: Path
) -> None:
    mosaic(prediction, GRID, tmp_path / "m.zarr", aggregate="p10")
    ds = open_cube(tmp_path / "m.zarr")
    write_map_zarr(tmp_path / "p10.zarr", ds[TARGET], GRID)
    attrs = open_map_zarr(tmp_path / "p10.zarr").attrs
    assert attrs["long_name"] == "soil moisture, percentile 10 over time"
    assert "cell_methods" not in attrs
    assert ds[f"{TARGET}_spread"].attrs["cell_methods"] == "time: mean"
    series = field()[TARGET].values[:, 26, 60]
    np.testing.assert_allclose(ds[TARGET].values[26, 60], np.percentile(series, 10), rtol=1e-6)


def test_months_keep_their_names(prediction: Path, tmp_path: Path) -> None:
    from pipeline.publish.bands import names_of_bands

    mosaic(prediction, ALBERS, tmp_path / "m.zarr")
    assert names_of_bands(open_cube(tmp_path / "m.zarr")[TARGET]) == NAMES


def test_tiles_can_be_filled_in_any_order(prediction: Path, tmp_path: Path) -> None:
    task = create_map(prediction, ALBERS, tmp_path / "m.zarr", tile=40)
    for tile in reversed(cube_tiles(task.store)):
        fill_map_tile(task, tile)
    mosaic(prediction, ALBERS, tmp_path / "n.zarr", tile=40)
    xr.testing.assert_identical(loaded(tmp_path / "m.zarr"), loaded(tmp_path / "n.zarr"))


def test_holes_are_counted_and_listed(prediction: Path, tmp_path: Path) -> None:
    land = on_land(*GRID.lonlat())
    whole = holes(prediction, land, TARGET)
    flag = field()["quality_flag"].values
    assert (whole.land, whole.missing) == (int(land.sum()), 0)
    assert whole.masked == int((flag == 3).sum()) > 0
    broken = write_prediction(tmp_path / "p.zarr", skip="r000_c001")
    found = holes(broken, land, TARGET)
    lost = land[0:32, 32:64]
    assert found.missing == int(lost.sum())
    assert found.predicted + found.masked + found.missing == found.land
    row, col, lon, lat = found.cells[0]
    assert lost[row, col - 32]
    assert (lon, lat) == (GRID.x[col], GRID.y[row])


def test_a_warm_up_without_any_value_is_no_hole(tmp_path: Path) -> None:
    path, land = write_prediction(tmp_path / "p.zarr"), on_land(*GRID.lonlat())
    wanted = holes(path, land, TARGET)
    stored = zarr.open_group(path, mode="r+")[TARGET]
    stored[:2] = np.nan
    assert holes(path, land, TARGET) == wanted
    stored[2, 26, 60] = np.nan
    assert holes(path, land, TARGET).missing == 1


def test_a_time_without_values_is_no_hole_but_a_gap_in_one_month_is(tmp_path: Path) -> None:
    path = write_prediction(tmp_path / "p.zarr")
    land = on_land(*GRID.lonlat())
    group = zarr.open_group(str(path), mode="r+")
    group[TARGET][0] = np.nan
    assert holes(path, land, TARGET).missing == 0
    row, col = np.argwhere(land & (field()["quality_flag"].values == 0))[0]
    group[TARGET][3, row, col] = np.nan
    found = holes(path, land, TARGET)
    assert (found.missing, found.flagged) == (1, 0)
    assert found.cells[0][:2] == (row, col)
    group[TARGET][:, row, col] = np.nan
    # Its flag still states that it was predicted.
    assert (holes(path, land, TARGET).missing, holes(path, land, TARGET).flagged) == (1, 1)
    assert holes(path, land, "quality_flag").missing == 0
    group[TARGET][...] = np.nan
    assert holes(path, land, TARGET).predicted == 0


@pytest.mark.parametrize("grid", [GRID, ALBERS, EASE, COARSE], ids=lambda grid: grid.name)
def test_land_on_another_grid_is_where_its_flags_are(
    prediction: Path, tmp_path: Path, grid: TargetGrid
) -> None:
    mosaic(prediction, grid, tmp_path / "m.zarr")
    land = field()["quality_flag"].values != 255
    warped = land_on(land, open_cube(prediction), grid, cube_tiles(tmp_path / "m.zarr"))
    ds = loaded(tmp_path / "m.zarr")
    np.testing.assert_array_equal(warped, ds["quality_flag"].values != 255)
    assert warped.any()
    assert holes(tmp_path / "m.zarr", warped, TARGET).missing == 0


def test_an_unknown_aggregate_is_reported_before_anything_is_written(
    prediction: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="aggregate"):
        mosaic(prediction, GRID, tmp_path / "m.zarr", aggregate="weekly")
    assert list(tmp_path.iterdir()) == []


def test_spreads_are_never_taken_for_quantities() -> None:
    rng = np.random.default_rng(0)
    time = np.arange("2001-01", "2003-01", dtype="datetime64[M]").astype("datetime64[ns]")
    series = rng.random((24, 2, 3)).astype(np.float32)
    ds = xr.Dataset(
        {
            "q": (("time", "y", "x"), series),
            "q_spread": (("time", "y", "x"), series + 1),
            "quality_flag": (("y", "x"), np.zeros((2, 3), np.uint8)),
        },
        {"time": time},
    )
    anomaly = aggregated(ds, "anomaly")
    np.testing.assert_array_equal(anomaly["q_spread"], ds["q_spread"])
    np.testing.assert_allclose(anomaly["q"][0], (series[0] - series[12]) / 2, atol=1e-6)
    low = aggregated(ds, "p10")
    np.testing.assert_allclose(low["q"], np.percentile(series, 10, axis=0), rtol=1e-6)
    days = np.array(time, "datetime64[M]").astype("datetime64[D]")
    weight = np.diff(np.append(days, np.datetime64("2003-01-01"))).astype(float)
    mean = np.average(series + 1.0, axis=0, weights=weight)
    np.testing.assert_allclose(low["q_spread"], mean, rtol=1e-6)
    assert aggregated(ds, "annual").sizes["time"] == 2


def test_several_percentiles_are_bands_by_name_in_every_file(
    prediction: Path, tmp_path: Path
) -> None:
    for tile in (512, 48):
        mosaic(prediction, GRID, tmp_path / f"{tile}.zarr", aggregate="p10,p50,p90", tile=tile)
    ds = loaded(tmp_path / "512.zarr")
    xr.testing.assert_identical(loaded(tmp_path / "48.zarr"), ds)
    assert "time" not in ds.dims
    assert ds[TARGET].dims == ("band", "y", "x")
    assert ds[f"{TARGET}_spread"].dims == ("y", "x")
    source = open_cube(tmp_path / "512.zarr")[TARGET]
    assert source.attrs["long_name"] == "soil moisture, percentiles 10, 50, 90 over time"
    wanted = np.percentile(field()[TARGET].values, [10, 50, 90], axis=0)
    np.testing.assert_allclose(ds[TARGET].values, wanted, rtol=1e-6)
    with rasterio.open(write_cog(tmp_path / "p.tif", source, GRID)) as raster:
        assert raster.descriptions == ("p10", "p50", "p90")
        assert "time" not in raster.tags(1)
    path = write_map_zarr(tmp_path / "p.zarr", source, GRID)
    assert open_map_zarr(path)["band"].values.tolist() == ["p10", "p50", "p90"]
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(), ds[TARGET].values)
        np.testing.assert_allclose(raster.transform, GRID.transform, rtol=0, atol=1e-9)
    legend = named_legend("soil_moisture")
    names = ["p10", "p50", "p90"]
    write_qml(tmp_path / "p.qml", legend)
    for ending in ("tif", "zarr"):
        assert verify_product(tmp_path / f"p.{ending}", GRID, source, legend) == []
    layers = date_layers(tmp_path / "p.tif", legend)
    assert [(layer.name, layer.begin) for layer in layers] == [(name, None) for name in names]
    assert times_of(source).size == 0
