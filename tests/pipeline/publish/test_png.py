from __future__ import annotations

from pathlib import Path

import geopandas
import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from shapely.geometry import box

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.publish.png import read_outlines, reduced, write_preview
from tests.maps import ALBERS, GRID, TARGET, field


def test_a_preview_shows_the_legend_colours(tmp_path: Path) -> None:
    legend = named_legend("soil_moisture")
    da = field()[TARGET].isel(time=0)
    da = da.copy(data=np.full(da.shape, 0.3, np.float32))
    image = matplotlib.image.imread(write_preview(tmp_path / "a.png", da, legend, "Title"))
    rgb = (image[..., :3] * 255).round().astype(int).reshape(-1, 3)
    wanted = next(stop.rgb for stop in legend.stops if stop.value == 0.3)
    assert (np.abs(rgb - wanted).max(axis=1) <= 2).mean() > 0.6


def test_a_series_shows_four_seasons_in_any_projection(tmp_path: Path) -> None:
    legend = named_legend("soil_moisture")
    path = write_preview(tmp_path / "a.png", field(ALBERS)[TARGET], legend, "Title")
    height, width, _ = matplotlib.image.imread(path).shape
    assert width == 1300
    assert 700 < height < 1200
    again = write_preview(tmp_path / "b.png", field(ALBERS)[TARGET], legend, "Title")
    assert again.read_bytes() == path.read_bytes()


def test_classes_have_patches_and_outlines_are_drawn(tmp_path: Path) -> None:
    legend, flag = named_legend("quality_flag"), field()["quality_flag"]
    plain = write_preview(tmp_path / "a.png", flag, legend, "Flags").read_bytes()
    outlines = geopandas.GeoSeries([box(-110, 30, -90, 45)], crs="EPSG:4326")
    outlines.to_file(tmp_path / "o.gpkg")
    drawn = write_preview(tmp_path / "b.png", flag, legend, "Flags", outlines=tmp_path / "o.gpkg")
    assert drawn.read_bytes() != plain


def test_outlines_far_away_do_not_disturb_a_regional_projection() -> None:
    world = geopandas.GeoSeries([box(-180, -90, 180, 90), box(-100, 30, -90, 40)], crs="EPSG:4326")
    lines = read_outlines(world, field(ALBERS)[TARGET])
    (west, south), (east, north) = (end(np.concatenate(lines), axis=0) for end in (np.min, np.max))
    limits = ALBERS.bounds
    assert west > limits[0] - 2e6
    assert east < limits[2] + 2e6
    assert south > limits[1] - 2e6
    assert north < limits[3] + 2e6


def test_large_maps_are_reduced_by_means() -> None:
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-180, -90, 180, 90), 0.5)
    values = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    values[:40] = np.nan
    da = xr.DataArray(values, dims=("y", "x"))
    found = reduced(da, 240)
    assert found.shape == (120, 240)
    np.testing.assert_allclose(found[60, 7], values[180:183, 21:24].mean(), rtol=1e-5)
    assert np.isnan(found[:13]).all()
    codes = reduced(xr.DataArray(np.full((10, 10), 255, np.uint8), dims=("y", "x")), 240)
    assert np.isnan(codes).all()


def test_faults(tmp_path: Path) -> None:
    legend = named_legend("soil_moisture")
    with pytest.raises(InputError, match="0 to 11"):
        write_preview(tmp_path / "a.png", field()[TARGET], legend, "t", bands=[12])
    with pytest.raises(InputError, match="vector file"):
        write_preview(tmp_path / "a.png", field(GRID)[TARGET], legend, "t", outlines="none.gpkg")
    assert list(tmp_path.iterdir()) == []
