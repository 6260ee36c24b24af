"""CMIP6 as on ESGF: files of some years, noon stamps with bounds, calendars without leap days."""

from __future__ import annotations

from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from tests.products.common import cube, dates, faults, same

BOUNDS = (0.0, 0.0, 4.0, 2.0)
FIELD = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
"""Values on a map of 1 degree; rows of the files run from south to north."""


def make_cmip6(
    folder: Path, name: str, units: str, first: str, factors: list[float], calendar: str,
    model: str = "CESM2", store: str | None = None,
) -> None:  # fmt: skip
    """Write days from the first on, each so many times the field; as Zarr if a store is named."""
    start = cftime.datetime(*map(int, first.split("-")), calendar=calendar)
    edges = [cftime.date2num(start, "days since 1850-01-01", calendar=calendar) + i
             for i in range(len(factors) + 1)]  # fmt: skip
    noon = np.array(edges[:-1], float) + 0.5
    values = np.asarray(factors)[:, None, None] * FIELD[::-1]
    attrs = {"units": units, "cell_methods": "area: time: mean", "coordinates": "height",
             "missing_value": np.float32(1e20)}  # fmt: skip
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), values.astype("f4"), attrs),
         "time_bnds": (("time", "bnds"), np.stack([edges[:-1], edges[1:]], 1).astype(float)),
         "lat_bnds": (("lat", "bnds"), np.array([[0.0, 1.0], [1.0, 2.0]])),
         "lon_bnds": (("lon", "bnds"), np.stack([np.arange(4.0), np.arange(1.0, 5)], 1))},
        {"time": ("time", noon, {"units": "days since 1850-01-01", "calendar": calendar,
                                 "bounds": "time_bnds", "standard_name": "time", "axis": "T"}),
         "lat": ("lat", [0.5, 1.5], {"units": "degrees_north", "bounds": "lat_bnds", "axis": "Y"}),
         "lon": ("lon", [0.5, 1.5, 2.5, 3.5],
                 {"units": "degrees_east", "bounds": "lon_bnds", "axis": "X"}),
         "height": ((), 2.0, {"units": "m", "positive": "up", "axis": "Z"})},
        {"Conventions": "CF-1.7 CMIP-6.2", "source_id": model, "frequency": "day"},
    )  # fmt: skip
    home = folder / "cmip6"
    if store:
        ds.to_zarr(home / store, zarr_format=2, consolidated=True)
        return
    last = cftime.num2date(edges[-2], "days since 1850-01-01", calendar=calendar)
    span = f"{first.replace('-', '')}-{last.strftime('%Y%m%d')}"
    home.mkdir(exist_ok=True)
    encoding = {name: {"_FillValue": np.float32(1e20)}}
    ds.to_netcdf(home / f"{name}_day_{model}_historical_r1i1p1f1_gn_{span}.nc", encoding=encoding)


MM = 1 / 86400
"""1 mm a day as a flux in kg m-2 s-1."""


def test_noleap_has_no_29_february(tmp_path: Path) -> None:
    make_cmip6(tmp_path, "pr", "kg m-2 s-1", "2000-02-27", [MM, 2 * MM], "noleap")
    make_cmip6(tmp_path, "pr", "kg m-2 s-1", "2000-03-01", [3 * MM, -1e-12], "noleap")
    ds = cube("cmip6", tmp_path, BOUNDS, 1.0, ("2000-02-27", "2000-03-02"))
    assert dates(ds) == [f"2000-02-{day}" for day in (27, 28, 29)] + ["2000-03-01", "2000-03-02"]
    none = np.full((2, 4), np.nan)
    same(ds["precipitation"], [FIELD, 2 * FIELD, none, 3 * FIELD, 0 * FIELD])
    assert float(ds["precipitation"].min()) >= 0
    assert faults("cmip6", tmp_path) == []


def test_days_of_a_360_day_year_are_spread_over_the_year(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.products.test_cmip6.FIELD", np.ones((2, 4)))
    # The temperature tells the day: -10 degC on the first, 0.1 K more on each.
    make_cmip6(tmp_path, "tas", "K", "2001-01-01", [263.15 + i / 10 for i in range(360)],
               "360_day", "UKESM1-0-LL")  # fmt: skip
    found = cube("cmip6", tmp_path, BOUNDS, 1.0, ("2001-01-01", "2001-12-31"),
                 sources=["cmip6_temperature"])["air_temperature"][:, 0, 0]  # fmt: skip
    assert found.sizes["time"] == 365
    assert int(np.isnan(found).sum()) == 5
    number = np.rint((found[np.isfinite(found)].values + 10) * 10)
    assert number.tolist() == list(range(360))
    # 1 July is the 181st of 360 days; 180.5 / 360 of 365 days is 183.0, which is 3 July.
    same(found.sel(time="2001-07-03"), [8.0])


@pytest.mark.parametrize(
    ("name", "source", "variable", "units", "stored", "value"),
    [
        ("tasmax", "temperature_max", "air_temperature_max", "K", 303.15, 30.0),
        ("tasmin", "temperature_min", "air_temperature_min", "K", 263.15, -10.0),
        ("rsds", "shortwave", "shortwave_radiation", "W m-2", 150.0, 150.0),
        ("rlds", "longwave", "longwave_radiation", "W m-2", 300.0, 300.0),
        ("huss", "specific_humidity", "specific_humidity", "1", 0.008, 0.008),
        ("hurs", "relative_humidity", "relative_humidity", "%", 70.0, 70.0),
        ("sfcWind", "wind", "wind_speed", "m s-1", 3.0, 3.0),
    ],
)
def test_other_variables_of_a_gregorian_calendar(
    name: str, source: str, variable: str, units: str, stored: float, value: float,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("tests.products.test_cmip6.FIELD", np.ones((2, 4)))
    make_cmip6(tmp_path, name, units, "2000-02-28", [stored] * 3, "proleptic_gregorian")
    ds = cube("cmip6", tmp_path, BOUNDS, 1.0, ("2000-02-28", "2000-03-01"),
              sources=[f"cmip6_{source}"])  # fmt: skip
    same(ds[variable], np.full((3, 2, 4), value))


def test_two_models_in_one_folder_are_refused(tmp_path: Path) -> None:
    for model in ("CESM2", "MIROC6"):
        make_cmip6(tmp_path, "pr", "kg m-2 s-1", "2001-01-01", [MM, MM], "standard", model)
    assert "2001-01-01" in faults("cmip6", tmp_path)[0]
    with pytest.raises(InputError, match="times that no two files share"):
        cube("cmip6", tmp_path, BOUNDS, 1.0, ("2001-01-01", "2001-01-02"))


def test_a_store_of_pangeo(tmp_path: Path) -> None:
    make_cmip6(tmp_path, "pr", "kg m-2 s-1", "1999-12-31", [MM, 2 * MM], "noleap",
               store="zarr/pr.zarr")  # fmt: skip
    ds = cube("cmip6", tmp_path, BOUNDS, 1.0, ("1999-12-31", "2000-01-01"), sources=["cmip6_zarr"])
    same(ds["precipitation"], [FIELD, 2 * FIELD])
