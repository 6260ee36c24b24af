from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.publish import geotiff
from pipeline.publish.bands import BandStatistics, names_of_bands, valued_steps
from pipeline.publish.faults import cog_faults
from pipeline.publish.geotiff import block_size, write_cog
from tests.maps import ALBERS, GRID, NAMES, TARGET, field, gdalinfo, months, needs_gdalinfo

LARGE = TargetGrid.from_bounds("large", "EPSG:4326", (-180, -60, 180, 84), 0.3)  # 480 x 1200


def large() -> xr.DataArray:
    lon, lat = LARGE.lonlat()
    values = (np.sin(np.deg2rad(lon)) * np.cos(np.deg2rad(lat)))[None] * np.arange(1, 4)[
        :, None, None
    ]
    values = np.where(np.abs(lat) > 10, values, np.nan).astype(np.float32)
    return xr.DataArray(values, dims=("band", "y", "x"), name="wave", attrs={"units": "m"})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    for grid in (GRID, ALBERS):
        ds = field(grid)
        settings = {"provenance": {"config": {"seed": 1}}}
        write_cog(folder / f"{TARGET}_{grid.name}.tif", ds[TARGET], grid, metadata=settings)
        write_cog(
            folder / f"flag_{grid.name}.tif", ds["quality_flag"], grid, kind="categorical",
            legend=named_legend("quality_flag"),
        )  # fmt: skip
    write_cog(folder / "large.tif", large(), LARGE)
    return folder


@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_reopened_map_is_the_map(published: Path, grid: TargetGrid) -> None:
    with rasterio.open(published / f"{TARGET}_{grid.name}.tif") as raster:
        np.testing.assert_array_equal(raster.read(), field(grid)[TARGET].values)
        assert raster.crs.to_string() == grid.crs
        np.testing.assert_allclose(raster.transform, grid.transform, rtol=0, atol=1e-9 * grid.dx)
        assert raster.descriptions == tuple(NAMES)
        assert set(raster.units) == {"m3 m-3"}
        assert np.isnan(raster.nodatavals).all()
        assert raster.tags(2)["time"] == "2001-02-16T00:00:00"
        assert json.loads(raster.tags()["provenance"]) == {"config": {"seed": 1}}


def test_statistics_are_exact(published: Path) -> None:
    wanted = field()[TARGET].values.astype(np.float64)
    with rasterio.open(published / f"{TARGET}_test.tif") as raster:
        for band in (1, 7):
            tags = raster.tags(band)
            values = wanted[band - 1][np.isfinite(wanted[band - 1])]
            assert float(tags["STATISTICS_MINIMUM"]) == values.min()
            assert float(tags["STATISTICS_MAXIMUM"]) == values.max()
            assert float(tags["STATISTICS_MEAN"]) == pytest.approx(values.mean(), rel=1e-12)
            assert float(tags["STATISTICS_STDDEV"]) == pytest.approx(values.std(), rel=1e-12)


def test_every_map_is_a_strict_cog(published: Path) -> None:
    for path in published.glob("*.tif"):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(published / "large.tif") as raster:
        assert raster.overviews(1)[0] == 2
        assert raster.compression.name == "deflate"


def test_overviews_average_what_is_valid(published: Path) -> None:
    wanted = large().values
    with rasterio.open(published / "large.tif", overview_level=0) as half:
        found = half.read(2)
    quads = wanted[1].reshape(240, 2, 600, 2)
    count = np.isfinite(quads).sum(axis=(1, 3))
    mean = np.nansum(quads, axis=(1, 3)) / np.where(count, count, np.nan)
    np.testing.assert_allclose(found, mean, atol=1e-6)
    assert np.nanmin(found) >= np.nanmin(wanted[1])


def test_classes_keep_colours_and_codes_in_overviews(tmp_path: Path) -> None:
    legend = named_legend("usda_texture")
    codes = np.random.default_rng(0).integers(1, 13, (480, 1200)).astype(np.uint8)
    codes[:, :100] = 255
    da = xr.DataArray(codes, dims=("y", "x"), name="texture")
    path = write_cog(tmp_path / "t.tif", da, LARGE, kind="categorical", legend=legend)
    with rasterio.open(path) as raster:
        np.testing.assert_array_equal(raster.read(1), codes)
        assert raster.colorinterp == (ColorInterp.palette,)
        table = raster.colormap(1)
        assert {code: table[code][:3] for code in range(1, 13)} == {
            int(stop.value): stop.rgb for stop in legend.stops
        }
        assert raster.nodata == 255
    with rasterio.open(path, overview_level=0) as half:
        assert set(np.unique(half.read(1))) == set(np.unique(codes))


@needs_gdalinfo
@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_an_older_gdal_reads_it(published: Path, grid: TargetGrid) -> None:
    text = gdalinfo(published / f"{TARGET}_{grid.name}.tif")
    west, _, _, north = grid.bounds
    assert f"Origin = ({west:.15f},{north:.15f})" in text
    assert f"Pixel Size = ({grid.dx:.15f},{-grid.dy:.15f})" in text
    assert f'ID["EPSG",{grid.crs.split(":")[1]}]' in text
    assert [line.split("= ")[1] for line in text.splitlines() if "Description" in line] == NAMES
    assert text.count("NoData Value=nan") == 12
    assert text.count("Unit Type: m3 m-3") == 12
    assert "LAYOUT=COG" in text
    flag = gdalinfo(published / f"flag_{grid.name}.tif")
    assert "NoData Value=255" in flag
    assert "0: 0,158,115,255" in flag


@needs_gdalinfo
def test_an_older_gdal_leaves_nan_out(published: Path, tmp_path: Path) -> None:
    """Sea is transparent when drawn and absent from means, in GDAL 3.6 too."""
    colours = tmp_path / "colours.txt"
    colours.write_text("nv 0 0 0 0\n-4 255 0 0 255\n4 255 0 0 255\n")
    drawn = tmp_path / "drawn.tif"
    subprocess.run(
        ["gdaldem", "color-relief", "-q", "-alpha", published / "large.tif", colours, drawn],
        check=True,
    )
    with rasterio.open(drawn) as raster:
        np.testing.assert_array_equal(raster.read(4) > 0, np.isfinite(large().values[0]))
    shrunk = tmp_path / "shrunk.tif"
    subprocess.run(
        ["gdalwarp", "-q", "-r", "average", "-ts", "60", "24", published / "large.tif", shrunk],
        check=True,
    )
    with rasterio.open(shrunk) as raster:
        small = raster.read(1)
    assert np.nanmin(small) >= np.nanmin(large().values[0])
    assert np.isnan(small).any()


def test_equal_maps_are_equal_files(published: Path, tmp_path: Path) -> None:
    again = write_cog(tmp_path / "large.tif", large(), LARGE, threads=1)
    assert again.read_bytes() == (published / "large.tif").read_bytes()


def test_windows_do_not_change_the_file(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geotiff, "_WINDOW_BYTES", 1)
    monkeypatch.setattr(geotiff, "_COMPARED_BYTES", 1)
    again = write_cog(tmp_path / "large.tif", large(), LARGE)
    with rasterio.open(again) as one, rasterio.open(published / "large.tif") as other:
        np.testing.assert_array_equal(one.read(), other.read())
        first, second = one.tags(1), other.tags(1)
    assert first["STATISTICS_MAXIMUM"] == second["STATISTICS_MAXIMUM"]
    assert float(first["STATISTICS_STDDEV"]) == pytest.approx(float(second["STATISTICS_STDDEV"]))


def test_a_number_as_nodata(tmp_path: Path) -> None:
    path = write_cog(tmp_path / "n.tif", large(), LARGE, nodata=-9999.0)
    with rasterio.open(path) as raster:
        assert raster.nodata == -9999
        found = raster.read(masked=True).filled(np.nan)
    np.testing.assert_array_equal(found, large().values)


def test_nothing_is_left_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(geotiff.rasterio.shutil, "copy", broken)
    with pytest.raises(OSError, match="disk full"):
        write_cog(tmp_path / "a.tif", large(), LARGE)
    assert list(tmp_path.iterdir()) == []


def test_files_of_a_killed_writer_are_removed_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from pipeline.core import files as atomic\n"
        "with atomic.scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'scratch.tif').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "large.tif"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [entry.name.startswith(".large.tif.") for entry in tmp_path.iterdir()] == [True]
    write_cog(path, large(), LARGE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["large.tif"]


def test_a_file_that_is_not_as_meant_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = geotiff.rasterio.shutil.copy

    def shifted(source: Any, target: Path, **options: object) -> None:
        source.write(np.zeros((480, 1200), np.float32), 3)
        real(source, target, **options)

    monkeypatch.setattr(geotiff.rasterio.shutil, "copy", shifted)
    monkeypatch.setattr(geotiff, "_LOADED_BYTES", 0)
    with pytest.raises(RuntimeError, match="the map's values"):
        write_cog(tmp_path / "a.tif", large().chunk(), LARGE)
    assert list(tmp_path.iterdir()) == []


def test_faults_of_a_map_are_reported_together(tmp_path: Path) -> None:
    da = large().assign_coords(y=np.sort(LARGE.y), x=LARGE.x)
    with pytest.raises(InputError) as caught:
        write_cog(tmp_path / "a.tif", da, LARGE, band_names=["one"])
    assert {fault.where for fault in caught.value.faults} == {"a.tif: y", "a.tif: band names"}
    with pytest.raises(InputError, match="uint8 codes"):
        write_cog(tmp_path / "a.tif", large(), LARGE, kind="categorical")
    with pytest.raises(InputError, match="infinite"):
        write_cog(tmp_path / "a.tif", large().where(lambda v: v < 1, np.inf), LARGE)
    with pytest.raises(InputError, match="dims"):
        write_cog(tmp_path / "a.tif", large().transpose("y", "x", "band"), LARGE)


def test_faults_of_a_file(published: Path) -> None:
    path = published / "large.tif"
    assert cog_faults(path, LARGE, None, np.nan, "float32") == []
    shifted = TargetGrid.from_bounds("s", "EPSG:4326", (-179.7, -60, 180, 84), 0.3)
    found = cog_faults(path, shifted, ["a"], 0.0, "uint8")
    kinds = {fault.where.split(": ")[1] for fault in found}
    assert kinds == {"transform", "shape", "type", "nodata", "band names"}
    assert "crs" in cog_faults(path, ALBERS, None, np.nan, "float32")[0].where


def test_block_size_bounds_a_tile_and_small_maps_have_an_overview() -> None:
    assert block_size((3600, 7200), 12, 4) == 512
    assert block_size((144, 360), 12, 4) == 256
    assert block_size((104, 236), 12, 4) == 128
    assert block_size((3600, 7200), 365, 4) ** 2 * 365 * 4 <= 32 * 2**20


def test_steps_with_values_are_those_from_the_first_to_the_last() -> None:
    values = np.full((6, 600, 2), np.nan, np.float32)
    values[2, 580, 1] = values[4, 0, 0] = 1.0
    da = xr.DataArray(values, dims=("time", "y", "x"))
    assert valued_steps(da) == slice(2, 5)
    assert valued_steps(da[4:]) == slice(0, 1)
    assert valued_steps(da[:2]) == slice(None)
    assert valued_steps(da[4]) == slice(None)


def test_names_of_bands() -> None:
    days = np.array(["2001-01-31", "2001-02-01"], "datetime64[ns]")

    def names(time: np.ndarray, **attrs: object) -> list[str]:
        axis = xr.DataArray(time, dims="time", attrs=attrs)
        zeros = np.zeros((time.size, 1, 1))
        return names_of_bands(xr.DataArray(zeros, dims=("time", "y", "x"), coords={"time": axis}))

    assert names(months().values, climatology=True) == NAMES
    assert names(days) == ["2001-01-31", "2001-02-01"]
    assert names(days + np.timedelta64(6, "h")) == ["2001-01-31T06:00:00", "2001-02-01T06:00:00"]
    starts = np.array(["2000-12-01", "2001-03-01"], "datetime64[ns]")
    assert names(starts, period="season") == ["DJF 2001", "MAM 2001"]
    assert names(starts, period="season", climatology=True) == ["DJF", "MAM"]
    assert names(days, period="month") == ["2001-01", "2001-02"]
    assert names_of_bands(xr.DataArray(np.zeros((1, 1)), name="flag")) == ["flag"]


def test_statistics_merge_whatever_the_pieces() -> None:
    values = np.random.default_rng(1).normal(1e4, 1, (1000, 1))
    values[7], values[8] = np.nan, -9999
    valid = values[values > 0]
    pieces, whole = BandStatistics(), BandStatistics()
    for piece in np.split(values, [1, 1, 400, 990]):
        pieces.add(piece, -9999)
    whole.add(values, -9999)
    for found in (pieces, whole):
        assert found.count == 998
        assert found.mean == pytest.approx(valid.mean(), rel=1e-13)
        assert found.squares / 998 == pytest.approx(valid.var(), rel=1e-9)
        assert (found.minimum, found.maximum) == (valid.min(), valid.max())
    assert BandStatistics().tags(10) == {}


@pytest.mark.parametrize("loaded", [0, 2**30])
def test_a_lazy_map_produces_the_same_file(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: int
) -> None:
    """Streamed through the scratch file, read first, or where it lies: the same bytes."""
    monkeypatch.setattr(geotiff, "_LOADED_BYTES", loaded)
    lazy = write_cog(tmp_path / "large.tif", large().chunk({"y": 100}), LARGE)
    assert lazy.read_bytes() == (published / "large.tif").read_bytes()
    half = write_cog(tmp_path / "half.tif", large().astype("float64"), LARGE)
    assert half.read_bytes() == lazy.read_bytes()


ODD = TargetGrid.from_bounds("odd", "EPSG:4326", (-100, 0, 10.7, 51.3), 0.1)  # 513 x 1107


@pytest.mark.parametrize("kind", ["continuous", "categorical"])
def test_a_streamed_map_has_the_same_bytes_where_no_power_of_two_divides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: geotiff.Kind
) -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, *ODD.shape)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    if kind == "categorical":
        values = rng.choice([1, 2, 3, 12, 255], (1, *ODD.shape)).astype(np.uint8)
    da = xr.DataArray(values, dims=("band", "y", "x"), name="map")
    ours = write_cog(tmp_path / "own.tif", da, ODD, kind=kind)
    monkeypatch.setattr(geotiff, "_LOADED_BYTES", 0)
    streamed = write_cog(tmp_path / "streamed.tif", da.chunk({"y": 100}), ODD, kind=kind)
    assert streamed.read_bytes() == ours.read_bytes()
    assert cog_validate(ours, strict=True, quiet=True)[0]
    with rasterio.open(ours) as raster:
        assert raster.overviews(1) == [2, 4]


def test_overviews_are_those_of_gdals_driver_where_powers_of_two_divide_the_map(
    published: Path, tmp_path: Path
) -> None:
    profile = {"driver": "COG", "dtype": "float32", "count": 3, "height": 480, "width": 1200}
    with rasterio.open(
        tmp_path / "gdal.tif", "w", **profile, nodata=np.nan, crs=LARGE.crs, BLOCKSIZE=512,
        transform=LARGE.transform, overview_resampling="average",
    ) as raster:  # fmt: skip
        raster.write(large().values)
    with rasterio.open(tmp_path / "gdal.tif") as raster:
        factors = raster.overviews(1)
    assert factors == geotiff.overview_factors(LARGE.shape, 512)
    for level in range(len(factors)):
        with (
            rasterio.open(tmp_path / "gdal.tif", overview_level=level) as gdals,
            rasterio.open(published / "large.tif", overview_level=level) as ours,
        ):
            np.testing.assert_array_equal(ours.read(), gdals.read())
