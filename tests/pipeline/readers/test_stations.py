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


def test_stations_are_left_out_by_name(tmp_path: Path) -> None:
    stations().to_netcdf(tmp_path / "s.nc")
    some = source(tmp_path / "s.nc", options={"exclude": ["5", "99"]})
    ds = read_locations_source(some, read_variables())
    assert (ds["cell"].values.tolist(), ds.attrs["left_out_stations"]) == ([70, 12], 1)
    none = source(tmp_path / "s.nc", options={"exclude": ["99"]})
    with pytest.raises(InputError, match=r"no station of these names, 1 \(99\)"):
        read_locations_source(none, read_variables())


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


def ragged(kind: str) -> xr.Dataset:
    """Return the series of `stations` with one observation each less, in another representation."""
    ds = stations()
    times = [ds["day"].values[[0, 1, 3]], ds["day"].values[[1]], ds["day"].values]
    rain = [ds["P"].values[0, [0, 1, 3]], ds["P"].values[1, [1]], ds["P"].values[2]]
    base = ds[["Sand", "lat", "lon", "number"]].reset_coords().drop_vars("day", errors="ignore")
    base = base.set_coords(["lat", "lon", "number"])
    if kind == "padded":
        grid = np.full((3, 4), np.nan, np.float32)
        when = np.full((3, 4), np.datetime64("NaT", "ns"))
        for i, (t, v) in enumerate(zip(times, rain, strict=True)):
            grid[i, : len(v)], when[i, : len(t)] = v, t
        return base.assign(P=(("station", "obs"), grid)).assign_coords(
            day=(("station", "obs"), when)
        )
    order = np.arange(8) if kind == "contiguous" else np.array([3, 0, 7, 1, 4, 2, 6, 5])
    owner = np.repeat([0, 1, 2], [3, 1, 4])
    base = base.assign(P=("obs", np.concatenate(rain)[order]))
    base = base.assign_coords(day=("obs", np.concatenate(times)[order]))
    if kind == "contiguous":
        counts = ("station", np.int32([3, 1, 4]), {"sample_dimension": "obs"})
        return base.assign(row_size=counts)
    return base.assign(number_of=("obs", owner[order], {"instance_dimension": "station"}))


@pytest.mark.parametrize("kind", ["contiguous", "indexed", "padded"])
def test_series_with_times_of_their_own_are_put_on_one_axis(tmp_path: Path, kind: str) -> None:
    ragged(kind).to_netcdf(tmp_path / "s.nc")
    ds = read_locations_source(source(tmp_path / "s.nc"), read_variables())
    expected = 24 * stations()["P"].values.T
    expected[2, 0] = expected[[0, 2, 3], 1] = np.nan
    np.testing.assert_array_equal(ds["precipitation"].values, expected)
    np.testing.assert_array_equal(ds["time"], stations()["day"])
    np.testing.assert_allclose(ds["sand"], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(ds["cell"], [70, 5, 12])


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (
            "contiguous",
            {"row_size": [3, 1, 3]},
            "counts that sum to 7; expected the 8",
        ),
        ("indexed", {"number_of": [0, 1, 2, 3, 0, 0, 1, 2]}, "indices from 0 to 3"),
        ("indexed", {"number_of": [2] * 8}, "times with two observations of a station"),
    ],
)
def test_ragged_arrays_that_do_not_fit_are_refused(
    tmp_path: Path, kind: str, change: dict[str, list[int]], message: str
) -> None:
    ds = ragged(kind)
    for name, values in change.items():
        ds[name] = ds[name].copy(data=values)
    ds.to_netcdf(tmp_path / "s.nc")
    with pytest.raises(InputError, match=message):
        read_locations_source(source(tmp_path / "s.nc"), read_variables())
