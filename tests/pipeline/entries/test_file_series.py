"""Keys, globs, lists and folders of a `uri`: which files they stand for, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.file_series import step_date
from pipeline.entries.source import Source
from pipeline.sources.open import check_files


def source(*uris: object, driver: str = "netcdf", **time: object) -> Source:
    uri = [str(uri) for uri in uris]
    entry = {"name": "test", "uri": uri if len(uri) > 1 else uri[0], "driver": driver,
             "time": time}  # fmt: skip
    return validated(Source, entry, "test")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(entry: Source) -> list[str]:
    return [path.name for path in entry.files]


def test_days_of_the_year_have_366_in_leap_years(tmp_path: Path) -> None:
    uri = tmp_path / "smap_{year}-{doy:03d}.nc"
    found = source(uri, years=[2003, 2004])
    assert len(found.files) == 365 + 366
    assert names(found)[:2] == ["smap_2003-001.nc", "smap_2003-002.nc"]
    assert names(found)[-1] == "smap_2004-366.nc"
    cut = source(uri, years=[2003, 2004], period=["2003-12-31", "2004-03-01"])
    assert names(cut)[0] == "smap_2003-365.nc"
    assert names(cut)[-1] == "smap_2004-061.nc"
    assert step_date(list(cut.series)[-1]) == "2004-03-01"


def test_hours_and_both_kinds_of_days(tmp_path: Path) -> None:
    uri = tmp_path / "{year}" / "{doy:03d}" / "a.{year}{month:02d}{day:02d}.{hour:02d}00.nc"
    found = source(uri, years=[2000, 2000], period=["2000-12-31", "2000-12-31"])
    assert len(found.files) == 24
    assert found.files[5] == tmp_path / "2000" / "366" / "a.20001231.0500.nc"
    assert step_date(list(found.series)[5]) == "2000-12-31T05:00:00"


def test_a_glob_stands_for_its_matches_and_sees_new_files(tmp_path: Path) -> None:
    touch(tmp_path, "b_2.nc", "a_1.nc", "a_1.nc.aux.xml", ".a_0.nc", "a_10.nc")
    assert names(source(tmp_path / "a_*.nc")) == ["a_1.nc", "a_10.nc"]
    assert names(source(tmp_path / "?_[12].nc")) == ["a_1.nc", "b_2.nc"]
    touch(tmp_path, "a_3.nc")
    assert names(source(tmp_path / "a_?.nc")) == ["a_1.nc", "a_3.nc"]
    missing = source(tmp_path / "c_*.nc")
    assert missing.files == [tmp_path / "c_*.nc"]


def test_globs_in_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x/2001/a.nc", "x/2002/b.nc", "y/2001/c.nc", "x/d.nc")
    assert names(source(tmp_path / "*" / "2001" / "*.nc")) == ["a.nc", "c.nc"]
    assert names(source(tmp_path / "**" / "*.nc")) == ["d.nc", "a.nc", "b.nc", "c.nc"]
    assert names(source(tmp_path / "[xy]" / "{year}" / "*.nc", years=[2001, 2002])) == [
        "a.nc", "c.nc", "b.nc",
    ]  # fmt: skip


def test_a_glob_with_keys_has_several_files_a_step(tmp_path: Path) -> None:
    touch(tmp_path, *(f"M.A{day}.h{h}v04.hdf" for day in ("2003365", "2004001", "2004060")
                      for h in ("11", "10")))  # fmt: skip
    uri = tmp_path / "M.A{year}{doy:03d}.h*v*.hdf"
    time = {"years": [2003, 2004], "period": ["2003-12-31", "2004-01-02"]}
    series = source(uri, driver="raster", **time).series
    assert {step_date(step): [p.name for p in paths] for step, paths in series.items()} == {
        "2003-12-31": ["M.A2003365.h10v04.hdf", "M.A2003365.h11v04.hdf"],
        "2004-01-01": ["M.A2004001.h10v04.hdf", "M.A2004001.h11v04.hdf"],
        "2004-01-02": ["M.A2004002.h*v*.hdf"],
    }
    opened = source(uri, driver="raster", years=[2003, 2004], gaps="missing").opened
    assert [step_date(step) for step in opened] == ["2003-12-31", "2004-01-01", "2004-02-29"]


def test_names_that_literally_hold_brackets_are_files(tmp_path: Path) -> None:
    touch(tmp_path, "data [lab]/a[1].nc", "data [lab]/v_2001.nc")
    folder = tmp_path / "data [lab]"
    assert source(folder / "a[1].nc").files == [folder / "a[1].nc"]
    assert names(source(folder / "v_{year}.nc", years=[2001, 2001])) == ["v_2001.nc"]


def test_lists_keep_their_order_and_must_have_the_same_keys(tmp_path: Path) -> None:
    assert names(source("b.nc", "a.nc")) == ["b.nc", "a.nc"]
    both = source("h_{year}.nc", "v_{year}.nc", years=[2001, 2002])
    assert names(both) == ["h_2001.nc", "v_2001.nc", "h_2002.nc", "v_2002.nc"]
    with pytest.raises(InputError, match="different keys"):
        source("h_{year}.nc", "v.nc", years=[2001, 2002])
    with pytest.raises(InputError, match="without an address"):
        source("h.nc", "")


def test_a_folder_stands_for_the_files_of_its_driver(tmp_path: Path) -> None:
    touch(tmp_path, "b.nc", "a.NC", "readme.txt", "c.tif")
    assert names(source(tmp_path)) == ["a.NC", "b.nc"]
    assert names(source(tmp_path, driver="raster")) == ["c.tif"]
    assert source(tmp_path, driver="zarr").files == [tmp_path]
    (tmp_path / "none").mkdir()
    assert source(tmp_path / "none").files == [tmp_path / "none"]


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("{year.foo}.nc", "year.foo"),
        ("{year:>9999999999d}.nc", "{year:>9999999999d}"),
        ("{year:03d}{month:%Y}.nc", "{month:%Y}"),
        ("{year!r}.nc", "{year!r}"),
        ("{minute}.nc", "{minute}"),
        ("{day}.nc", "{day} in the uri without"),
        ("{doy:03d}.nc", "{doy} in the uri without {year}"),
        ("{year}{month}_{hour:02d}.nc", "{hour} in the uri without"),
    ],
)
def test_other_keys_and_formats_are_refused(uri: str, found: str) -> None:
    with pytest.raises(InputError) as error:
        source(uri, years=[2001, 2002])
    assert found in str(error.value)


@pytest.mark.parametrize(
    ("uri", "way"),
    [
        ('HDF5:"/d/imerg.HDF5"://Grid/precipitation', ("/d/imerg.HDF5", "Grid/precipitation")),
        ("NETCDF:/d/a.nc:rain", ("/d/a.nc", "rain")),
        (
            'HDF4_EOS:EOS_GRID:"M.hdf":Grid_1km:"1 km NDVI"',
            ("M.hdf", "Grid_1km:1 km NDVI"),
        ),
    ],
)
def test_names_of_gdal_are_refused_with_the_way(uri: str, way: tuple[str, str]) -> None:
    faults = Faults()
    assert not check_files(source(uri, driver="raster"), faults)
    (fault,) = faults.faults
    assert f"`uri: {way[0]}`, `name: {way[1]}`" in fault.hint


def test_the_number_of_steps_is_bounded() -> None:
    with pytest.raises(InputError, match="87,831,216 files"):
        source("{year}{doy:03d}{hour:02d}.nc", years=[1, 9999])


def test_files_of_spare_days_are_not_missing(tmp_path: Path) -> None:
    uri = tmp_path / "e_{year}{month:02d}{day:02d}.nc"
    touch(tmp_path, *(f"e_200103{day:02d}.nc" for day in (1, 3, 4)))
    entry = source(uri, years=[2001, 2001], period=["2001-03-02", "2001-03-03"], daily=True)
    assert names(entry) == [f"e_200103{day:02d}.nc" for day in (2, 3, 4)]
    faults = Faults()
    check_files(entry, faults)
    missing = [fault.where for fault in faults.faults if fault.found == "no such file"]
    assert [where.rpartition("/")[2] for where in missing] == ["e_20010302.nc"]


@pytest.mark.parametrize(
    ("time", "days"),
    [({"stamp": "start"}, [10, 11]), ({"stamp": "middle"}, [10, 11]),
     ({"stamp": "end"}, [10, 11, 12]), ({}, [10, 11, 12]),
     ({"stamp": "start", "day_starts": 6}, [10, 11, 12]),
     ({"stamp": "end", "day_starts": 24}, [10, 11, 12, 13]),
     ({"stamp": "start", "day_starts": -6}, [9, 10, 11]),
     ({"stamp": "end", "day_starts": -6}, [9, 10, 11])],
)  # fmt: skip
def test_files_beside_a_period_are_those_of_its_days(
    tmp_path: Path, time: dict[str, object], days: list[int]
) -> None:
    touch(tmp_path, *(f"e_200103{day:02d}.nc" for day in range(6, 16)))
    uri = tmp_path / "e_{year}{month:02d}{day:02d}.nc"
    period = ["2001-03-10", "2001-03-11"]
    entry = source(uri, years=[2001, 2001], period=period, daily=True, **time)
    assert names(entry) == [f"e_200103{day:02d}.nc" for day in days]


def test_files_of_forecasts_are_those_of_runs_before_too(tmp_path: Path) -> None:
    touch(tmp_path, *(f"e_200103{day:02d}.grib" for day in range(6, 16)))
    uri = tmp_path / "e_{year}{month:02d}{day:02d}.grib"
    entry = source(uri, years=[2001, 2001], period=["2001-03-10", "2001-03-10"], daily=True,
                   stamp="start", driver="grib")  # fmt: skip
    assert names(entry) == [f"e_200103{day:02d}.grib" for day in (8, 9, 10)]


def test_a_limit_is_a_period_that_the_files_may_lack(tmp_path: Path) -> None:
    touch(tmp_path, *(f"e_{year}.nc" for year in range(2001, 2006)))
    uri = tmp_path / "e_{year}.nc"
    time = {"years": [2001, 2005], "limit": ["2002-03-01", "2003-05-01"], "stamp": "start"}
    assert names(source(uri, **time)) == ["e_2002.nc", "e_2003.nc"]
    both = source(uri, **time, period=["2003-01-01", "2004-12-31"])
    assert names(both) == ["e_2003.nc"]
    assert "limit" not in source(uri, years=[2001, 2005]).model_dump()["time"]


@pytest.mark.parametrize("uri", ["a_{year}{month}{day}.nc", "a_{year}_{day}{hour}_{month}.nc"])
def test_keys_whose_digits_run_together_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match="may be two dates") as error:
        source(uri, years=[2001, 2001])
    assert ":02d}" in str(error.value)


def test_keys_without_zeros(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a_2001_{month}.nc" for month in range(1, 13)))
    found = source(tmp_path / "a_{year}_{month}.nc", years=[2001, 2001])
    assert all(path.exists() for path in found.files)
    mixed = source("a_{year}{month}{day:02d}.nc", years=[2001, 2001])
    assert len(set(mixed.files)) == 365


def test_names_with_zeros_that_the_keys_lack_are_a_hint(tmp_path: Path) -> None:
    for month in range(1, 13):
        (tmp_path / f"a_2001_{month:02d}.nc").write_bytes(b"x")
    faults = Faults()
    assert not check_files(source(tmp_path / "a_{year}_{month}.nc", years=[2001, 2001]), faults)
    assert f"Write the zeros of its name: `uri: {tmp_path}/a_{{year}}_{{month:02d}}.nc`" in str(
        faults.faults[0]
    )


def test_brackets_in_the_query_of_an_address_are_no_glob() -> None:
    uri = "https://h.org/erddap/rain.nc?rain[(2001-01-01):1:(2001-12-31)][*]"
    assert [path.name for path in source(uri).files] == ["rain.nc"]


@pytest.mark.parametrize("uri", ["/vsimem/a.tif", "/vsisubfile/0_10,a.tif", "/vsi7z/a.7z/b.tif"])
def test_names_of_gdal_that_stand_for_no_file_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match="known kinds are /vsis3/"):
        source(uri, driver="raster")
