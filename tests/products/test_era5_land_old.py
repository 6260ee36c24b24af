"""ERA5-Land of the store until 2024: packed numbers, and a dimension of preliminary hours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products import ecmwf
from tests.products.common import cube, dates, faults, same

FIRST, LAST = "2022-01-01", "2022-01-31"


def make_era5_land_old(folder: Path) -> None:
    """Write January 2022, and February 2022, preliminary from its second day at 07 UTC on."""
    for month, end, first in (("01", LAST, None), ("02", "2022-02-28", 31)):
        times = ecmwf.hours(f"2022-{month}-01", end)
        part = "" if first is None else "mixed/"
        path = folder / "era5_land_old" / f"{part}era5_land_2022_{month}.nc"
        ecmwf.make_old(path, ecmwf.instants(times) | ecmwf.running(times), times, first)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_era5_land_old(folder)
    return folder


def test_days_of_packed_hours(data: Path) -> None:
    ds = cube("era5_land_old", data, ecmwf.BOUNDS, 0.1, (FIRST, "2022-01-03"))
    assert dates(ds) == ["2022-01-01", "2022-01-02", "2022-01-03"]
    # Packing: 12 K / 65533 is 0.0002 K.
    for name, value in (("air_temperature", 6.0), ("air_temperature_max", 12.0),
                        ("air_temperature_min", 0.0), ("dew_point_temperature", -3.0),
                        ("surface_pressure", 90000.0), ("eastward_wind", 0.0),
                        ("northward_wind", 2.0), ("snow_amount", 250.0)):  # fmt: skip
        np.testing.assert_allclose(ds[name], [value * ecmwf.SEA] * 3, atol=5e-4, err_msg=name)


def test_rain_of_a_dry_day_is_0_and_the_total_of_a_day_is_that_at_midnight(data: Path) -> None:
    ds = cube("era5_land_old", data, ecmwf.BOUNDS, 0.1, (FIRST, "2022-01-03"),
              sources=["era5_land_old_accumulated"])  # fmt: skip
    day = ecmwf.SEA
    # Packing: 24 mm / 65533.
    np.testing.assert_allclose(ds["precipitation"], [0 * day, 24 * day, 0 * day], atol=1e-3)
    assert float(ds["precipitation"].min()) >= 0
    np.testing.assert_allclose(ds["shortwave_radiation"], [100 * day] * 3, rtol=1e-4)
    np.testing.assert_allclose(ds["longwave_radiation"], [300 * day] * 3, rtol=1e-4)


def test_preliminary_hours_complete_the_final_ones(data: Path) -> None:
    period = ("2022-02-01", "2022-02-03")
    ds = cube("era5_land_old", data, ecmwf.BOUNDS, 0.1, period, sources=["era5_land_old_mixed"])
    # 2 February is final until 06 UTC and preliminary from then on.
    np.testing.assert_allclose(ds["air_temperature"], [6 * ecmwf.SEA] * 3, atol=1e-3)
    same(ds["snow_amount"], [250 * ecmwf.SEA] * 3)
    ds = cube("era5_land_old", data, ecmwf.BOUNDS, 0.1, period,
              sources=["era5_land_old_mixed_accumulated"])  # fmt: skip
    np.testing.assert_allclose(ds["longwave_radiation"], [300 * ecmwf.SEA] * 3, rtol=1e-4)
    np.testing.assert_allclose(ds["precipitation"], [0 * ecmwf.SEA] * 3, atol=1e-3)


def test_files_with_and_without_the_dimension_are_one_series(data: Path) -> None:
    names = ["era5_land_old_all", "era5_land_old_all_accumulated"]
    ds = cube("era5_land_old", data, ecmwf.BOUNDS, 0.1, ("2022-01-30", "2022-02-02"), sources=names)
    assert dates(ds) == ["2022-01-30", "2022-01-31", "2022-02-01", "2022-02-02"]
    np.testing.assert_allclose(ds["air_temperature"], [6 * ecmwf.SEA] * 4, atol=1e-3)
    # The total of 31 January ends at 00 UTC in the file of February.
    np.testing.assert_allclose(ds["longwave_radiation"], [300 * ecmwf.SEA] * 4, rtol=1e-4)


def test_files_agree_with_their_entries(data: Path) -> None:
    assert faults("era5_land_old", data, "era5_land_old_accumulated", "era5_land_old_mixed") == []
