"""Sources of parts: entries under `merge`, and tiles of a folder, a glob or a list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from pipeline.build import build_cube
from pipeline.catalog.catalog import Catalog, read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.grid.window import source_window
from pipeline.regrid_tile import RegridTask, source_blocks
from pipeline.regridding.merge import extent_of
from pipeline.sources.common_times import within
from pipeline.sources.open import check_source, read_bytes
from pipeline.sources.tiles import mosaic_of
from pipeline.sources.versions.unchanged import stamps_of, unchanged

GRID = TargetGrid.from_bounds("grid", "EPSG:4326", (0, 40, 8, 44), 1.0)


def write(
    path: Path, west: float, east: float, values: float | np.ndarray, days: Any = None,
    step: float = 0.5, name: str = "v", units: str = "mm/day", y: tuple[float, float] = (40, 44),
) -> None:  # fmt: skip
    """A file of one variable from `west` to `east`, with a field for each of the `days`."""
    lat = np.arange(y[1] - step / 2, y[0], -step)
    lon = np.arange(west + step / 2, east, step)
    coords: dict[str, Any] = {"lat": lat, "lon": lon}
    shape: tuple[int, ...] = (lat.size, lon.size)
    if days is not None:
        coords, shape = {"time": days, **coords}, (len(days), *shape)
        values = np.asarray(values, float)
        values = values.reshape(-1, *[1] * 2) if values.ndim == 1 else values
    field = np.broadcast_to(values, shape).astype(np.float32)
    xr.DataArray(field, coords, tuple(coords), name, {"units": units}).to_netcdf(path)


def catalog(folder: Path, **entries: Any) -> Catalog:
    made = {
        name: entry if "merge" in entry else
        {"driver": "netcdf", "variables": {"precipitation": {"name": "v"}}} | entry
        for name, entry in entries.items()
    }  # fmt: skip
    (folder / "catalog.yml").write_text(json.dumps(made))
    return read_catalog(folder / "catalog.yml", data=folder)


def faults_of(source: Source, **more: Any) -> str:
    faults = Faults()
    check_source(source, faults, **more)
    return str(InputError(faults.faults))


def test_final_data_are_continued_by_preliminary_ones(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=10)
    gap = np.arange(6.0)
    gap[2] = np.nan
    write(tmp_path / "final.nc", 0, 8, gap, days[:6])
    write(tmp_path / "early.nc", -1, 9, 100 + np.arange(7.0), days[3:], step=0.25)
    write(tmp_path / "older.nc", 0, 8, np.full(3, 900.0) / 86400, days[:3], units="kg m-2 s-1")
    known = catalog(
        tmp_path, final={"uri": "${data}/final.nc"}, early={"uri": "${data}/early.nc"},
        older={"uri": "${data}/older.nc"}, all={"merge": ["final", "early", "older"]},
    )  # fmt: skip
    assert faults_of(known["all"]) == ""
    cube = build_cube(tmp_path / "a.zarr", GRID, [known["all"]], tile=(2, 3), time_shard=4)
    wanted = [0, 1, 900, 3, 4, 5, 103, 104, 105, 106]
    np.testing.assert_array_equal(cube["time"].values, days.values)
    expected = np.broadcast_to(np.reshape(wanted, (-1, 1, 1)), cube["precipitation"].shape)
    np.testing.assert_allclose(cube["precipitation"], expected, rtol=1e-6)
    assert [part["name"] for part in cube.attrs["sources"]["all"]["merge"]] == [
        "final", "early", "older",
    ]  # fmt: skip


def test_a_merged_entry_of_one_time_axis_joins_others_and_a_period_cuts_it(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=10)
    write(tmp_path / "a.nc", 0, 8, np.arange(6.0), days[:6])
    write(tmp_path / "b.nc", 0, 8, np.arange(6.0), days[4:])
    write(tmp_path / "heat.nc", 0, 8, np.arange(10.0), days, units="degC")
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"}, b={"uri": "${data}/b.nc"}, ab={"merge": ["a", "b"]},
        heat={"uri": "${data}/heat.nc", "variables": {"air_temperature": {"name": "v"}}},
    )  # fmt: skip
    sources = known.select("ab", "heat")
    cube = build_cube(tmp_path / "c.zarr", GRID, sources, time=("2020-01-03", "2020-01-08"))
    assert cube["precipitation"].values[:, 0, 0].tolist() == [2, 3, 4, 5, 2, 3]
    assert cube["air_temperature"].values[:, 0, 0].tolist() == [2, 3, 4, 5, 6, 7]
    with pytest.raises(InputError, match="the period 2020-01-03 to 2020-01-12"):
        build_cube(tmp_path / "d.zarr", GRID, sources[:1], time=("2020-01-03", "2020-01-12"))


@pytest.mark.parametrize(
    ("shift", "message"), [("12h", "11 steps|12:00"), ("7D", "gap|missing|without")]
)
def test_parts_with_other_steps_or_a_gap_between_them_are_refused(
    tmp_path: Path, shift: str, message: str
) -> None:
    days = pd.date_range("2020-01-01", periods=5)
    write(tmp_path / "a.nc", 0, 8, np.arange(5.0), days)
    hours = {"time": {"step": "hourly"}} if shift == "12h" else {}
    later = (
        days + pd.Timedelta(shift) if not hours else pd.date_range(days[0], periods=50, freq="h")
    )
    write(tmp_path / "b.nc", 0, 8, np.arange(float(later.size)), later)
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"}, b={"uri": "${data}/b.nc"}, ab={"merge": ["a", "b"]}
    )
    text = faults_of(known["ab"])
    assert text.startswith('source "ab"')
    with pytest.raises(InputError, match='source "ab"'):
        build_cube(tmp_path / "c.zarr", GRID, [known["ab"]])


def test_seams_of_merged_regions_are_area_means(tmp_path: Path) -> None:
    write(tmp_path / "west.nc", 0, 3.25, 4.0, step=0.25)
    write(tmp_path / "east.nc", 3.25, 8, 8.0, step=0.25)
    write(tmp_path / "all.nc", 0, 8, np.repeat([4.0, 8.0], [13, 19]), step=0.25)
    known = catalog(
        tmp_path, west={"uri": "${data}/west.nc"}, east={"uri": "${data}/east.nc"},
        whole={"uri": "${data}/all.nc"}, both={"merge": ["west", "east"]},
    )  # fmt: skip
    cubes = [build_cube(tmp_path / f"{name}.zarr", GRID, [known[name]], tile=(3, 3))
             for name in ("both", "whole")]  # fmt: skip
    np.testing.assert_allclose(cubes[0]["precipitation"], cubes[1]["precipitation"], rtol=1e-6)
    assert cubes[0]["precipitation"].values[0].tolist() == [4, 4, 4, 7, 8, 8, 8, 8]
    np.testing.assert_allclose(cubes[0]["precipitation_coverage"], 1, atol=1e-6)


def test_variables_of_one_part_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", 0, 8, 1.0)
    write(tmp_path / "b.nc", 0, 8, 2.0)
    both = {name: {"name": "v", "units": units} for name, units in
            (("precipitation", "mm/day"), ("air_temperature", "degC"))}  # fmt: skip
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"},
        b={"uri": "${data}/b.nc", "variables": both, "wrong_in_file": ["units"]},
        ab={"merge": ["a", "b"]},
    )  # fmt: skip
    cube = build_cube(tmp_path / "c.zarr", GRID, [known["ab"]])
    assert (cube["precipitation"].values == 1).all()
    assert (cube["air_temperature"].values == 2).all()


def test_a_change_of_a_part_is_noticed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "v.nc", 0, 8, 1.0)
    known = catalog(
        tmp_path, a={"uri": "${data}/one/v.nc"}, b={"uri": "${data}/two/v.nc"},
        ab={"merge": ["a", "b"]},
    )  # fmt: skip
    stamps = stamps_of(known["ab"])
    assert [stamp[0] for stamp in stamps] == ["v.nc", "v.nc"]

    def change() -> None:
        with unchanged([known["ab"]]):
            write(tmp_path / "one" / "w.nc", 0, 8, 2.0)
            (tmp_path / "one" / "w.nc").rename(tmp_path / "one" / "v.nc")

    with pytest.raises(InputError, match=r"source a: found v\.nc changed"):
        change()
    assert stamps_of(known["ab"]) != stamps


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"ab": {"merge": ["a", "bb"]}}, 'merge: found "bb".*Did you mean "b"'),
        ({"ab": {"merge": ["a"]}}, "fewer than two"),
        ({"ab": {"merge": ["a", "a"]}}, '"a" twice'),
        ({"ab": {"merge": "a"}}, "a list of names"),
        ({"ab": {"merge": ["a", "b"], "method": "mean"}}, '"method" beside `merge`'),
        ({"ab": {"merge": ["a", "b"], "time": {"step": "daily"}}}, '"time.step" beside `merge`'),
        ({"ab": {"merge": ["a", "cd"]}, "cd": {"merge": ["ab", "b"]}}, "its own parts"),
        ({"ab": {"merge": ["a", "std"]}}, "the methods conservative and std"),
        ({"ab": {"merge": ["a", "months"]}}, "a climatology"),
        ({"ab": {"merge": ["a", "sites"]}}, '"sites", a source of sites'),
    ],
)
def test_entries_that_cannot_be_merged_are_refused(
    tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    others = {
        "std": {"uri": "a.nc", "method": "std"},
        "months": {"uri": "a.nc", "time": {"kind": "months"}},
        "sites": {"uri": "a.csv", "driver": "table", "lat": "lat", "lon": "lon"},
    }
    with pytest.raises(InputError, match=f"(?s){message}"):
        catalog(tmp_path, a={"uri": "a.nc"}, b={"uri": "b.nc"}, **others, **entries)


def test_entries_may_be_merged_of_merged_ones(tmp_path: Path) -> None:
    known = catalog(
        tmp_path, all={"merge": ["ab", "c"]}, ab={"merge": ["b", "a"]}, a={"uri": "a.nc"},
        b={"uri": "b.nc"}, c={"uri": "c.nc"},
    )  # fmt: skip
    assert [part.name for part in known["all"].parts] == ["b", "a", "c"]
    assert [path.name for path in known["all"].files] == ["b.nc", "a.nc", "c.nc"]
    dump = known["all"].model_dump()
    assert [part.name for part in Source.model_validate(dump).parts] == ["b", "a", "c"]


def test_two_sources_of_one_variable_are_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", 0, 8, 1.0)
    known = catalog(tmp_path, a={"uri": "${data}/a.nc"}, b={"uri": "${data}/a.nc"})
    with pytest.raises(InputError, match=r'source "b".*which a has too.*`merge: \[a, b\]`'):
        build_cube(tmp_path / "c.zarr", GRID, known.select("a", "b"))
    with pytest.raises(InputError, match="the source twice"):
        build_cube(tmp_path / "c.zarr", GRID, known.select("a", "a"))


def raster(path: Path, west: float, north: float, values: np.ndarray, **more: Any) -> None:
    """A tile of one degree with the values of its cells."""
    rows, cols = values.shape
    transform = rasterio.transform.from_origin(west, north, 1 / cols, 1 / rows)
    settings = {"crs": "EPSG:4326", "transform": transform, "dtype": "float32", **more}
    with rasterio.open(path, "w", "GTiff", cols, rows, 1, **settings) as file:
        file.write(values.astype("f4"), 1)


@pytest.fixture
def tiles(tmp_path: Path) -> dict[tuple[int, int], np.ndarray]:
    """Tiles of 1 degree with fewer columns north of 42, as of a global DEM; one is missing."""
    rng = np.random.default_rng(8)
    made = {}
    (tmp_path / "dem").mkdir()
    for lat in range(40, 44):
        for lon in range(8):
            if (lat, lon) == (41, 3):
                continue
            values = rng.uniform(0, 2000, (6, 6 if lat < 42 else 4)).astype(np.float32)
            values[0, 0] = -9999
            made[lat, lon] = np.where(values == -9999, np.nan, values)
            name = f"N{lat:02d}_E{lon:03d}.tif"
            raster(tmp_path / "dem" / name, lon, lat + 1, values, nodata=-9999)
    return made


DEM = {"driver": "raster", "method": "mean",
       "variables": {"elevation": {"name": "band_1", "units": "m"}}}  # fmt: skip


def exact(tiles: dict[tuple[int, int], np.ndarray], grid: TargetGrid) -> np.ndarray:
    """The float64 area mean of all cells of the tiles in each target cell of whole degrees."""
    out = np.full(grid.shape, np.nan)
    for row, col in np.ndindex(grid.shape):
        south, west = grid.y_edges[row + 1], grid.x_edges[col]
        total = weight = 0.0
        for (lat, lon), values in tiles.items():
            if south <= lat < grid.y_edges[row] and west <= lon < grid.x_edges[col + 1]:
                edges = np.sin(
                    np.deg2rad(lat + 1 - np.arange(values.shape[0] + 1) / values.shape[0])
                )
                area = np.broadcast_to(-np.diff(edges)[:, None] / values.shape[1], values.shape)
                valid = np.isfinite(values)
                total += (values[valid] * area[valid]).sum(dtype=np.float64)
                weight += area[valid].sum()
        if weight:
            out[row, col] = total / weight
    return out


@pytest.mark.parametrize("uri", ["${data}/dem", "${data}/dem/*.tif"])
@pytest.mark.parametrize("step", [1.0, 2.0])
def test_tiles_of_other_columns_are_one_source_with_exact_means(
    tmp_path: Path, tiles: dict[tuple[int, int], np.ndarray], uri: str, step: float
) -> None:
    grid = TargetGrid.from_bounds("grid", "EPSG:4326", (0, 40, 8, 44), step)
    known = catalog(tmp_path, dem={**DEM, "uri": uri})
    assert faults_of(known["dem"]) == ""
    cube = build_cube(tmp_path / "c.zarr", grid, [known["dem"]], tile=(2, 3))
    np.testing.assert_allclose(cube["elevation"], exact(tiles, grid), rtol=1e-5)


def test_a_mosaic_is_described_as_a_whole_and_costs_the_tiles_it_needs(
    tmp_path: Path, tiles: dict[tuple[int, int], np.ndarray]
) -> None:
    source = catalog(tmp_path, dem={**DEM, "uri": "${data}/dem"})["dem"]
    info = check_source(source, Faults())
    assert info is not None
    np.testing.assert_allclose(info.bounds, (0, 40, 8, 44), atol=1e-9)
    assert 0.4 < info.checked < 1
    corner = TargetGrid.from_bounds("corner", "EPSG:4326", (0.25, 40.25, 0.75, 40.75), 0.25)
    size = (tmp_path / "dem" / "N40_E000.tif").stat().st_size
    assert read_bytes(source, lambda crs: source_window(corner, crs), (1, 1)) <= 6 * size
    mosaic = mosaic_of(source)
    assert mosaic is not None
    within = mosaic.within(lambda crs: source_window(corner, crs), 0.0)
    assert [tile.files[0].name for tile in within] == ["N40_E000.tif"]


def test_bilinear_between_tiles_of_other_cells_is_refused_before_compute(
    tmp_path: Path, tiles: dict[tuple[int, int], np.ndarray]
) -> None:
    source = catalog(tmp_path, dem={**DEM, "uri": "${data}/dem", "method": "bilinear"})["dem"]
    assert "N42_E000.tif: found cells that do not continue" in faults_of(source)
    with pytest.raises(InputError, match="gdalbuildvrt"):
        build_cube(tmp_path / "c.zarr", GRID, [source])


@pytest.mark.parametrize("method", ["bilinear", "nearest", "conservative", "std"])
def test_aligned_tiles_have_no_seams(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(8, 16)).astype(np.float32)
    lat, lon = 43.75 - 0.5 * np.arange(8), 0.25 + 0.5 * np.arange(16)
    whole = xr.DataArray(values, {"lat": lat, "lon": lon}, ("lat", "lon"), "v", {"units": "degC"})
    whole.to_netcdf(tmp_path / "whole.nc")
    (tmp_path / "tiles").mkdir()
    for i, (y, x) in enumerate([(0, 0), (0, 6), (4, 0), (4, 6)]):
        tile = whole.isel(lat=slice(y, y + 4), lon=slice(x, 6 if x == 0 else 16))
        tile.to_netcdf(tmp_path / "tiles" / f"{i}.nc")
    entry = {"method": method, "variables": {"air_temperature": {"name": "v"}}}
    known = catalog(tmp_path, whole={**entry, "uri": "${data}/whole.nc"},
                    tiles={**entry, "uri": "${data}/tiles/*.nc"})  # fmt: skip
    grid = TargetGrid.from_bounds("grid", "EPSG:4326", (0.5, 40.5, 7.7, 43.5), 0.6)
    results = [build_cube(tmp_path / f"{name}.zarr", grid, [known[name]], tile=(2, 3))
               for name in ("whole", "tiles")]  # fmt: skip
    np.testing.assert_allclose(*(ds["air_temperature"] for ds in results), rtol=1e-6, atol=1e-7)


def test_each_tile_may_be_a_series_and_their_times_are_joined(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=6)
    for tile, (west, east) in {"a": (0, 4), "b": (4, 8)}.items():
        for i in range(3):
            if (tile, i) != ("b", 2):
                values = 10.0 * i + np.arange(2.0) + 100 * (tile == "b")
                write(tmp_path / f"{i}_{tile}.nc", west, east, values, days[2 * i : 2 * i + 2])
    source = catalog(tmp_path, tiles={"uri": "${data}/*.nc"})["tiles"]
    assert faults_of(source) == ""
    cube = build_cube(tmp_path / "c.zarr", GRID, [source], tile=(4, 4), time_shard=4)
    assert cube["precipitation"].values[:, 0, 1].tolist() == [0, 1, 10, 11, 20, 21]
    np.testing.assert_array_equal(
        cube["precipitation"].values[:, 0, 6], [100, 101, 110, 111, np.nan, np.nan]
    )


def test_a_grid_beyond_all_tiles_is_empty(tmp_path: Path) -> None:
    write(tmp_path / "0.nc", 0, 2, 1.0)
    write(tmp_path / "1.nc", 2, 4, 1.0)
    source = catalog(tmp_path, tiles={"uri": "${data}/*.nc"})["tiles"]
    cube = build_cube(tmp_path / "c.zarr", GRID, [source], tile=(2, 2))
    assert (cube["precipitation"].values[:, :4] == 1).all()
    assert np.isnan(cube["precipitation"].values[:, 4:]).all()


def test_a_tile_of_sea_is_no_fault_but_a_mosaic_of_sea_is(tmp_path: Path) -> None:
    write(tmp_path / "0.nc", 0, 2, np.float64(np.nan))
    write(tmp_path / "1.nc", 2, 4, 1.0)
    source = catalog(tmp_path, tiles={"uri": "${data}/*.nc"})["tiles"]
    assert faults_of(source) == ""
    (tmp_path / "1.nc").unlink()
    write(tmp_path / "2.nc", 2, 4, np.float64(np.nan))
    assert "no valid value" in faults_of(source)


def test_tiles_of_a_projection_join_at_their_seams(tmp_path: Path) -> None:
    """Sinusoidal tiles, whose origins are rounded."""
    crs = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m"
    size = 463.312716527917
    rng = np.random.default_rng(2)
    values = rng.uniform(0, 1, (40, 60)).astype(np.float32)
    left, top = 200_000.0, 4_700_000.0
    pieces = {"h0": slice(0, 30), "h1": slice(30, 60), "all": slice(0, 60)}
    for name, cols in pieces.items():
        transform = rasterio.transform.from_origin(
            round(left + cols.start * size, 6), top, size, size
        )
        part = values[:, cols]
        with rasterio.open(tmp_path / f"{name}.tif", "w", "GTiff", part.shape[1], 40, 1, crs=crs,
                           transform=transform, dtype="float32") as file:  # fmt: skip
            file.write(part, 1)
    entry = {"driver": "raster", "crs": crs, "method": "bilinear",
             "variables": {"fapar_max": {"name": "band_1", "units": "1"}}}  # fmt: skip
    known = catalog(tmp_path, whole={**entry, "uri": "${data}/all.tif"},
                    tiles={**entry, "uri": ["${data}/h0.tif", "${data}/h1.tif"]})  # fmt: skip
    grid = TargetGrid.from_bounds("grid", "EPSG:4326", (2.46, 42.12, 2.72, 42.22), 0.01)
    results = [build_cube(tmp_path / f"{name}.zarr", grid, [known[name]]) for name in known.sources]
    np.testing.assert_allclose(*(ds["fapar_max"] for ds in results), rtol=1e-4)
    assert np.isfinite(results[0]["fapar_max"]).all()


def test_tiles_of_years_may_have_other_years(tmp_path: Path) -> None:
    """Rasters without times, whose names have them: each tile is a series of its own years."""
    for lat, lon, year in ((40, 0, 2001), (40, 0, 2002), (40, 1, 2001), (40, 1, 2003)):
        (tmp_path / str(year)).mkdir(exist_ok=True)
        raster(tmp_path / str(year) / f"N{lat}E{lon}.tif", lon, lat + 1, np.full((4, 4), year))
    entry = {"driver": "raster", "uri": "${data}/{year}/*.tif", "method": "mean",
             "time": {"years": [2001, 2003], "gaps": "missing"},
             "variables": {"elevation": {"name": "band_1", "units": "m"}}}  # fmt: skip
    source = catalog(tmp_path, tiles=entry)["tiles"]
    grid = TargetGrid.from_bounds("grid", "EPSG:4326", (0, 40, 2, 41), 1.0)
    assert faults_of(source) == ""
    cube = build_cube(tmp_path / "c.zarr", grid, [source])
    assert [str(time)[:4] for time in cube["time"].values] == ["2001", "2002", "2003"]
    np.testing.assert_array_equal(
        cube["elevation"].values[:, 0], [[2001, 2001], [2002, np.nan], [np.nan, 2003]]
    )


def test_a_tile_that_cannot_be_read_is_a_fault(
    tmp_path: Path, tiles: dict[tuple[int, int], np.ndarray]
) -> None:
    (tmp_path / "dem" / "N41_E001.tif").write_bytes(b"II*\x00 and no more")
    source = catalog(tmp_path, dem={**DEM, "uri": "${data}/dem"})["dem"]
    assert "N41_E001.tif" in faults_of(source)


def test_accepted_gaps_are_no_steps_between_those_of_others(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=8)
    for name, lacking in (("a", 3), ("b", 5)):
        kept = days.delete(lacking)
        write(tmp_path / f"{name}.nc", 0, 8, np.full(7, ord(name)), kept)
    write(tmp_path / "c.nc", 0, 8, np.arange(72.0), pd.date_range(days[0], periods=72, freq="h"))
    entries = {name: {"uri": f"${{data}}/{name}.nc", "time": {"gaps": "missing"}} for name in "abc"}
    known = catalog(
        tmp_path, **entries, ab={"merge": ["a", "b"], "time": {"gaps": "missing"}},
        ac={"merge": ["a", "c"], "time": {"gaps": "missing"}},
    )  # fmt: skip
    cube = build_cube(tmp_path / "ab.zarr", GRID, [known["ab"]])
    a, b = map(ord, "ab")
    assert cube["precipitation"].values[:, 0, 0].tolist() == [a, a, a, b, a, a, a, a]
    assert "times of an earlier part" in faults_of(known["ac"])


def test_a_first_tile_of_a_single_column_is_refused_by_check_and_build(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", 0, 0.5, 2.0)
    write(tmp_path / "b.nc", 0.5, 8, 1.0)
    source = catalog(tmp_path, tiles={"uri": "${data}/*.nc"})["tiles"]
    assert "1 value" in faults_of(source)
    with pytest.raises(InputError, match="lon: found 1 value; expected at least two cells"):
        build_cube(tmp_path / "cube.zarr", GRID, [source])


def test_a_period_of_a_merged_entry_opens_only_the_files_of_its_parts(tmp_path: Path) -> None:
    for year in range(2000, 2006):
        days = pd.date_range(f"{year}-01-01", f"{year}-12-31")
        write(tmp_path / f"final_{year}.nc", 0, 8, np.full(days.size, year - 1990.0), days, step=2)
        write(tmp_path / f"early_{year}.nc", 0, 8, np.full(days.size, 1.0), days, step=2)
    time = {"stamp": "start"}
    known = catalog(
        tmp_path, final={"uri": "${data}/final_{year}.nc", "time": {"years": [2000, 2003], **time}},
        early={"uri": "${data}/early_{year}.nc", "time": {"years": [2002, 2005], **time}},
        all={"merge": ["final", "early"]},
        cut={"merge": ["final", "early"], "time": {"period": ["2002-06-01", "2002-06-30"]}},
    )  # fmt: skip

    def names(source: Source) -> list[str]:
        return [path.name for path in source.files]

    assert len(names(known["all"])) == 8
    assert names(known["cut"]) == ["final_2002.nc", "early_2002.nc"]
    # The final data end before the period, and are not read for it.
    assert names(within(known["all"], ("2005-03-01", "2005-03-02"))) == ["early_2005.nc"]
    (tmp_path / "final_2000.nc").write_bytes(b"damaged")
    cube = build_cube(tmp_path / "c.zarr", GRID, [known["all"]], time=("2003-12-30", "2004-01-02"))
    assert cube["precipitation"].values[:, 0, 0].tolist() == [13, 13, 1, 1]
    assert faults_of(known["cut"]) == ""


def test_the_extent_of_a_part_is_computed_once_for_all_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = pd.date_range("2020-01-01", periods=8)
    write(tmp_path / "a.nc", 0, 8, np.arange(6.0), days[:6])
    write(tmp_path / "b.nc", 0, 8, np.arange(6.0), days[2:])
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"}, b={"uri": "${data}/b.nc"}, ab={"merge": ["a", "b"]}
    )
    calls = []

    def counted(*args: Any) -> np.ndarray:
        calls.append(args)
        return extent_of(*args)

    monkeypatch.setattr("pipeline.regrid_tile.extent_of", counted)
    variables = read_variables()
    task = RegridTask(tmp_path / "c.zarr", GRID, (known["ab"],), variables)
    blocks = list(source_blocks(task, known["ab"], GRID, 2))
    assert [block["time"].size for block in blocks] == [2, 2, 2, 2]
    assert len(calls) == 2


def test_months_stamped_on_two_days_are_not_two_steps(tmp_path: Path) -> None:
    firsts = pd.date_range("2020-01-01", periods=3, freq="MS")
    write(tmp_path / "a.nc", 0, 8, np.arange(3.0), firsts)
    write(tmp_path / "b.nc", 0, 8, np.arange(3.0), firsts[2:].union(
        pd.date_range("2020-04-01", periods=2, freq="MS")) + pd.Timedelta(14, "D"))  # fmt: skip
    b = {"uri": "${data}/b.nc"}
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"}, b=b, c=b | {"time": {"restamp": "month"}},
        ab={"merge": ["a", "b"]}, ac={"merge": ["a", "c"]},
    )  # fmt: skip
    assert "two times of one month, 2020-03-01 and 2020-03-15" in faults_of(known["ab"])
    with pytest.raises(InputError, match="restamp: month"):
        build_cube(tmp_path / "ab.zarr", GRID, [known["ab"]])
    cube = build_cube(tmp_path / "ac.zarr", GRID, [known["ac"]])
    assert cube["precipitation"].values[:, 0, 0].tolist() == [0, 1, 2, 1, 2]


def test_check_refuses_a_map_and_a_series_of_one_variable_under_merge(tmp_path: Path) -> None:
    write(tmp_path / "a.nc", 0, 8, np.arange(3.0), pd.date_range("2020-01-01", periods=3))
    write(tmp_path / "b.nc", 0, 8, 1.0)
    known = catalog(
        tmp_path, a={"uri": "${data}/a.nc"}, b={"uri": "${data}/b.nc"}, ab={"merge": ["a", "b"]}
    )
    assert "b: precipitation: found no times; expected times, as a has" in faults_of(known["ab"])
