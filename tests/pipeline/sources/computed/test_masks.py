"""Quality flags beside the data decide which values are used: of grids, rasters and sites."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.build import build_cube
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.entries.values import Mask
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.computed.masks import keeper
from pipeline.sources.open import check_source, open_source

NAN = np.nan
VARIABLES = {
    "wetness": Variable(long_name="wetness", units="1", valid_range=(0, 1)),
    "greenness": Variable(long_name="greenness", units="1", valid_range=(-1, 1)),
    "cover": Variable(long_name="cover", units="1"),
}
LAT, LON = [51.5, 50.5], [-3.5, -2.5, -1.5]
DAYS = pd.date_range("2011-03-01", periods=3)


def entry(path: Path | str, name: str = "wetness", **settings: Any) -> Source:
    variable = settings.pop("variable")
    return Source.model_validate(
        {"name": "satellite", "uri": str(path), "driver": "netcdf", "variables": {name: variable},
         **settings}
    )  # fmt: skip


def values(source: Source) -> np.ndarray:
    """Return the canonical values of the only variable of a source without faults."""
    faults = Faults()
    check_source(source, faults, VARIABLES)
    assert not faults.faults, faults.faults
    ds = canonicalise(open_source(source), source, VARIABLES)
    return ds[next(iter(source.variables))].values


def notes(source: Source) -> tuple[str, ...]:
    info = check_source(source, Faults(), VARIABLES)
    assert info is not None
    return info.notes


def rule(mask: dict[str, Any], stored: list[Any], kind: str, **attrs: Any) -> list[bool]:
    flag = xr.DataArray(np.array(stored, kind), dims="x", name="flag", attrs=attrs)
    kept = keeper(Mask.model_validate({"name": "flag", **mask}), flag, "here")(flag.values)
    return np.asarray(kept).tolist()


def series(path: Path, flags: np.ndarray, packed: bool = False, **attrs: Any) -> np.ndarray:
    """Write a series of wetness with flags (unsigned bytes) beside it; returns the wetness."""
    wetness = np.linspace(0.05, 0.9, 18).reshape(3, 2, 3).round(3)
    ds = xr.Dataset(
        {"sm": (("time", "lat", "lon"), wetness, {"units": "1"}),
         "flag": (("time", "lat", "lon"), flags, attrs)},
        {"time": DAYS, "lat": LAT, "lon": LON},
    )  # fmt: skip
    packing = {"dtype": "int16", "scale_factor": 0.001, "_FillValue": -1}
    ds.to_netcdf(path, encoding={"sm": packing} if packed else {})
    return wetness


@pytest.mark.parametrize(
    ("mask", "stored", "kind", "attrs", "kept"),
    [
        ({"keep": [0, 8]}, [0, 1, 8, 9], "u2", {}, [True, False, True, False]),
        ({"keep": 0}, [0.0, 1.0, NAN], "f4", {}, [True, False, False]),
        # A listed number is kept even if the file declares it as missing.
        ({"keep": [0, 3]}, [0, 1, 3], "u1", {"_FillValue": np.uint8(0)}, [True, False, True]),
        ({"bits": {0: 0}}, [0, 1, 2, 255, 254], "u1", {"_FillValue": np.uint8(254)},
         [True, False, True, False, False]),
        # The VI quality of MOD13: bits 0-1 are 0 or 1, bits 2-5 below 3, no snow in bit 14.
        ({"bits": {"0-1": [0, 1], "2-5": [0, 1, 2], 14: 0}},
         [0, 2, 0b1001, 0b1101, 1 << 14, 65535], "u2", {},
         [True, False, True, False, False, False]),
        # Bits of signed numbers and of numbers that became floats.
        ({"bits": {7: 1}}, [-128, 127, -1], "i1", {}, [True, False, True]),
        ({"bits": {15: 0, 0: 1}}, [-1, 1, 2], ">i2", {}, [False, True, False]),
        ({"bits": {2: 1}}, [4.0, 3.0, NAN], "f4", {}, [True, False, False]),
        # Names of the CF conventions.
        ({"keep": ["good", "fair"]}, [0, 1, 2, 3], "i1",
         {"flag_values": np.int8([0, 1, 2]), "flag_meanings": "good poor fair"},
         [True, False, True, False]),
        ({"keep": ["good"]}, [0, 1], "i1",
         {"flag_values": "0, 1", "flag_meanings": "good, poor"}, [True, False]),
        ({"bits": {"snow": 0, "ice": 0}}, [0, 1, 2, 4], "u1",
         {"flag_masks": np.uint8([1, 2, 4]), "flag_meanings": "snow ice cloud"},
         [True, False, False, True]),
        ({"bits": {"cloud": 0}}, [0, -128, 127], "i1",
         {"flag_masks": np.int8([1, -128]), "flag_meanings": "snow cloud"}, [True, False, True]),
        ({"keep": ["clear"]}, [0b100, 0b101, 0b1000], "u1",
         {"flag_masks": np.uint8([12, 12]), "flag_values": np.uint8([4, 8]),
          "flag_meanings": "clear cloudy"}, [True, True, False]),
    ],
)  # fmt: skip
def test_rules_of_flags(
    mask: dict, stored: list, kind: str, attrs: dict, kept: list[bool]
) -> None:  # fmt: skip
    assert rule(mask, stored, kind, **attrs) == kept


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30), st.integers(0, 12),
       st.integers(1, 4), st.integers(0, 15))  # fmt: skip
def test_a_group_of_bits_is_a_number(flags: list[int], first: int, count: int, wanted: int) -> None:
    wanted %= 1 << count
    bits = {"bits": {f"{first}-{first + count - 1}": wanted}}
    expected = [flag // 2**first % 2**count == wanted for flag in flags]
    assert rule(bits, flags, "u2") == expected
    assert rule(bits, flags, "f8") == expected


@pytest.mark.parametrize(
    ("mask", "attrs", "message"),
    [
        ({"keep": ["godo"]}, {"flag_values": [0, 1], "flag_meanings": "good bad"},
         'Did you mean "good"'),
        ({"keep": ["good"]}, {}, "no flag_meanings of flag"),
        ({"keep": ["snow"]}, {"flag_masks": [1, 2], "flag_meanings": "snow ice"},
         r"Such as `bits: \{snow: 0\}`"),
        ({"bits": {9: 0}}, {}, "flag of 8 bits; expected bit 9"),
    ],
)  # fmt: skip
def test_rules_that_the_file_does_not_know(mask: dict, attrs: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rule(mask, [0], "u1", **attrs)


@pytest.mark.parametrize(
    "mask",
    [{}, {"keep": [0], "bits": {0: 0}}, {"keep": [0], "above": 1}, {"bits": {"3-2": 0}},
     {"bits": {"0-1": 4}}],
)  # fmt: skip
def test_masks_without_one_rule(mask: dict) -> None:
    with pytest.raises(ValueError, match=r"exactly one of|cannot hold"):
        Mask.model_validate({"name": "flag", **mask})


@pytest.mark.parametrize("packed", [False, True])
def test_a_series_and_the_share_that_a_check_reports(tmp_path: Path, packed: bool) -> None:
    flags = np.zeros((3, 2, 3), "u1")
    flags[0, 0, 1], flags[2, 1] = 4, 1
    wetness = series(tmp_path / "a.nc", flags, packed)
    source = entry(tmp_path / "a.nc", variable={"name": "sm", "mask": {"name": "flag", "keep": 0}})
    np.testing.assert_allclose(values(source), np.where(flags == 0, wetness, NAN), rtol=1e-6)
    plain = open_source(entry(tmp_path / "a.nc", variable={"name": "sm"}))["sm"]
    assert repr(open_source(source)["wetness of sm"].encoding) == repr(plain.encoding)
    assert notes(source) == ("wetness: the mask removes 22.2 % of the values",)
    # A part of the source is masked by the same part of its flags.
    part = open_source(source, (-3.0, 50.0, -1.0, 51.0))
    cut = canonicalise(part, source, VARIABLES)["wetness"].sel(x=-2.5, y=50.5).values
    np.testing.assert_allclose(cut, [wetness[0, 1, 1], wetness[1, 1, 1], NAN], rtol=1e-6)


def test_days_are_made_of_the_hours_that_a_mask_keeps(tmp_path: Path) -> None:
    hours = pd.date_range("2011-03-01", periods=24, freq="h")
    wetness = np.full((24, 2, 3), 0.2)
    wetness[12:] = 0.9
    flags = np.zeros((24, 2, 3), "i1")
    flags[12:], flags[:, 0, 0] = 1, 1
    ds = xr.Dataset(
        {"sm": (("time", "lat", "lon"), wetness, {"units": "1"}),
         "flag": (("time", "lat", "lon"), flags)},
        {"time": hours, "lat": LAT, "lon": LON},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    variable = {"name": "sm", "cell_method": "mean", "mask": {"name": "flag", "keep": [0]}}
    source = entry(tmp_path / "a.nc", variable=variable, time={"daily": True, "min_share": 0.5})
    expected = [[[NAN, 0.2, 0.2], [0.2, 0.2, 0.2]]]
    np.testing.assert_allclose(values(source), expected, rtol=1e-6)


def test_all_of_several_masks_must_hold(tmp_path: Path) -> None:
    wetness = series(tmp_path / "a.nc", np.zeros((3, 2, 3), "u1"))
    snow = xr.Dataset({"cover": (("lat", "lon"), [[0, 1, 0], [0, 0, 5]])}, {"lat": LAT, "lon": LON})
    snow.to_netcdf(tmp_path / "snow.nc")
    # Limits are of values, in any order of the rows, and hold for every time.
    sand = xr.Dataset(
        {"sand": (("lat", "lon"), [[30, NAN, 95.0], [95, 30, 30]], {"units": "%"})},
        {"lat": LAT[::-1], "lon": LON},
    )  # fmt: skip
    packing = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1}
    sand.to_netcdf(tmp_path / "sand.nc", encoding={"sand": packing})
    masks = [{"name": "sand", "uri": str(tmp_path / "sand.nc"), "above": 0, "below": 90.0},
             {"name": "cover", "uri": str(tmp_path / "snow.nc"), "bits": {0: 0}},
             {"name": "sm", "below": 0.8}]  # fmt: skip
    source = entry(tmp_path / "a.nc", variable={"name": "sm", "mask": masks})
    kept = np.array([[False, False, True], [True, False, False]]) & (wetness < 0.8)
    np.testing.assert_allclose(values(source), np.where(kept, wetness, NAN), rtol=1e-6)


def raster(path: Path, bands: list[np.ndarray], **profile: Any) -> Path:
    rows, cols = bands[0].shape
    place = rasterio.transform.from_origin(-4, 52, 1, 1)
    settings = {"driver": "GTiff", "width": cols, "height": rows, "count": len(bands),
                "dtype": bands[0].dtype, "crs": "EPSG:4326", "transform": place}  # fmt: skip
    with rasterio.open(path, "w", **{**settings, **profile}) as file:
        for number, band in enumerate(bands, 1):
            file.write(band, number)
    return path


def test_bands_and_rasters_beside_a_raster(tmp_path: Path) -> None:
    ndvi = np.array([[2000, -3000, 4000], [5000, -1000, 6000]], "i2")
    quality = np.array([[0, 0, 2], [1, 0, 0]], "i2")
    cloud = np.array([[0, 0, 0], [0, 0, 255]], "u1")
    raster(tmp_path / "ndvi.tif", [ndvi, quality], nodata=-3000)
    raster(tmp_path / "cloud.tif", [cloud])
    masks = [{"name": "band_2", "bits": {1: 0}},
             {"name": "band_1", "uri": str(tmp_path / "cloud.tif"), "keep": [0]}]  # fmt: skip
    variable = {"name": "band_1", "units": "1", "scale": 1e-4, "mask": masks}
    source = entry(tmp_path / "ndvi.tif", "greenness", variable=variable, driver="raster")
    np.testing.assert_allclose(values(source), [[0.2, NAN, NAN], [0.5, -0.1, NAN]], rtol=1e-6)
    assert notes(source) == ("greenness: the mask removes 40 % of the values",)
    grid = TargetGrid.from_bounds("one", "EPSG:4326", (-4, 50, -1, 52), 1.0)
    cube = build_cube(tmp_path / "cube.zarr", grid, [source], variables=VARIABLES)
    expected = [[0.2, NAN, NAN], [0.5, -0.1, NAN]]
    np.testing.assert_allclose(cube["greenness"].values, expected, rtol=1e-6)


def test_classes_of_a_map_are_masked(tmp_path: Path) -> None:
    cover = np.array([[1, 2, 2], [1, 1, 2]], "u1")
    raster(tmp_path / "a.tif", [cover, np.array([[0, 0, 1], [0, 1, 0]], "u1")])
    variable = {"name": "band_1", "units": "1", "mask": {"name": "band_2", "keep": [0]}}
    classes = {"kind": "categorical", "method": "fractions", "classes": {"a": [1], "b": [2]}}
    source = entry(tmp_path / "a.tif", "cover", variable=variable, driver="raster", **classes)
    np.testing.assert_array_equal(values(source), [[0, 1, NAN], [0, NAN, 1]])


def test_a_series_of_flags_in_files_of_their_own(tmp_path: Path) -> None:
    for day in range(3):
        wetness = xr.Dataset({"sm": (("lat", "lon"), np.full((2, 3), 0.1 * day), {"units": "1"})},
                             {"lat": LAT, "lon": LON})  # fmt: skip
        flags = np.zeros((2, 3), "i2")
        flags[0, day] = 7
        flagged = xr.Dataset({"flag": (("lat", "lon"), flags)}, {"lat": LAT, "lon": LON})
        wetness.to_netcdf(tmp_path / f"sm_2011_03_0{day + 1}.nc")
        flagged.to_netcdf(tmp_path / f"flag_2011_03_0{day + 1}.nc")
    mask = {"name": "flag", "uri": str(tmp_path / "flag_{year}_{month:02d}_{day:02d}.nc"),
            "keep": [0]}  # fmt: skip
    source = entry(
        tmp_path / "sm_{year}_{month:02d}_{day:02d}.nc",
        variable={"name": "sm", "mask": mask},
        time={"years": [2011, 2011], "period": ["2011-03-01", "2011-03-03"]},
    )
    found = values(source)
    for day in range(3):
        assert np.isnan(found[day, 0, day])
        assert np.isfinite(np.delete(found[day].ravel(), day)).all()
    (tmp_path / "flag_2011_03_02.nc").unlink()
    with pytest.raises(InputError, match=r"flag_2011_03_02.nc: found no such file"):
        open_source(source)


def test_stations_with_flags_in_numbers_and_texts(tmp_path: Path) -> None:
    rows = [
        ("a", 40.0, -3.0, "2011-03-01", 0.1, 0, "G"),
        ("a", 40.0, -3.0, "2011-03-02", 0.2, 3, "G"),
        ("b", 41.0, -2.0, "2011-03-01", 0.3, 0, "D01"),
        ("b", 41.0, -2.0, "2011-03-02", 0.4, 0, ""),
    ]
    columns = ["site", "lat", "lon", "day", "sm", "qc", "grade"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "a.csv", index=False)

    def of(mask: dict[str, Any]) -> np.ndarray:
        return values(
            entry(tmp_path / "a.csv", variable={"name": "sm", "units": "1", "mask": mask},
                  driver="table", lat="lat", lon="lon", cell="site", dims={"time": "day"})
        )  # fmt: skip

    np.testing.assert_allclose(of({"name": "qc", "keep": [0]}), [[0.1, 0.3], [NAN, 0.4]], rtol=1e-6)
    kept = of({"name": "grade", "keep": ["G"]})
    np.testing.assert_allclose(kept, [[0.1, NAN], [0.2, NAN]], rtol=1e-6)
    kept = of({"name": "grade", "keep": ["G", ""]})
    np.testing.assert_allclose(kept, [[0.1, NAN], [0.2, 0.4]], rtol=1e-6)


def test_flags_are_never_scaled(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, coordinates in (("lat", LAT), ("lon", LON)):
            file.createDimension(name, len(coordinates))
            file.createVariable(name, "f8", (name,))[:] = coordinates
        for name, kind in (("sm", "f4"), ("flag", "i1")):
            variable = file.createVariable(name, kind, ("lat", "lon"))
            variable.set_auto_maskandscale(False)
            variable[:] = np.array([[0, 1, -56]] * 2, kind) * (0.1 if name == "sm" else 1)
            variable.units = "1"
        file["flag"].setncatts({"scale_factor": 10.0, "_Unsigned": "true", "add_offset": 5.0})
        file["sm"][:] = 0.5
    for keep, expected in (([200], [NAN, NAN, 0.5]), ([0, 1], [0.5, 0.5, NAN])):
        mask = {"name": "flag", "keep": keep}
        found = values(entry(tmp_path / "a.nc", variable={"name": "sm", "mask": mask}))
        np.testing.assert_array_equal(found[0], expected)


def test_masks_on_other_grids_and_at_other_times_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "a.nc", np.zeros((3, 2, 3), "u1"))
    flags = xr.Dataset(
        {"flag": (("time", "lat", "lon"), np.zeros((3, 2, 3), "i1"))},
        {"time": DAYS, "lat": LAT, "lon": LON},
    )  # fmt: skip
    shifted = flags.assign_coords(lon=[-3.4, -2.4, -1.4])
    later = flags.assign_coords(time=DAYS + pd.Timedelta("1D"))
    others = {"grid": (shifted, "3 other coordinates, from -3.4"),
              "time": (later, "no 2011-03-01.* and 0 more times"),
              "count": (flags.isel(time=[0, 1]), "no 2011-03-03")}  # fmt: skip
    for name, (ds, message) in others.items():
        ds.to_netcdf(tmp_path / f"{name}.nc")
        mask = {"name": "flag", "uri": str(tmp_path / f"{name}.nc"), "keep": [0]}
        source = entry(tmp_path / "a.nc", variable={"name": "sm", "mask": mask})
        with pytest.raises(InputError, match=message):
            open_source(source)
    # Further times of the flags do not matter.
    more = xr.concat([later.isel(time=[2]), flags], "time").sortby("time")
    more.to_netcdf(tmp_path / "more.nc")
    mask = {"name": "flag", "uri": str(tmp_path / "more.nc"), "keep": [0]}
    assert np.isfinite(
        values(entry(tmp_path / "a.nc", variable={"name": "sm", "mask": mask}))
    ).all()


def test_flags_in_longitudes_of_0_to_360_and_at_noon_are_those_of_the_same_cells_and_days(
    tmp_path: Path,
) -> None:
    lon = [-1.0, 0.0, 1.0]
    flags = np.zeros((3, 2, 3), "u1")
    flags[0, 0, 0], flags[1, 1, 1], flags[2, 0, 2] = 1, 2, 3
    series(tmp_path / "a.nc", flags)
    with xr.open_dataset(tmp_path / "a.nc") as ds:
        moved = ds.load().assign_coords(lon=lon)
    moved.to_netcdf(tmp_path / "b.nc")
    apart = moved[["flag"]].assign_coords(
        lon=np.mod(lon, 360), time=DAYS + pd.Timedelta("12h")
    )  # fmt: skip
    apart.sortby("lon").sortby("lat").to_netcdf(tmp_path / "flags.nc")
    expected = values(entry(tmp_path / "b.nc", variable={"name": "sm", "mask": {
        "name": "flag", "keep": 0}}))  # fmt: skip
    assert np.isnan(expected).sum() == 3
    mask = {"name": "flag", "uri": str(tmp_path / "flags.nc"), "keep": 0}
    found = values(entry(tmp_path / "b.nc", variable={"name": "sm", "mask": mask}))
    np.testing.assert_array_equal(found, expected)
    # Stamps at the end of a day are those of the day before: the same date is another day.
    late = entry(tmp_path / "b.nc", time={"stamp": "end"}, variable={"name": "sm", "mask": mask})
    with pytest.raises(InputError, match="no 2011-03-01"):
        open_source(late)
    # Two flags a day are not one.
    twice = xr.concat([apart, moved[["flag"]].assign_coords(lon=np.mod(lon, 360))], "time")
    twice.sortby("time").to_netcdf(tmp_path / "twice.nc")
    mask = {"name": "flag", "uri": str(tmp_path / "twice.nc"), "keep": 0}
    found = values(entry(tmp_path / "b.nc", variable={"name": "sm", "mask": mask}))
    np.testing.assert_array_equal(found, expected)
    twice.assign_coords(time=twice["time"] + np.timedelta64(1, "h")).sortby("time").to_netcdf(
        tmp_path / "hours.nc"
    )
    mask = {"name": "flag", "uri": str(tmp_path / "hours.nc"), "keep": 0}
    with pytest.raises(InputError, match="no 2011-03-01"):
        open_source(entry(tmp_path / "b.nc", variable={"name": "sm", "mask": mask}))


def test_a_flag_that_the_entry_ignores_is_noted(tmp_path: Path) -> None:
    series(tmp_path / "a.nc", np.zeros((3, 2, 3), "u1"))
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["sm"].ancillary_variables = "flag"
    source = entry(tmp_path / "a.nc", variable={"name": "sm"})
    assert notes(source) == (
        "wetness: the file names flag as its ancillary_variables; if it is a quality flag, set "
        "`mask: {name: flag, keep: [...]}`",
    )
    masked = entry(tmp_path / "a.nc", variable={"name": "sm", "mask": {"name": "flag", "keep": 0}})
    assert notes(masked) == ("wetness: the mask removes 0 % of the values",)


def test_entries_without_masks_have_the_dump_of_before(tmp_path: Path) -> None:
    plain = entry(tmp_path / "a.nc", variable={"name": "sm"}).model_dump()["variables"]["wetness"]
    later = {"as_stored", "mask", "transform", "expression", "operands"}
    assert not later & {*plain}
    masked = entry(tmp_path / "a.nc", variable={"name": "sm", "mask": {"name": "f", "keep": 0}})
    read = Source.model_validate(masked.model_dump(mode="json"))
    assert read.variables == masked.variables


def test_tiles_of_a_mosaic_have_the_flags_of_their_own_files(tmp_path: Path) -> None:
    for tile, west in enumerate((-4, -2)):
        place = rasterio.transform.from_origin(west, 52, 1, 1)
        ndvi = np.full((2, 2), 1000 * (tile + 1), "i2")
        quality, cloud = np.zeros((2, 2), "i2"), np.zeros((2, 2), "i2")
        quality[0, tile], cloud[1, tile] = 1, 1
        raster(tmp_path / f"ndvi_{tile}.tif", [ndvi, quality], transform=place)
        raster(tmp_path / f"cloud_{tile}.tif", [cloud], transform=place)
    masks = [{"name": "band_2", "keep": [0]},
             {"name": "band_1", "uri": str(tmp_path / "cloud_*.tif"), "keep": [0]}]  # fmt: skip
    variable = {"name": "band_1", "units": "1", "scale": 1e-4, "mask": masks}
    source = entry(tmp_path / "ndvi_*.tif", "greenness", variable=variable, driver="raster")
    assert notes(source) == ("greenness: the mask removes 50 % of the values",)
    grid = TargetGrid.from_bounds("two", "EPSG:4326", (-4, 50, 0, 52), 1.0)
    cube = build_cube(tmp_path / "cube.zarr", grid, [source], variables=VARIABLES)
    expected = [[NAN, 0.1, 0.2, NAN], [NAN, 0.1, 0.2, NAN]]
    np.testing.assert_allclose(cube["greenness"].values, expected, rtol=1e-6)
    (tmp_path / "cloud_0.tif").unlink()
    for name in ("cloud_2.tif", "cloud_3.tif"):
        shutil.copy(tmp_path / "cloud_1.tif", tmp_path / name)
    with pytest.raises(InputError, match=r"one beside each of the 2 files"):
        build_cube(tmp_path / "other.zarr", grid, [source], variables=VARIABLES)
