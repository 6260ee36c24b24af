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


PLACES = "station,lat,lon\na,50.5,-4.25\nb,51.0,-3.5\n"


def test_files_of_one_station_each_are_named_by_its_id(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text(PLACES)
    rows = "year month day rain qual\n2001 1 1 1.5 1\n2001 1 2 12.25 nan\n"
    (tmp_path / "a_rain_x.txt").write_text(rows)
    (tmp_path / "b_rain_y.txt").write_text("year month day rain qual\n2001 1 1 0.0 1\n")
    options = {"stations": str(tmp_path / "places.csv"), "separator": " ",
               "date_columns": ["year", "month", "day"]}  # fmt: skip
    for form, given in (("{cell}_rain_*.txt", False), ("{cell}_flow.txt", True)):
        entry_ = entry(tmp_path / "*_rain_?.txt", date=None,
                       options={**options, "cell_in_name": form})  # fmt: skip
        if not given:
            check(open_source(entry_))
            continue
        with pytest.raises(InputError, match=r"a_rain_x\.txt.*\n?.*names such as {cell}_flow\.txt"):
            open_source(entry_)


def test_a_name_of_files_needs_the_cell(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not have {cell} once"):
        read(tmp_path, PLACES, options={"cell_in_name": "a.txt"})


def test_white_space_is_recognised_where_nothing_else_separates(tmp_path: Path) -> None:
    check(read(tmp_path, "\n".join(LINES).replace(",", ".").replace(";", " "), "a.txt"))
    text = 'station name lat lon date rain\na "A River" 50.5 -4.25 2001-01-01 1.5\n' \
           'b B 51.0 -3.5 2001-01-01 0\na "A River" 50.5 -4.25 2001-01-02 12.25\n'  # fmt: skip
    check(read(tmp_path, text, "b.txt"))


def test_files_without_names_of_columns(tmp_path: Path) -> None:
    text = "a  50.5 -4.25 20010101   1.5\nb  51.0 -3.50 20010101   0.0\n" \
           "a  50.5 -4.25 20010102  12.25\n"  # fmt: skip
    columns = ["station", "lat", "lon", "date", "rain"]
    check(read(tmp_path, text, "a.txt", options={"separator": " ", "columns": columns}))
    with pytest.raises(InputError, match=r"5 columns.*\n?.*the 4 of `columns`"):
        read(tmp_path, text, "b.txt", options={"separator": " ", "columns": columns[1:]})


def test_comments_state_columns(tmp_path: Path) -> None:
    for name, lat, lon, rows in (("a", 50.5, -4.25, "2001-01-01;1.5\n2001-01-02;12.25\n"),
                                 ("b", 51.0, -3.5, "2001-01-01;0.0\n")):  # fmt: skip
        (tmp_path / f"{name}.txt").write_text(
            f"# Title:  data\n# No.:   {name}\n# Latitude (DD):  {lat}\n# Longitude (DD): {lon}\n"
            f"# Area (km²): 12.5\n# DATA\ndate; rain\n{rows}", encoding="latin-1"
        )  # fmt: skip
    places = {"cell": "No.", "lat": "Latitude (DD)", "lon": "Longitude (DD)"}
    columns = list(places.values())
    check(open_source(entry(tmp_path / "*.txt", options={"comment_columns": columns}, **places)))
    with pytest.raises(InputError, match=r'a line "Latitud: …"'):
        open_source(entry(tmp_path / "*.txt", options={"comment_columns": ["Latitud"]}, **places))


def test_a_table_whose_columns_are_stations_is_turned(tmp_path: Path) -> None:
    (tmp_path / "places.txt").write_text(
        '"station"\t"a"\t"b"\n"name"\t"A River"\t"B"\n"lat"\t"50.5"\t"51"\n"lon"\t"-4.25"\t"-3.5"\n'
        '"area"\t"12.5"\t"NA"\n'
    )
    options = {"wide": True, "stations": str(tmp_path / "places.txt")}
    text = '"station"\t"a"\t"b"\n"2001-01-01"\t"1.5"\t"0"\n"2001-01-02"\t"12.25"\t" "\n'
    check(read(tmp_path, text, "a.txt", date="station", options=options))
    area = {"area": {"name": "area", "units": "km2"}}
    found = open_source(entry(tmp_path / "places.txt", date=None, variables=area))
    np.testing.assert_array_equal(found["area"], [12.5, np.nan])


def test_columns_of_the_stations_are_attributes(tmp_path: Path) -> None:
    (tmp_path / "places.csv").write_text(
        "station,lat,lon,km2\na,50.5,-4.25,12.5\nb,51,-3.5,\nc,1,1,2\n"
    )
    (tmp_path / "soil.csv").write_text("station,km2,clay\nb,9,20\nc,9,30\n")
    options = {"stations": [str(tmp_path / "places.csv"), str(tmp_path / "soil.csv")]}
    variables = {"rain": {"name": "rain", "units": "mm/day"}, "area": {"name": "km2"},
                 "clay": {"name": "clay"}}  # fmt: skip
    text = "station,date,rain\na,2001-01-01,1.5\nb,2001-01-01,0\na,2001-01-02,12.25\n"
    wide = "date,a,b\n2001-01-01,1.5,0\n2001-01-02,12.25,\n"
    for rows, given in ((text, {}), (wide, {"wide": True})):
        ds = read(tmp_path, rows, options={**options, **given}, variables=variables)
        check(ds)
        assert ds["km2"].dims == ("cell",)
        np.testing.assert_array_equal(ds["km2"], [12.5, np.nan])
        np.testing.assert_array_equal(ds["clay"], [np.nan, 20])
    depth = {"flow": {"expression": "rain / km2", "units": "mm/day"}}
    ds = read(tmp_path, text, options=options, variables=depth)
    np.testing.assert_allclose(ds["flow of rain / km2"][:, 0], [0.12, 0.98])
    with pytest.raises(InputError, match='a column "clay_"'):
        read(tmp_path, text, options=options, variables={"clay": {"name": "clay_"}})


def rows_of(dates: tuple[str, str], head: str = "date") -> str:
    """Return `LINES` with other columns of dates, separated by semicolons."""
    first, second = dates
    return "\n".join(
        [LINES[0].replace("date", head), LINES[1].replace("2001-01-01", first),
         LINES[2].replace("2001-01-01", first), LINES[3].replace("2001-01-02", second)]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dates", "date_format"),
    [(("010101", "010102"), "%y%m%d"), (("01012001", "02012001"), "%d%m%Y"),
     (("20010101", "20010102"), None), (("2001-01-01T00:00Z", "2001-01-02T00:00Z"), None)],
)  # fmt: skip
def test_leading_zeros_are_a_part_of_dates(
    tmp_path: Path, dates: tuple[str, str], date_format: str | None
) -> None:
    check(read(tmp_path, rows_of(dates), options={"date_format": date_format}))


@pytest.mark.parametrize(
    ("head", "dates", "date_format"),
    [("year;doy", ("2001;001", "2001;002"), None), ("JDay;YYYY", ("1;2001", "2;2001"), None),
     ("year;doy", ("2001;001", "2001;002"), "%Y %j"), ("d;m;y", ("01;01;01", "02;01;01"),
      "%d %m %y"), ("dd;mm;yyyy", ("1;1;2001", "2;1;2001"), None),
     ("y;m;d", ("2001;01;01", "2001;01;02"), None)],
)  # fmt: skip
def test_dates_in_columns_that_their_names_explain(
    tmp_path: Path, head: str, dates: tuple[str, str], date_format: str | None
) -> None:
    columns = head.split(";")
    options = {"date_columns": columns, "date_format": date_format}
    check(read(tmp_path, rows_of(dates, head), date=None, options=options))


def test_the_time_of_day_keeps_its_zeros(tmp_path: Path) -> None:
    text = rows_of(("2001-01-01;0030", "2001-01-01;1230"), "date;time")
    options = {"date_columns": ["date", "time"], "date_format": "%Y-%m-%d %H%M"}
    times = read(tmp_path, text, date=None, options=options)["time"].values
    assert [str(t)[11:16] for t in times] == ["00:30", "12:30"]


def test_a_day_that_a_year_does_not_have_is_refused(tmp_path: Path) -> None:
    text = rows_of(("2001;001", "2001;366"), "year;doy")
    with pytest.raises(InputError, match='found "2001 366" in row 3'):
        read(tmp_path, text, date=None, options={"date_columns": ["year", "doy"]})


def test_a_line_of_units_and_a_table_of_stations_without_one(tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text("station,lat,lon\na,50.5,-4.25\nb,51,-3.5\n")
    wide = "date;a;b\n;mm;mm\n2001-01-01;1,5;0,0\n2001-01-02;12,25;\n"
    options = {"wide": True, "stations": str(tmp_path / "sites.csv")}
    with pytest.raises(InputError, match="header_lines: 2"):
        read(tmp_path, wide, options=options)
    check(read(tmp_path, wide, options={**options, "header_lines": 2}))


def test_the_line_of_excel_and_white_space(tmp_path: Path) -> None:
    check(read(tmp_path, "sep=;\n" + "\n".join(LINES)))
    spaces = "\n".join(LINES).replace(",", ".").replace(";", "  ")
    check(read(tmp_path, spaces))


def test_days_of_a_time_zone_stay_these_days(tmp_path: Path) -> None:
    check(read(tmp_path, rows_of(("2001-01-01T00:00:00+01:00", "2001-01-02 00:00:00+0100"))))
    hours = rows_of(("2001-01-01T00:00+01:00", "2001-01-02T06:00+01:00"))
    times = read(tmp_path, hours)["time"].values
    assert [str(t)[:16] for t in times] == ["2000-12-31T23:00", "2001-01-02T05:00"]


def test_eastings_and_northings_that_are_swapped(tmp_path: Path) -> None:
    text = "\n".join(LINES).replace("50,5;-4,25", "1260000;2600000")
    text = text.replace("51,0;-3,50", "1250000;2610000")
    with pytest.raises(InputError, match="column of northings as `lat`"):
        read(tmp_path, text, lat="lon", lon="lat", crs="EPSG:2056")
    ds = read(tmp_path, text, crs="EPSG:2056")
    np.testing.assert_allclose(ds["lat"].values, [47.5, 47.4], atol=0.1)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M"])
def test_the_end_of_a_day_is_the_begin_of_the_next(tmp_path: Path, form: str) -> None:
    days = ["2001-01-31 12:00", "2001-01-31 24:00"]
    if form[1] == "d":
        days = ["31.01.2001 12:00", "31.01.2001 24:00"]
    rows = [f"a,50,8,{day},{i}" for i, day in enumerate(days)]
    text = "\n".join(["station,lat,lon,date,rain", *rows])
    options = {} if form[1] == "Y" else {"date_format": form}
    ds = read(tmp_path, text, options=options)
    found = ds["time"].values.astype("datetime64[h]").astype(str).tolist()
    assert found == ["2001-01-31T12", "2001-02-01T00"]
    assert ds["rain"].values.tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("dates", "form"),
    [(("01/02/2001 12:00 AM", "01/03/2001 12:00 AM"), r"%m/%d/%Y %I:%M %p"),
     (("200101", "200102"), "%Y%m"), (("2001001", "2001002"), "%Y%j"),
     (("1-Jan-01", "2-Jan-01"), "%d-%b-%y")],
)  # fmt: skip
def test_formats_that_fit_all_rows_are_proposed(
    tmp_path: Path, dates: tuple[str, str], form: str
) -> None:
    rows = [f"a,50,8,{date},1" for date in dates]
    text = "\n".join(["station,lat,lon,date,rain", *rows])
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert form in str(caught.value)
    read(tmp_path, text, options={"date_format": form})


def test_quoted_decimal_commas_between_commas(tmp_path: Path) -> None:
    text = "\n".join(line.replace(",", ".").replace(";", ",") for line in LINES)
    quoted = text.replace("1.5\n", '"1,5"\n').replace("12.25", '"12,25"').replace("0.0", '"0,0"')
    for number in ("50.5", "-4.25", "51.0", "-3.50"):
        quoted = quoted.replace(number, '"' + number.replace(".", ",") + '"')
    check(read(tmp_path, quoted))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without rows"):
        read(tmp_path, LINES[0] + "\n")


@pytest.mark.parametrize("above", [1, 3])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_titles_above_the_names_of_columns_have_a_way_out(
    tmp_path: Path, separator: str, above: int
) -> None:
    rows = "\n".join(LINES).replace(",", ".").replace(";", separator)
    title = "".join(f"Rain of line {i}{separator}2001\n" for i in range(above))
    with pytest.raises(InputError, match=rf"skip_lines: {above}}}"):
        read(tmp_path, title + rows)
    check(read(tmp_path, title + rows, options={"skip_lines": above}))


def test_row_names_and_separators_at_the_end_shift_no_column(tmp_path: Path) -> None:
    plain = "\n".join(LINES).replace(",", ".")
    names, *rows = plain.split("\n")
    check(read(tmp_path, "\n".join([names, *(f"{row};" for row in rows)])))
    check(read(tmp_path, "\n".join([names, *(f"r{i};{row}" for i, row in enumerate(rows))])))


def test_a_line_with_too_many_fields_is_named(tmp_path: Path) -> None:
    lines = [line.replace(",", ".") for line in LINES]
    text = "\n".join([*lines, "b;51.0;-3.5;2001-01-02;1.0;estimated"])
    with pytest.raises(InputError, match=r"6 fields in line 5; expected 5") as error:
        read(tmp_path, text)
    assert "Download" not in str(error.value)
    with pytest.raises(InputError, match="6 fields in line 7; expected 5"):
        read(tmp_path, "# a\nnote\n" + text, options={"skip_lines": 1})


@pytest.mark.parametrize("hour", ["", ".25"])
def test_days_as_numbers_of_excel_have_a_format_of_their_own(tmp_path: Path, hour: str) -> None:
    text = "\n".join(LINES).replace(",", ".")
    text = text.replace("2001-01-01", f"36892{hour}").replace("2001-01-02", f"36893{hour}")
    with pytest.raises(InputError, match="date_format: excel"):
        read(tmp_path, text)
    ds = read(tmp_path, text, options={"date_format": "excel"})
    day = np.datetime64("2001-01-01" + (" 06:00" if hour else ""), "ns")
    assert ds["time"].values.tolist() == [
        day.astype(int),
        (day + np.timedelta64(1, "D")).astype(int),
    ]
    other = text.replace("36893", "friday")
    with pytest.raises(InputError, match='"friday'):
        read(tmp_path, other, options={"date_format": "excel"})


def test_a_column_with_a_dash_needs_a_name_in_an_expression(tmp_path: Path) -> None:
    text = "\n".join(LINES).replace(",", ".").replace("rain", "rain-gauge")
    variable = {"expression": "rain-gauge * 2", "units": "mm/day"}
    with pytest.raises(InputError, match=r'operands: \{rain_gauge: "rain-gauge"\}'):
        read(tmp_path, text, variables={"precipitation": variable})
    named = {"expression": "g * 2", "units": "mm/day", "operands": {"g": "rain-gauge"}}
    ds = read(tmp_path, text, variables={"precipitation": named})
    np.testing.assert_allclose(ds["precipitation of g * 2"].values[0], [3.0, 0.0])
