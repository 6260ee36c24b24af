"""ESA CCI soil moisture as at CEDA: a file a day, rows from the north, flags beside the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from tests.products.common import cube, dates, faults, same

DAYS = "days since 1970-01-01 00:00:00 UTC"


def make_esa_cci_sm(folder: Path, day: str, moisture: list, flag: list, version: str) -> None:
    """A file of 2 x 3 cells whose corner in the northwest is at 10.5° E, 45.5° N."""
    when = np.datetime64(day, "ns")
    dims = ("time", "lat", "lon")
    ds = xr.Dataset(
        {"sm": (dims, np.float32([moisture]), {"units": "m3 m-3", "long_name": "Volumetric Soil "
                "Moisture", "valid_range": np.float32([0, 1])}),
         "sm_uncertainty": (dims, np.full((1, 2, 3), 0.02, "f4"), {"units": "m3 m-3"}),
         "flag": (dims, np.int8([flag]), {"flag_values": np.int8([0, 1, 2, 4, 8, 16, 32, 64]),
                  "flag_meanings": "no_data_inconsistency_detected snow_coverage_or_temperature_"
                  "below_zero dense_vegetation others_no_convergence_in_the_model soil_moisture_"
                  "value_exceeds_physical_boundary weight_of_measurement_below_threshold "
                  "all_datasets_deemed_unreliable barren_ground_advisory_flag"}),
         "t0": (dims, np.full((1, 2, 3), 16526.25), {"units": DAYS})},
        {"time": ("time", [when]), "lat": ("lat", [45.375, 45.125], {"units": "degrees_north"}),
         "lon": ("lon", [10.625, 10.875, 11.125], {"units": "degrees_east"})},
    )  # fmt: skip
    encoding = {
        "sm": {"_FillValue": np.float32(-9999)},
        "sm_uncertainty": {"_FillValue": np.float32(-9999)},
        "flag": {"_FillValue": np.int8(127)}, "t0": {"_FillValue": -9999.0},
        "time": {"units": DAYS, "dtype": "f8"},
    }  # fmt: skip
    name = f"{day.replace('-', '')}000000-fv{version}.nc"
    path = folder / day[:4] / f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(path, format="NETCDF4_CLASSIC", encoding=encoding)


def test_flagged_values_are_missing_and_barren_ground_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "esa_cci_sm"
    make_esa_cci_sm(folder, "2015-12-31", [[0.25, 0.5, np.nan], [0.125, 0.5, 0.75]],
                    [[0, 1, 127], [64, 65, 2]], "09.1")  # fmt: skip
    make_esa_cci_sm(folder, "2016-01-01", [[0.5, 0.25, 0.5], [0.5, 0.5, 0.5]],
                    [[0, 0, 4], [16, 32, 0]], "09.2")  # fmt: skip
    period = ("2015-12-31", "2016-01-01")
    found = cube("esa_cci_sm", tmp_path, (10.5, 45, 11.25, 45.5), 0.25, period, only=period)
    assert dates(found) == ["2015-12-31", "2016-01-01"]
    nan = np.nan
    same(found["soil_moisture"][0], [[0.25, nan, nan], [0.125, nan, nan]])
    same(found["soil_moisture"][1], [[0.5, 0.25, nan], [nan, nan, 0.5]])
    assert not faults("esa_cci_sm", tmp_path, only=period)


def test_a_quarter_of_a_coarse_cell_is_enough(tmp_path: Path) -> None:
    folder = tmp_path / "esa_cci_sm"
    nan = np.nan
    for day in ("2016-01-01", "2016-01-02"):
        make_esa_cci_sm(folder, day, [[nan, nan, nan], [nan, 0.5, nan]],
                        [[127] * 3, [127, 0, 127]], "09.1")  # fmt: skip
    period = ("2016-01-01", "2016-01-02")
    found = cube("esa_cci_sm", tmp_path, (10.5, 45, 11, 45.5), 0.5, period, only=period)
    # The cell in the south is the larger of two, by the sine of its latitudes.
    same(found["soil_moisture"], [[[0.5]], [[0.5]]])
