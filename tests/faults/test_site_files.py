"""Dates, marks and CRS of files of sites: read as they are declared, or refused with two rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source

EVENTS = """event_id;event_date;location_accuracy;landslide_trigger;longitude;latitude;depth
1;2008-03-02;exact;rain;7,25;46,5;1,5
2;2009-05-04 13:00;1km;rain;8,75;47,25;2,25
"""
LAYERS = """profile_id;latitude;longitude;upper;lower;sand
a;46,5;7,25;0;30;12,5
b;47,25;8,75;0;30;22,5
"""


def _events(path: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "l", "uri": str(path), "driver": "landslides", "cell": "event_id",
         "lat": "latitude", "lon": "longitude", "dims": {"time": "event_date"},
         "variables": {"landslide": {"name": "event"},
                       "elevation": {"name": "depth", "units": "m"}}, **changes}
    )  # fmt: skip


def _profiles(path: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "p", "uri": str(path), "driver": "profiles", "cell": "profile_id",
         "lat": "latitude", "lon": "longitude", "options": {"upper": "upper", "lower": "lower"},
         "variables": {"sand": {"name": "sand", "units": "%"}}, **changes}
    )  # fmt: skip


def _read(path: Path, text: str, entry: Source) -> xr.Dataset:
    path.write_text(text)
    return read_locations_source(entry, read_variables())


def test_events_with_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    ds = _read(path, EVENTS, _events(path))
    assert ds["lat"].values.tolist() == [46.5, 47.25]
    assert ds["lon"].values.tolist() == [7.25, 8.75]
    assert ds["elevation"].values.tolist() == [1.5, 2.25]
    assert ds["event_date"].values.astype("datetime64[h]").astype(str).tolist() == [
        "2008-03-02T00", "2009-05-04T13",
    ]  # fmt: skip


def test_quoted_numbers_of_events_keep_their_digits(tmp_path: Path) -> None:
    """A comma within quotes is a mark of thousands only before groups of three digits."""
    path = tmp_path / "a.csv"
    text = EVENTS.replace(";", ",").replace("7,25", "7.25").replace("46,5,", "46.5,")
    text = text.replace("8,75", "8.75").replace("47,25", "47.25")
    ds = _read(path, text.replace(",1,5\n", ',"1,250"\n').replace(",2,25\n", ",2.25\n"),
               _events(path))  # fmt: skip
    assert ds["elevation"].values.tolist() == [1250, 2.25]
    with pytest.raises(InputError, match='text in 1 rows, such as "1,5"'):
        _read(path, text.replace(",1,5\n", ',"1,5"\n').replace(",2,25\n", ",2.25\n"),
              _events(path))  # fmt: skip


@pytest.mark.parametrize("date", ["01.02.2021", "1/2/21", "01-02-2021", "2-1-2021"])
def test_events_with_dates_of_unclear_order_are_refused(tmp_path: Path, date: str) -> None:
    path = tmp_path / "a.csv"
    text = EVENTS.replace("2008-03-02", date)
    with pytest.raises(InputError, match=rf'"{date}".*order of day and month.*date_format'):
        _read(path, text, _events(path))


@pytest.mark.parametrize("date", ["20211301", "39844", "010221", "00:30", "1,5", "soon"])
def test_events_with_other_texts_as_dates_are_refused(tmp_path: Path, date: str) -> None:
    path = tmp_path / "a.csv"
    with pytest.raises(InputError, match="event_date: found"):
        _read(path, EVENTS.replace("2008-03-02", date), _events(path))


def test_dates_of_eight_digits_are_iso(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    text = EVENTS.replace("2008-03-02", "20080302").replace("2009-05-04 13:00", "20090504")
    ds = _read(path, text, _events(path))
    days = ds["event_date"].values.astype("datetime64[D]").astype(str)
    assert days.tolist() == ["2008-03-02", "2009-05-04"]


def test_events_and_profiles_in_a_projected_crs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    swiss = {"47,25": "1234000", "7,25": "2586000", "46,5": "1150000", "8,75": "2699000"}
    for text, entry in ((EVENTS, _events), (LAYERS, _profiles)):
        for degrees, metres in swiss.items():
            text = text.replace(degrees, metres)
        ds = _read(path, text, entry(path, crs="EPSG:2056"))
        np.testing.assert_allclose(ds["lon"], [7.256, 8.746], atol=0.005)
        np.testing.assert_allclose(ds["lat"], [46.502, 47.252], atol=0.005)


def test_profiles_with_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    ds = _read(path, LAYERS, _profiles(path))
    np.testing.assert_allclose(ds["sand"], [0.125, 0.225], rtol=1e-6)
    assert ds["lat"].values.tolist() == [46.5, 47.25]
    unclear = LAYERS.replace(",5", ",500").replace(",25", ",250").replace(",75", ",750")
    with pytest.raises(InputError, match=r"comma may be a decimal mark.*decimal"):
        _read(path, unclear, _profiles(path))
    options = {"upper": "upper", "lower": "lower", "decimal": ","}
    ds = _read(path, unclear, _profiles(path, options=options))
    np.testing.assert_allclose(ds["sand"], [0.125, 0.225], rtol=1e-6)


def _stations(path: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "s", "uri": str(path), "driver": "stations", "lat": "lat", "lon": "lon",
         "variables": {"precipitation": {"name": "P", "units": "mm/day"}}, **changes}
    )  # fmt: skip


def _station_file(path: Path, times: list[str], lat: float = 46.5, lon: float = 7.25) -> Path:
    ds = xr.Dataset(
        {"P": (("station", "time"), [[1.0, 2.0]])},
        {"time": times, "lat": ("station", [lat]), "lon": ("station", [lon])},
    )
    ds.to_netcdf(path)
    return path


def test_times_of_stations_that_are_texts(tmp_path: Path) -> None:
    path = _station_file(tmp_path / "a.nc", ["2021-02-01", "2021-02-02"])
    ds = read_locations_source(_stations(path), read_variables())
    assert ds["time"].values.astype("datetime64[D]").astype(str).tolist() == [
        "2021-02-01", "2021-02-02",
    ]  # fmt: skip
    path = _station_file(tmp_path / "b.nc", ["01.02.2021", "02.02.2021"])
    with pytest.raises(InputError, match=r'"01\.02\.2021" in row 1 and "02\.02\.2021" in row 2'):
        read_locations_source(_stations(path), read_variables())
    entry = _stations(path, options={"date_format": "%d.%m.%Y"})
    ds = read_locations_source(entry, read_variables())
    assert str(ds["time"].values[0])[:10] == "2021-02-01"


def test_stations_in_a_projected_crs(tmp_path: Path) -> None:
    path = _station_file(tmp_path / "a.nc", ["2021-02-01", "2021-02-02"], 1150000.0, 2586000.0)
    ds = read_locations_source(_stations(path, crs="EPSG:2056"), read_variables())
    np.testing.assert_allclose([ds["lat"][0], ds["lon"][0]], [46.502, 7.256], atol=0.005)


def test_series_of_basins_with_unclear_dates_need_a_format(tmp_path: Path) -> None:
    (tmp_path / "attributes" / "a").mkdir(parents=True)
    (tmp_path / "timeseries" / "csv" / "a").mkdir(parents=True)
    table = "gauge_id,gauge_lat,gauge_lon\na_1,46.5,7.25\n"
    (tmp_path / "attributes/a/attributes_other_a.csv").write_text(table)
    series = "date,streamflow\n01.02.2021,1\n02.02.2021,2\n"
    (tmp_path / "timeseries/csv/a/a_1.csv").write_text(series)
    settings = {"name": "c", "uri": str(tmp_path), "driver": "caravan",
                "variables": {"streamflow": {"name": "streamflow", "units": "mm/day"}}}  # fmt: skip
    unclear = Source.model_validate({**settings, "options": {"form": "csv"}})
    with pytest.raises(InputError, match=r'"01\.02\.2021" in row 1 and "02\.02\.2021" in row 2'):
        read_locations_source(unclear, read_variables())
    options = {"form": "csv", "date_format": "%d.%m.%Y"}
    declared = Source.model_validate({**settings, "options": options})
    ds = read_locations_source(declared, read_variables())
    assert str(ds["time"].values[0])[:10] == "2021-02-01"


@pytest.mark.parametrize("driver", ["caravan", "camels_us", "ismn"])
def test_a_crs_of_sites_whose_coordinates_are_degrees_is_refused(
    tmp_path: Path, driver: str
) -> None:
    catalog = tmp_path / "a.yml"
    catalog.write_text(
        f"a: {{uri: {tmp_path}, driver: {driver}, crs: 'EPSG:2056',"
        " variables: {streamflow: {name: streamflow}}}\n"
    )
    with pytest.raises(InputError, match=rf'crs: found "EPSG:2056" for the driver {driver}'):
        read_catalog(catalog)


@pytest.mark.parametrize("period", [["01.02.2021", "2021-03-01"], [20210201, 20210301], [0, 1]])
def test_periods_of_entries_are_iso(tmp_path: Path, period: list[object]) -> None:
    with pytest.raises(ValueError, match="period"):
        _stations(tmp_path / "a.nc", time={"period": period})
