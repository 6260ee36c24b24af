"""Caravan folders in the published layout: their locations, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source

DAYS = {"camels_01022500": pd.date_range("2000-01-01", periods=4),
        "camels_01031500": pd.date_range("2000-01-02", periods=4),
        "lamah_7": pd.date_range("2000-01-01", periods=3)}  # fmt: skip


def frame(site: str) -> pd.DataFrame:
    """Return streamflow with a gap, precipitation, and temperature in degC."""
    days = DAYS[site]
    values = np.arange(len(days)) + 10.0 * list(DAYS).index(site)
    flow = np.where(np.arange(len(days)) == 1, np.nan, values)
    columns = {
        "streamflow": flow,
        "total_precipitation_sum": values,
        "temperature_2m_mean": -values,
    }
    return pd.DataFrame(columns, index=pd.Index(days, name="date"))


def written(root: Path, form: str = "netcdf") -> Path:
    for site in DAYS:
        folder = root / "timeseries" / form / site.split("_")[0]
        folder.mkdir(parents=True, exist_ok=True)
        if form == "csv":
            frame(site).to_csv(folder / f"{site}.csv")
        else:
            frame(site).to_xarray().to_netcdf(folder / f"{site}.nc")
    for name in ("camels", "lamah"):
        folder = root / "attributes" / name
        folder.mkdir(parents=True)
        sites = pd.Index([site for site in DAYS if site.startswith(name)], name="gauge_id")
        offset = np.arange(len(sites), dtype=float)
        other = {"gauge_lat": 44 + offset, "gauge_lon": -68 - offset, "gauge_name": "a river",
                 "country": "somewhere", "area": 500 + offset}  # fmt: skip
        pd.DataFrame(other, index=sites).to_csv(folder / f"attributes_other_{name}.csv")
        pd.DataFrame({"p_mean": 3 + offset}, index=sites).to_csv(
            folder / f"attributes_caravan_{name}.csv"
        )
        pd.DataFrame({"slt_pc_sav": 30 + offset, "slp_dg_sav": 40.0}, index=sites[::-1]).to_csv(
            folder / f"attributes_hydroatlas_{name}.csv"
        )
    return root


def source(root: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "c", "uri": str(root), "driver": "caravan",
         "variables": {"streamflow": {"name": "streamflow", "units": "mm/day"},
                       "precipitation": {"name": "total_precipitation_sum", "units": "mm/day"},
                       "air_temperature": {"name": "temperature_2m_mean", "units": "degC"},
                       "area": {"name": "area", "units": "km2"},
                       "silt": {"name": "slt_pc_sav", "units": "%"},
                       # HydroATLAS has tenths of degrees.
                       "slope": {"name": "slp_dg_sav", "units": "degree", "scale": 0.1}},
         **changes}
    )  # fmt: skip


@pytest.mark.parametrize("form", ["netcdf", "csv"])
def test_series_and_attributes_of_all_source_datasets(tmp_path: Path, form: str) -> None:
    entry = source(written(tmp_path, form), options={"form": form})
    faults = Faults()
    info = check_source(entry, faults, read_variables())
    assert not faults.faults
    assert info is not None
    assert info.shape == (3,)
    ds = read_locations_source(entry, read_variables())
    assert ds["site"].values.tolist() == list(DAYS)
    np.testing.assert_array_equal(ds["time"], pd.date_range("2000-01-01", periods=5))
    np.testing.assert_array_equal(
        ds["streamflow"],
        np.array([[0, np.nan, 20], [np.nan, 10, np.nan], [2, np.nan, 22], [3, 12, np.nan],
                  [np.nan, 13, np.nan]]),
    )  # fmt: skip
    np.testing.assert_array_equal(ds["air_temperature"][:, 1], [np.nan, -10, -11, -12, -13])
    np.testing.assert_array_equal(ds["area"], [500, 501, 500])
    np.testing.assert_allclose(ds["silt"], [0.31, 0.30, 0.30], rtol=1e-6)
    np.testing.assert_allclose(ds["slope"], 4.0)
    np.testing.assert_array_equal(ds["lat"], [44, 45, 44])
    assert ds["streamflow"].dims == ("time", "cell")
    assert ds["area"].dims == ("cell",)


def test_chosen_basins_in_the_order_asked_and_a_period(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("lamah_7\ncamels_01022500\n")
    entry = source(
        written(tmp_path / "c"), options={"sites": str(tmp_path / "ids.txt")},
        time={"period": ["2000-01-02", "2000-01-03"]},
    )  # fmt: skip
    ds = read_locations_source(entry, read_variables())
    assert ds["site"].values.tolist() == ["lamah_7", "camels_01022500"]
    np.testing.assert_array_equal(ds["precipitation"], [[21, 1], [22, 2]])
    assert ds["cell"].values.tolist() == [0, 1]


def test_missing_series_unknown_ids_and_duplicate_gauges_are_reported_together(
    tmp_path: Path,
) -> None:
    root = written(tmp_path)
    with pytest.raises(InputError, match=r"unknown ids, 1 \(camels_0\)"):
        read_locations_source(source(root, options={"sites": ["camels_0"]}), read_variables())
    (root / "timeseries/netcdf/lamah/lamah_7.nc").unlink()
    table = root / "attributes/camels/attributes_other_camels.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[-1] + "\n")
    with pytest.raises(InputError, match=r"duplicate sites, 1 \(camels_01031500\)"):
        read_locations_source(source(root), read_variables())
    with pytest.raises(InputError, match=r"no file of basins, 1 \(lamah_7\)"):
        read_locations_source(source(root, options={"datasets": ["lamah"]}), read_variables())


def test_impossible_values_name_their_sites(tmp_path: Path) -> None:
    root = written(tmp_path)
    path = root / "timeseries/netcdf/camels/camels_01031500.nc"
    wrong = frame("camels_01031500")
    wrong.loc["2000-01-03":"2000-01-04", "total_precipitation_sum"] = -999.0
    wrong.to_xarray().to_netcdf(path)
    with pytest.raises(InputError, match=r"2 of them outside at sites, 1 \(camels_01031500\)"):
        read_locations_source(source(root), read_variables())
    percent = {"silt": {"name": "slt_pc_sav", "units": "1"}}
    with pytest.raises(InputError, match=r"values from 30 to 31 1, 3 of them outside at sites, 3"):
        read_locations_source(source(root, variables=percent), read_variables())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"streamflow": {"name": "stremflow", "units": "mm/day"}}, 'Did you mean "streamflow"'),
        (
            {"area": {"name": "country", "units": "km2"}},
            'country: found text in 3 rows, such as "some',
        ),
    ],
)
def test_unknown_and_text_columns(tmp_path: Path, variables: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_locations_source(source(written(tmp_path), variables=variables), read_variables())


def test_a_truncated_series_and_a_folder_that_is_none_are_named(tmp_path: Path) -> None:
    root = written(tmp_path / "c")
    path = root / "timeseries/netcdf/lamah/lamah_7.nc"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"lamah_7\.nc: found a file that cannot be read"):
        read_locations_source(source(root), read_variables())
    with pytest.raises(InputError, match="the root of a Caravan dataset"):
        read_locations_source(source(tmp_path), read_variables())
    with pytest.raises(InputError, match="an unknown key"):
        read_locations_source(source(root, options={"dataset": "camels"}), read_variables())


def test_a_duplicate_day_is_reported_with_its_basin(tmp_path: Path) -> None:
    root = written(tmp_path, "csv")
    path = root / "timeseries/csv/lamah/lamah_7.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(InputError, match=r"lamah_7\.csv: found duplicate times, 1 \(2000-01-03"):
        read_locations_source(source(root, options={"form": "csv"}), read_variables())


def test_units_of_the_files_are_compared_with_the_entry(tmp_path: Path) -> None:
    root = written(tmp_path)
    for site in DAYS:
        path = root / "timeseries/netcdf" / site.split("_")[0] / f"{site}.nc"
        ds = frame(site).to_xarray()
        ds["temperature_2m_mean"].attrs["units"] = "K"
        ds.to_netcdf(path)
    faults = Faults()
    check_source(source(root), faults, read_variables())
    assert [f.found for f in faults.faults] == ['units "K" in the file']


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("netcdf", None, 'a column "date"'),
        ("csv", "", "no row of values; expected a row for each time"),
        ("csv", "2000-01-01,1,2,3\nxx,1,2,3\n", '1 rows without a date, such as "xx"'),
    ],
)
def test_series_without_dates_or_rows_are_refused(
    tmp_path: Path, form: str, text: str | None, message: str
) -> None:
    root = written(tmp_path, form)
    path = root / f"timeseries/{form}/lamah/lamah_7.{'csv' if form == 'csv' else 'nc'}"
    if text is None:
        frame("lamah_7").reset_index(drop=True).to_xarray().to_netcdf(path)
    else:
        path.write_text(path.read_text().splitlines(keepends=True)[0] + text)
    with pytest.raises(InputError, match=rf"lamah_7.*{message}"):
        read_locations_source(source(root, options={"form": form}), read_variables())


def test_coordinates_that_are_text_are_refused(tmp_path: Path) -> None:
    table = written(tmp_path) / "attributes/lamah/attributes_other_lamah.csv"
    table.write_text(table.read_text().replace("44.0", "north"))
    with pytest.raises(InputError, match='lat: found text in 1 rows, such as "north"'):
        read_locations_source(source(tmp_path), read_variables())
