"""NetCDF files of series at stations: variables as (time, cell), and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source


def stations() -> xr.Dataset:
    time = np.datetime64("2001-01-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    rain = np.arange(12.0).reshape(3, 4).astype(np.float32)
    rain[1, 2] = np.nan
    return xr.Dataset(
        {"P": (("station", "day"), rain), "Sand": ("station", np.float32([10, 20, 30]))},
        {"day": time, "lat": ("station", [40.0, -3.5, 12.0]), "lon": ("station", [250.0, 3.0, 9]),
         "number": ("station", [70, 5, 12])},
    )  # fmt: skip


def source(path: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "s", "uri": str(path), "driver": "stations", "lat": "lat", "lon": "lon",
         "cell": "number", "dims": {"time": "day"},
         "variables": {"precipitation": {"name": "P", "units": "mm/day", "scale": 24},
                       "sand": {"name": "Sand", "units": "%"}}, **changes}
    )  # fmt: skip


def test_stations_come_out_by_time_in_canonical_units(tmp_path: Path) -> None:
    stations().to_netcdf(tmp_path / "s.nc")
    ds = read_locations_source(source(tmp_path / "s.nc"), read_variables())
    assert ds["precipitation"].dims == ("time", "cell")
    np.testing.assert_array_equal(ds["precipitation"].values, 24 * stations()["P"].values.T)
    np.testing.assert_allclose(ds["sand"], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(ds["cell"], [70, 5, 12])
    np.testing.assert_array_equal(ds["time"], stations()["day"])
    assert ds["lat"].values.tolist() == [40.0, -3.5, 12.0]


def test_axis_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    stations().to_netcdf(tmp_path / "a.nc")
    stations().transpose().to_netcdf(tmp_path / "b.nc")
    a, b = (read_locations_source(source(tmp_path / f"{n}.nc"), read_variables()) for n in "ab")
    xr.testing.assert_identical(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.rename(P="Q"), r'a variable "P"'),
        (
            lambda ds: ds.assign_coords(lat=("station", [40.0, 95.0, 0.0])),
            r"no degrees at stations, 1 \(5\)",
        ),
        (
            lambda ds: ds.assign_coords(number=("station", [5, 5, 12])),
            r"duplicate stations, 1 \(5\)",
        ),
        (lambda ds: ds.assign(P=ds["P"].expand_dims(level=2)), r"P: found dims"),
        (lambda ds: ds.assign(Sand=ds["Sand"] * 10), "values from 1 to 3"),
    ],
)
def test_bad_files_get_one_clear_error(tmp_path: Path, change, message: str) -> None:
    change(stations()).to_netcdf(tmp_path / "s.nc")
    with pytest.raises(InputError, match=message):
        read_locations_source(source(tmp_path / "s.nc"), read_variables())


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    stations().to_netcdf(tmp_path / "s.nc")
    whole = (tmp_path / "s.nc").read_bytes()
    (tmp_path / "s.nc").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"s\.nc: found a file that cannot be read"):
        read_locations_source(source(tmp_path / "s.nc"), read_variables())
