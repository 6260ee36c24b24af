"""Sources that contradict their entry are refused before regridding: messages of all faults."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from pipeline.catalog.catalog import read_catalog
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source, Variable
from pipeline.sources import check_values as value_checks
from pipeline.sources.decode import Decoding
from pipeline.sources.open import check_source
from workflows.stages.check import describe_checked

VARIABLES = {
    "rain": Variable(long_name="rain", units="mm/day", valid_range=(0, 500)),
    "warmth": Variable(long_name="warmth", units="degC", valid_range=(-90, 60)),
    "kind": Variable(long_name="kind", units="1"),
}
DAYS = pd.date_range("2001-01-01", periods=8)


def field(times: object = DAYS, value: float = 290.0, **attrs: object) -> xr.Dataset:
    count = len(times)  # type: ignore[arg-type]
    values = np.full((count, 6, 8), value)
    return xr.Dataset(
        {"v": (("time", "lat", "lon"), values, {"units": "K", **attrs})},
        {"time": times, "lat": np.arange(50.0, 44.0, -1), "lon": np.arange(-8.0, 0.0)},
    )


def entry(path: Path, driver: str = "netcdf", **settings: object) -> Source:
    variables = settings.pop("variables", {"warmth": {"name": "v"}})
    return Source.model_validate(
        {"name": "daymet", "uri": str(path), "driver": driver, "variables": variables, **settings}
    )


def faults_of(source: Source) -> str:
    faults = Faults()
    check_source(source, faults, VARIABLES)
    text = "\n".join(map(str, faults.faults))
    for fault in faults.faults:
        assert "daymet" in fault.where
        assert fault.found
        assert fault.expected
    return text


def refused(tmp_path: Path, ds: xr.Dataset, **settings: object) -> str:
    # The former call's file may still be open.
    path = tmp_path / f"a{len(list(tmp_path.iterdir()))}.nc"
    ds.to_netcdf(path)
    text = faults_of(entry(path, **settings))
    assert str(path) in text
    return text


def test_a_sound_source_has_no_fault_and_is_described(tmp_path: Path) -> None:
    field().to_netcdf(tmp_path / "a.nc")
    faults = Faults()
    info = check_source(entry(tmp_path / "a.nc"), faults, VARIABLES)
    assert not faults.faults
    assert info is not None
    assert info.shape == (6, 8)
    assert info.bounds == (-8.5, 44.5, -0.5, 50.5)
    assert info.times == (DAYS.values[0], DAYS.values[-1])


def test_missing_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "a_2001.nc").touch()
    text = faults_of(entry(tmp_path / "a_{year}.nc", time={"years": [2000, 2001]}))
    assert "a_2000.nc: found no such file" in text
    assert "a_2001.nc: found an empty file" in text
    assert "make data" not in text
    assert text.count("Download it, or correct `uri` of the entry") == 2


def test_missing_files_of_the_demos_come_of_make_data(tmp_path: Path) -> None:
    assert "make data" in faults_of(entry(tmp_path / "registry" / "jcm" / "data" / "a.nc"))


def test_many_missing_files_are_one_fault(tmp_path: Path) -> None:
    uri = tmp_path / "a_{year}{month:02d}{day:02d}.nc"
    field(DAYS[:1]).to_netcdf(tmp_path / "a_20010101.nc")
    (fault,) = faults_of(entry(uri, time={"years": [2001, 2001]})).splitlines()
    assert "a_{year}{month:02d}{day:02d}.nc: found no such files: 364 (a_20010102.nc, " in fault
    assert "and 359 more); expected 365 files, one per step. Download them, limit `time:" in fault
    (tmp_path / "a_20010101.nc").unlink()
    fault = faults_of(entry(uri, time={"years": [2001, 2001], "gaps": "missing"}))
    assert "found no such files: 365" in fault


@pytest.mark.parametrize(
    ("uri", "driver", "time", "message"),
    [
        ("a_{yr}.nc", "netcdf", {},
         "{yr} in the uri, which accepts {year}, {month}, {day}, {hour} and {doy}"),
        ("a_{year}{day:02d}.nc", "netcdf", {"years": [2001, 2001]},
         "{day} in the uri without {year} and {month}"),
        ("a_{year:%Y}.nc", "netcdf", {"years": [2001, 2001]}, "a uri that cannot be filled in"),
        ("a_{year}.nc", "stations", {"years": [2001, 2002]},
         "{year} in the uri, although the driver stations reads a single file"),
        ("a_{year}.nc", "netcdf", {"years": [2002, 2001]}, "years from 2002 to 2001"),
    ],
)  # fmt: skip
def test_names_of_files_that_cannot_be(
    tmp_path: Path, uri: str, driver: str, time: dict, message: str
) -> None:
    path = tmp_path / "my.yml"
    positions = "lat: lat, lon: lon, " if driver == "stations" else ""
    variables = "variables: {rain: {name: v}}"
    path.write_text(f"a: {{uri: '{uri}', driver: {driver}, {positions}time: {time}, {variables}}}")
    with pytest.raises(InputError) as caught:
        read_catalog([path], {})
    assert message in str(caught.value)


def test_crs(tmp_path: Path) -> None:
    x = np.arange(0.0, 8e5, 1e5)
    ds = xr.Dataset({"v": (("y", "x"), np.ones((8, 8)), {"units": "K"})}, {"y": x, "x": x})
    text = refused(tmp_path, ds.rio.write_crs("EPSG:5070"), crs="EPSG:6933")
    assert "crs: found EPSG:5070; expected EPSG:6933. Correct `crs`" in text
    text = refused(tmp_path, ds)
    assert "coordinates up to 700000" in text
    assert "Set `crs` of the entry to the projection" in text
    assert "crs: found" not in refused(tmp_path, ds.rio.write_crs("EPSG:5070"), crs="EPSG:5070")


def raster(path: Path, crs: str | None, nodata: float | None = None) -> None:
    transform = rasterio.transform.from_origin(-10, 20, 1, 1)
    with rasterio.open(path, "w", "GTiff", 4, 3, 1, crs, transform, "int16",
                       nodata=nodata) as file:  # fmt: skip
        file.write(np.full((3, 4), 7, np.int16), 1)


def test_crs_of_a_raster_without_one(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", None)
    variables = {"warmth": {"name": "band_1", "units": "degC"}}
    assert "crs: found none" in faults_of(entry(tmp_path / "a.tif", "raster", variables=variables))


def test_nodata(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", "EPSG:4326", -9999)
    variables = {"warmth": {"name": "band_1", "units": "degC", "nodata": -32768}}
    text = faults_of(entry(tmp_path / "a.tif", "raster", variables=variables))
    assert "found nodata -9999 in the file; expected -32768 as in the entry" in text
    assert "wrong_in_file: [nodata]" in text
    trusted = entry(tmp_path / "a.tif", "raster", variables=variables, wrong_in_file=["nodata"])
    assert not faults_of(trusted)


def test_bands(tmp_path: Path) -> None:
    raster(tmp_path / "a.tif", "EPSG:4326")
    variables = {"warmth": {"name": "band_2", "units": "degC"}}
    text = faults_of(entry(tmp_path / "a.tif", "raster", variables=variables))
    assert 'found 1 bands; expected "band_2" among them' in text


def test_units(tmp_path: Path) -> None:
    variables = {"warmth": {"name": "v", "units": "degC"}}
    text = refused(tmp_path, field(), variables=variables)
    assert 'warmth: found units "K" in the file; expected "degC", as in the entry' in text
    assert "wrong_in_file: [units]" in text
    text = refused(tmp_path, field(units="m"))
    assert 'found units "m"; expected units that can be converted to "degC"' in text
    text = refused(tmp_path, field(units=""))
    assert "found no units in the file; expected units. Set `units`" in text


def test_grid(tmp_path: Path) -> None:
    text = refused(tmp_path, field(), resolution=[0.25, 0.25])
    assert "grid: found cells of 1 by 1; expected 0.25 by 0.25" in text
    ds = field()
    text = refused(tmp_path, ds.assign_coords(lon=[-8.0, -7, -6, -5, -5, -4, -3, -2]))
    assert "lon: found -5 twice; expected every coordinate once" in text
    text = refused(tmp_path, ds.isel(lat=[0, 2, 1, 3, 4, 5]))
    assert "lat: found coordinates out of order" in text


def test_dimensions_without_coordinates(tmp_path: Path) -> None:
    assert 'no coordinate "lat"' in refused(tmp_path, field().drop_vars("lat"))
    text = refused(tmp_path, field().rename(lat="rows", lon="columns").drop_vars(["rows"]))
    assert "expected a dimension for y" in text
    assert "`dims: {y: …}`" in text
    text = refused(tmp_path, field(), dims={"y": "latitude"})
    assert 'expected "latitude" as y. Correct `dims`' in text


def test_missing_variable(tmp_path: Path) -> None:
    text = refused(tmp_path, field().rename(v="tmean"), variables={"warmth": {"name": "tmaen"}})
    assert 'found variables tmean; expected a variable "tmaen". Did you mean "tmean"?' in text


def test_unknown_canonical_variable(tmp_path: Path) -> None:
    assert 'Did you mean "warmth"?' in refused(
        tmp_path, field(), variables={"warmht": {"name": "v"}}
    )


def test_gaps_in_time(tmp_path: Path) -> None:
    text = refused(tmp_path, field().isel(time=[0, 1, 2, 5, 6, 7]))
    assert "found 2 steps without data: 2001-01-04 to 2001-01-05" in text
    assert "time: {gaps: missing}" in text
    months = pd.date_range("2001-01-01", periods=12, freq="MS")
    text = refused(tmp_path, field(months).isel(time=[0, 1, 2, 4, 5, 6, 8, 9]))
    assert "found 2 steps without data: 2001-04-01, 2001-08-01" in text


def test_duplicated_and_unsorted_times_come_together(tmp_path: Path) -> None:
    text = refused(tmp_path, field().isel(time=[0, 1, 1, 3, 2, 4]))
    assert "found 1 duplicate times, the first 2001-01-02" in text
    assert "found times out of order: 2001-01-03 after 2001-01-04" in text


def test_another_step_than_declared(tmp_path: Path) -> None:
    text = refused(tmp_path, field(), time={"step": "hourly"})
    assert "found times 24 hours apart; expected hourly times" in text
    assert "whole number is a day" in refused(tmp_path, field(), time={"daily": True})


def test_days_need_a_cell_method(tmp_path: Path) -> None:
    hours = pd.date_range("2001-01-01", periods=48, freq="h")
    text = refused(tmp_path, field(hours), time={"daily": True})
    assert "found no cell_methods in the file; expected sum, mean, minimum or maximum" in text
    text = refused(tmp_path, field(hours, cell_methods="area: mean"), time={"daily": True})
    assert 'found cell_methods "area: mean"; expected sum, mean, minimum or maximum of time' in text
    text = refused(tmp_path, field(hours[:5]), time={"daily": True},
                   variables={"warmth": {"name": "v", "cell_method": "mean"}})  # fmt: skip
    assert "found no whole day; expected 24 steps per day" in text


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_calendars(tmp_path: Path, calendar: str) -> None:
    times = xr.date_range("2004-02-27", periods=8, calendar=calendar, use_cftime=True)
    text = refused(tmp_path, field(times))
    assert f'found the calendar "{calendar}"; expected the standard calendar' in text
    assert "time: {calendar: convert}" in text


def test_a_climatology_has_twelve_months(tmp_path: Path) -> None:
    text = refused(tmp_path, field(), time={"kind": "months"})
    assert "found 8 time steps; expected 12" in text


def test_a_variable_without_values(tmp_path: Path) -> None:
    text = refused(tmp_path, field(value=np.nan))
    assert "warmth: found no valid value; expected a variable with values" in text


def test_values_outside_the_physical_range(tmp_path: Path) -> None:
    text = refused(tmp_path, field(value=20.0))
    assert "found values from -253.15 to -253.15 degC; expected -90 to 60" in text
    assert "Check units, scale, offset and nodata" in text


def long_series(tmp_path: Path) -> Path:
    ds = field(pd.date_range("2001-01-01", periods=320))
    ds["v"][201, 3, 3] = -50.0
    path = tmp_path / "long.nc"
    ds.to_netcdf(path)
    return path


def test_one_impossible_value_anywhere_in_a_small_source_is_found(tmp_path: Path) -> None:
    text = faults_of(entry(long_series(tmp_path)))
    assert "warmth: found values from -323.15 to 16.85" in text


def test_values_beyond_the_windows_are_not_looked_at(tmp_path: Path) -> None:
    path, faults = long_series(tmp_path), Faults()
    west = (-8.0, 44.0, -6.5, 51.0)
    info = check_source(entry(path), faults, VARIABLES, lambda crs: [west, west])
    assert not faults.faults
    assert info is not None
    assert info.checked == 1.0
    check_source(entry(path), faults, VARIABLES, lambda crs: [west, (-8.0, 46.0, -4.0, 51.0)])
    assert "values from -323.15" in str(faults.faults[0])


def test_a_sample_of_a_large_source_is_checked_and_its_fraction_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_checks, "WHOLE_BYTES", 1000)
    times = pd.date_range("2001-01-01", periods=320)
    ds = field(times)
    ds.to_netcdf(tmp_path / "a.nc")
    info = check_source(entry(tmp_path / "a.nc"), Faults(), VARIABLES)
    assert info is not None
    assert info.checked == pytest.approx(value_checks.SAMPLED_BLOCKS * 4 / 320)
    assert describe_checked({"pr": 1.0, "dem": info.checked}) == (
        "all values of 1 sources checked, a sample of dem (20 %)"
    )
    ds["v"][:160] = -50.0
    ds.to_netcdf(tmp_path / "b.nc")
    assert "values from -323.15" in faults_of(entry(tmp_path / "b.nc"))


def test_a_sample_is_spread_over_time_and_space() -> None:
    stored = xr.Variable(("time", "y", "x"), np.zeros((400, 2000, 3000), np.uint8))
    series = value_checks._Series(stored, Decoding(where="v"), stored, 1)
    blocks = list(value_checks._sample(series))
    assert len(blocks) == value_checks.SAMPLED_BLOCKS
    for axis, size in enumerate(stored.shape):
        starts = np.array([block[axis].start for block in blocks]) / size
        assert {int(4 * start) for start in starts} == {0, 1, 2, 3}


def test_files_of_one_series_on_different_grids(tmp_path: Path) -> None:
    field().to_netcdf(tmp_path / "a_2001.nc")
    later = field(pd.date_range("2001-01-09", periods=3))
    later.assign_coords(lat=later["lat"] + 0.5).to_netcdf(tmp_path / "a_2002.nc")
    text = faults_of(entry(tmp_path / "a_{year}.nc", time={"years": [2001, 2002]}))
    assert f'found "lat" that differs from {tmp_path / "a_2001.nc"}; expected files on one' in text
    assert str(tmp_path / "a_2002.nc") in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("lat,lon,day,x\n1,2,2001-01-01,3", 'expected a column "v"'),
        ("lat,lon,day,v\n95,2,2001-01-01,3", "found 95 in row 1 and 0 more"),
        ("lat,lon,day,v\n1,2,2001-01-01,wet", 'v: found "wet" in row 1; expected numbers'),
        ("lat,lon,day,v\n1,2,soon,3", 'day: found "soon" in row 1; expected ISO dates'),
        ("lat,lon,day,v\n1,2,2001-01-01,3\n1,2,2001-01-01,4", "duplicate times of locations"),
        ("lat,lon,day,v\n1,2,2001-01-01,3\n1,2,2001-01-02,4\n1,2,2001-01-03,4\n1,2,2001-01-06,4",
         "found 2 steps without data: 2001-01-04 to 2001-01-05"),
    ],
)  # fmt: skip
def test_tables(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(rows + "\n")
    variables = {"warmth": {"name": "v", "units": "degC"}}
    source = entry(path, "table", variables=variables, lat="lat", lon="lon", dims={"time": "day"})
    text = faults_of(source)
    assert message in text
    assert str(path) in text


def test_a_location_that_moves(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,lat,lon,v\na,1,2,3\na,1,3,3\n")
    source = entry(path, "table", variables={"warmth": {"name": "v", "units": "degC"}},
                   lat="lat", lon="lon", cell="id")  # fmt: skip
    assert 'found "a" with more than one latitude or longitude' in faults_of(source)


def test_faults_of_all_kinds_and_variables_come_together(tmp_path: Path) -> None:
    ds = field()
    ds["w"] = ds["v"].assign_attrs(units="kg")
    path = tmp_path / "a.nc"
    ds.isel(time=[0, 1, 2, 4, 5]).to_netcdf(path)
    source = entry(path, resolution=[2, 2], crs="EPSG:4326",
                   variables={"warmth": {"name": "v", "units": "degF"}, "rain": {"name": "w"}},
                   )  # fmt: skip
    text = faults_of(source)
    for part in ("grid: found", "2001-01-04", 'units "K"', '"mm/day"'):
        assert part in text


def test_entries_that_contradict_themselves(tmp_path: Path) -> None:
    path = tmp_path / "my.yml"
    path.write_text(
        "a: {uri: 'x_{year}.nc', driver: netcdf, variables: {rain: {name: v}}}\n"
        "b: {uri: x.csv, driver: table, variables: {rain: {name: v}}}\n"
        "c: {uri: x.nc, driver: netcdf, variables: {rain: {name: v}}, time: {gap: missing}}\n"
    )
    with pytest.raises(InputError) as caught:
        read_catalog([path], {})
    text = str(caught.value)
    assert "{year} in the uri without time.years" in text
    assert "a table without lat and lon" in text
    assert "an unknown key" in text
    assert len(caught.value.faults) == 3
