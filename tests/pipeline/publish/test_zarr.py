from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.grid.crs import crs_of
from pipeline.grid.target_grid import TargetGrid
from pipeline.publish.geotiff import write_cog
from pipeline.publish.zarr import halved, open_map_zarr, overview_levels, write_map_zarr
from tests.maps import ALBERS, GRID, TARGET, field, gdalinfo, needs_gdalinfo

WIDE = TargetGrid.from_bounds("wide", "EPSG:6933", (0, 0, 1210000, 603000), (1000, 1000))


def wide() -> xr.DataArray:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, *WIDE.shape)).astype(np.float32)
    values[:, :70, :90] = np.nan
    time = np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]")
    coords = {**WIDE.coords(), "time": time}
    return xr.DataArray(values, dims=("time", "y", "x"), coords=coords, name="v")


@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_gdal_sees_one_map_with_a_band_a_date(tmp_path: Path, grid: TargetGrid) -> None:
    path = write_map_zarr(tmp_path / "m.zarr", field(grid)[TARGET], grid)
    with rasterio.open(path) as raster:
        assert raster.count == 12
        assert raster.crs.to_string() == grid.crs
        np.testing.assert_allclose(raster.transform, grid.transform, rtol=0, atol=1e-9 * grid.dx)
        assert np.isnan(raster.nodata)
        np.testing.assert_array_equal(raster.read(), field(grid)[TARGET].values)


@needs_gdalinfo
@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_an_older_gdal_reads_each_date(tmp_path: Path, grid: TargetGrid) -> None:
    path = write_map_zarr(tmp_path / "m.zarr", field(grid)[TARGET], grid)
    text = gdalinfo(f'ZARR:"{path}":/{TARGET}:3')
    west, _, _, north = grid.bounds
    assert f"Origin = ({west:.15f},{north:.15f})" in text
    assert f"Pixel Size = ({grid.dx:.15f},{-grid.dy:.15f})" in text
    assert f'ID["EPSG",{grid.crs.split(":")[1]}]' in text
    assert "NoData Value=nan" in text
    assert "Unit Type: m3 m-3" in text
    flag = write_map_zarr(tmp_path / "f.zarr", field(grid)["quality_flag"], grid)
    assert "NoData Value=255" in gdalinfo(flag)


def test_xarray_reads_it_with_crs_times_and_missing(tmp_path: Path) -> None:
    path = write_map_zarr(
        tmp_path / "m.zarr", field(ALBERS)[[TARGET]], ALBERS, attrs={"title": "t"}
    )
    da = open_map_zarr(path)
    xr.testing.assert_equal(da.load(), field(ALBERS)[TARGET].drop_attrs())
    assert crs_of(da) == "EPSG:5070"
    assert da["y"].dtype == da["x"].dtype == np.float64
    assert da.attrs["units"] == "m3 m-3"
    assert xr.open_zarr(path).attrs["title"] == "t"
    assert "the year of its dates is nominal" in da["time"].attrs["comment"]
    assert zarr.open_group(path).metadata.zarr_format == 2


def test_overviews_are_stores_of_their_own(tmp_path: Path) -> None:
    da = wide()
    path = write_map_zarr(tmp_path / "w.zarr", da, WIDE)
    assert overview_levels(path) == 3
    listed = json.loads((path / ".zmetadata").read_text())["metadata"]
    assert not any("overviews" in key for key in listed)
    levels = json.loads((path / ".zattrs").read_text())["multiscales"][0]["datasets"]
    assert [level["factor"] for level in levels] == [1, 2, 4, 8]
    half = open_map_zarr(path, 1)
    assert half.shape == (2, 302, 605)
    assert float(half.x[1] - half.x[0]) == 2000
    quads = da.values[:, :602].reshape(2, 301, 2, 605, 2)
    count = np.isfinite(quads).sum(axis=(2, 4))
    mean = np.nansum(quads, axis=(2, 4), dtype=np.float64) / np.where(count, count, np.nan)
    np.testing.assert_allclose(half.values[:, :301], mean, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(
        half.values[0, 301], da.values[0, 602].reshape(605, 2).mean(axis=1), atol=1e-6
    )
    with rasterio.open(path / "overviews" / "4") as raster:
        assert raster.transform.a == 4000
        assert raster.crs.to_epsg() == 6933


@pytest.mark.parametrize("kind", ["continuous", "categorical"])
def test_overviews_are_those_of_the_cog(tmp_path: Path, kind: str) -> None:
    grid = TargetGrid.from_bounds("even", "EPSG:5070", (0, 0, 1200000, 480000), (1000, 1000))
    rng = np.random.default_rng(5)
    values = rng.normal(size=grid.shape).astype(np.float32)
    values[rng.random(grid.shape) < 0.4] = np.nan
    if kind == "categorical":
        values = rng.choice([1, 2, 3, 12, 255], grid.shape).astype(np.uint8)
    da = xr.DataArray(values, dims=("y", "x"), coords=grid.coords(), name="map")
    cog = write_cog(tmp_path / "map.tif", da, grid, kind=kind)  # type: ignore[arg-type]
    store = write_map_zarr(tmp_path / "map.zarr", da, grid)
    for level in (1, 2):
        with (
            rasterio.open(cog, overview_level=level - 1) as wanted,
            rasterio.open(store / "overviews" / str(2**level)) as found,
        ):
            np.testing.assert_array_equal(found.read(), wanted.read())
            assert found.nodata == pytest.approx(wanted.nodata, nan_ok=True)
            assert found.dtypes == wanted.dtypes
            np.testing.assert_allclose(found.transform, wanted.transform, rtol=0, atol=1e-6)
            assert found.crs == wanted.crs


@needs_gdalinfo
def test_an_older_gdal_reads_each_overview(tmp_path: Path) -> None:
    path = write_map_zarr(tmp_path / "w.zarr", wide(), WIDE)
    for level in range(1, overview_levels(path) + 1):
        text = gdalinfo(f'ZARR:"{path}/overviews/{2**level}":/v:1')
        size = 1000 * 2**level
        assert f"Origin = (0.000000000000000,{603000:.15f})" in text
        assert f"Pixel Size = ({size:.15f},{-size:.15f})" in text
        assert 'ID["EPSG",6933]' in text
        assert "NoData Value=nan" in text


def test_the_same_map_produces_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write_map_zarr(tmp_path / name, wide(), WIDE) for name in ("a", "b"))
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert files == sorted(file.relative_to(other) for file in other.rglob("*") if file.is_file())
    assert all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))
def test_halved_codes_are_among_the_four(rows: int, cols: int, seed: int) -> None:
    block = np.random.default_rng(seed).choice([0, 1, 2, 255], (rows, cols)).astype(np.uint8)
    found = halved(block)
    assert found.shape == (-(-rows // 2), -(-cols // 2))
    for row, col in np.ndindex(found.shape):
        four = block[2 * row : 2 * row + 2, 2 * col : 2 * col + 2].ravel()
        valid = four[four != 255]
        if not valid.size:
            assert found[row, col] == 255
            continue
        codes, votes = np.unique(valid, return_counts=True)
        assert found[row, col] in codes[votes == votes.max()]


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one variable per store"):
        write_map_zarr(tmp_path / "m.zarr", field(), GRID)
    with pytest.raises(InputError, match="the grid's shape"):
        write_map_zarr(tmp_path / "m.zarr", field()[TARGET], ALBERS)
    assert list(tmp_path.iterdir()) == []
