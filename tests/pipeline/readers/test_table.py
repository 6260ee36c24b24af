"""Tables as people have them: separators, decimals, dates, wide tables, projected coordinates."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.open import check_files, open_source

LINES = ("station;lat;lon;date;rain", "a;50,5;-4,25;2001-01-01;1,5", "b;51,0;-3,50;2001-01-01;0,0",
         "a;50,5;-4,25;2001-01-02;12,25")  # fmt: skip


def entry(path: Path, **settings: Any) -> Source:
    time = settings.pop("date", "date")
    fields = {"cell": "station", "lat": "lat", "lon": "lon", "dims": {"time": time} if time else {}}
    return Source.model_validate(
        {"name": "gauges", "uri": str(path), "driver": "table",
         "variables": {"precipitation": {"name": "rain", "units": "mm/day"}}, **fields, **settings}
    )  # fmt: skip


def read(tmp_path: Path, text: str | bytes, name: str = "a.csv", **settings: Any) -> xr.Dataset:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_source(entry(path, **settings))


def check(ds: xr.Dataset) -> None:
    """Compare with the values of `LINES`."""
    np.testing.assert_allclose(ds["rain"].values, [[1.5, 0.0], [12.25, np.nan]])
    np.testing.assert_allclose(ds["lat"].values, [50.5, 51.0])
    np.testing.assert_allclose(ds["lon"].values, [-4.25, -3.5])
    assert [str(t)[:10] for t in ds["time"].values] == ["2001-01-01", "2001-01-02"]
    assert ds["site"].values.tolist() == ["a", "b"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [",", "."])
def test_separators_and_decimals_are_recognised(
    tmp_path: Path, separator: str, decimal: str
) -> None:
    text = "\r\n".join(LINES).replace(";", separator).replace(",", decimal)
    check(read(tmp_path, text))


def test_comments_encodings_and_compression(tmp_path: Path) -> None:
    text = "# Übersicht; 2 Stationen\n\n" + "\n".join(LINES).replace("a;", "ä;")
    for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        ds = read(tmp_path, text.encode(encoding), f"{encoding}.csv")
        assert ds["site"].values.tolist() == ["b", "ä"]
        np.testing.assert_allclose(ds["rain"].values[:, 1], [1.5, 12.25])
    check(read(tmp_path, gzip.compress("\n".join(LINES).encode()), "a.csv.gz"))


def test_header_lines_and_texts_of_missing_values(tmp_path: Path) -> None:
    rdb = ("# U.S. Geological Survey\n#\nstation\tlat\tlon\tdate\train\n5s\t10n\t10n\t20d\t14n\n"
           "a\t50.5\t-4.25\t2001-01-01\t1.5\nb\t51\t-3.5\t2001-01-01\t0.0\n"
           "a\t50.5\t-4.25\t2001-01-02\t12.25\nb\t51\t-3.5\t2001-01-02\tIce\n")  # fmt: skip
    check(read(tmp_path, rdb, options={"missing": ["Ice"]}))
    with pytest.raises(InputError, match=r'rain: found "Ice" in row 4.*missing: \[…\]'):
        read(tmp_path, rdb)
    units = "Report of 2003\n" + "\n".join((LINES[0], ";deg;deg;;mm", *LINES[1:]))
    check(read(tmp_path, units, options={"skip_lines": 1, "header_lines": 2, "separator": ";"}))
    spaces = "\n".join(LINES).replace(",", ".").replace(";", "   ")
    check(read(tmp_path, spaces, options={"separator": " "}))


def test_marks_of_thousands_are_declared(tmp_path: Path) -> None:
    text = "station;lat;lon;rain\na;50;-4;1,500\nb;51;-3;2,250\n"
    with pytest.raises(InputError, match=r'"1,500", whose comma may be a decimal mark or sep'):
        read(tmp_path, text, date=None)
    for options, expected in (({"decimal": ","}, [1.5, 2.25]), ({"thousands": ","}, [1500, 2250])):
        ds = read(tmp_path, text, date=None, options=options)
        np.testing.assert_allclose(ds["rain"].values, expected)
    both = text.replace("1,500", "1.500,25").replace("2,250", "2.250,5")
    ds = read(tmp_path, both, date=None, options={"decimal": ",", "thousands": "."})
    np.testing.assert_allclose(ds["rain"].values, [1500.25, 2250.5])


@pytest.mark.parametrize(
    ("first", "second", "form"),
    [("01.01.2001", "02.01.2001", "%d.%m.%Y"), ("01/01/2001", "01/02/2001", "%m/%d/%Y"),
     ("1.1.01", "2.1.01", "%d.%m.%y"), ("01/01/2001 12:00 AM", "01/02/2001 12:00 AM",
                                        "%m/%d/%Y %I:%M %p")],
)  # fmt: skip
def test_dates_whose_order_is_unclear_need_a_format(
    tmp_path: Path, first: str, second: str, form: str
) -> None:
    text = "\n".join(LINES).replace("2001-01-01", first).replace("2001-01-02", second)
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    assert f'"{first}" in row 1 and "{second}" in row 3' in str(error.value)
    assert "options: {date_format: …}" in str(error.value)
    check(read(tmp_path, text, options={"date_format": form}))
    with pytest.raises(InputError, match=r'dates such as "%Y"'):
        read(tmp_path, text, options={"date_format": "%Y"})


@pytest.mark.parametrize(
    ("first", "second"),
    [("20010101", "20010102"), ("2001/01/01", "2001/01/02"), ("01-Jan-2001", "02-Jan-2001"),
     ("2001-01-01T00:00:00Z", "2001-01-02 01:00:00+01:00")],
)  # fmt: skip
def test_dates_without_doubt_need_none(tmp_path: Path, first: str, second: str) -> None:
    text = "\n".join(LINES).replace("2001-01-01", first).replace("2001-01-02", second)
    check(read(tmp_path, text))


def test_dates_in_several_columns(tmp_path: Path) -> None:
    text = "\n".join(LINES).replace("date", "YY;MM;DD")
    text = text.replace("2001-01-01", "2001;1;1").replace("2001-01-02", "2001;1;2")
    check(read(tmp_path, text, date=None, options={"date_columns": ["YY", "MM", "DD"]}))
    text = "\n".join(LINES).replace("date", "day;hour")
    text = text.replace("2001-01-01", "2001-01-01;06:00").replace("01-02", "01-02;18:00")
    ds = read(tmp_path, text, date=None, options={"date_columns": ["day", "hour"]})
    assert [str(t)[:13] for t in ds["time"].values] == ["2001-01-01T06", "2001-01-02T18"]


def test_a_wide_table_has_its_stations_beside(tmp_path: Path) -> None:
    stations = tmp_path / "stations.csv"
    stations.write_text("station,lat,lon\nb,51,-3.5\na,50.5,-4.25\nc,0,0\n")
    text = "date;a;b\n2001-01-01;1,5;0,0\n2001-01-02;12,25;\n"
    options = {"wide": True, "stations": str(stations)}
    check(read(tmp_path, text, "wide.txt", options=options))
    with pytest.raises(InputError, match=r"columns of unknown stations, 1 \(d\)"):
        read(tmp_path, text.replace(";b", ";d"), "wide.txt", options=options)
    with pytest.raises(InputError, match="without `stations`"):
        read(tmp_path, text, "wide.txt", options={"wide": True})
    stations.unlink()
    faults = Faults()
    assert not check_files(entry(tmp_path / "wide.txt", options=options), faults)
    assert "stations.csv" in faults.faults[0].where


def test_a_long_table_with_its_stations_beside_keeps_leading_zeros(tmp_path: Path) -> None:
    stations = tmp_path / "stations.csv"
    stations.write_text("station,lat,lon\n0123,50.5,-4.25\n0200,51,-3.5\n")
    text = "station,date,rain\n0123,2001-01-01,1.5\n0200,2001-01-01,0\n0123,2001-01-02,12.25\n"
    ds = read(tmp_path, text, options={"stations": str(stations)})
    assert ds["site"].values.tolist() == ["0123", "0200"]
    check(ds.assign_coords(site=("cell", ["a", "b"])))


def test_projected_coordinates_become_degrees(tmp_path: Path) -> None:
    to_gauss = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:31467", always_xy=True)
    x, y = to_gauss.transform([9.5, 8.25], [50.5, 51.0])
    text = f"station,Rechts,Hoch,rain\na,{x[0]:.3f},{y[0]:.3f},1\nb,{x[1]:.3f},{y[1]:.3f},2\n"
    settings = {"lat": "Hoch", "lon": "Rechts", "date": None}
    ds = read(tmp_path, text, crs="EPSG:31467", **settings)
    np.testing.assert_allclose(ds["lat"].values, [50.5, 51.0], atol=1e-7)
    np.testing.assert_allclose(ds["lon"].values, [9.5, 8.25], atol=1e-7)
    with pytest.raises(InputError, match="set `crs` of the entry if they are metres"):
        read(tmp_path, text, **settings)


def test_repeated_columns_and_workbooks_are_refused(tmp_path: Path) -> None:
    text = "\n".join(LINES).replace("rain", "rain;rain")
    with pytest.raises(InputError, match='several columns "rain"'):
        read(tmp_path, text)
    with pytest.raises(InputError, match=r"an Excel workbook.*Save the sheet as CSV"):
        read(tmp_path, b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", "a.xlsx")
