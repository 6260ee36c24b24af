"""Running totals from file to canonical days: resets found, declared, wrong or not recognised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pipeline
from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

GRID = TargetGrid.from_bounds("six", "EPSG:4326", (0, 0, 3, 2), 1.0)
XY = {"lat": [1.5, 0.5], "lon": [0.5, 1.5, 2.5]}
HOURS = 24 * 5


def amounts() -> np.ndarray:
    """Return amounts [hour, lat, lon] in m; the last cell is sea."""
    rng = np.random.default_rng(11)
    found = rng.gamma(0.4, 0.001, (HOURS, 2, 3))
    found[:, 1, 2] = np.nan
    return found


def totals(every: int | None = 24) -> np.ndarray:
    """Return totals that start again every so many hours, at the end of each hour."""
    if every is None:
        return np.cumsum(amounts(), 0)
    return np.concatenate(
        [np.cumsum(part, 0) for part in np.split(amounts(), HOURS // every)]
    )  # fmt: skip


def written(path: Path, values: np.ndarray, times: pd.DatetimeIndex, **attrs: Any) -> Path:
    ds = xr.Dataset({"tp": (("time", "lat", "lon"), values.astype("f4"), {"units": "m", **attrs})},
                    {"time": times, **XY})  # fmt: skip
    ds.to_netcdf(path)
    return path


ENDS = pd.date_range("2001-06-01T01", periods=HOURS, freq="h")


def entry(path: Path | str, variable: dict[str, Any] | None = None, **time: Any) -> Source:
    variable = {"name": "tp", "cell_method": "accumulated", **(variable or {})}
    return Source.model_validate(
        {"name": "rain", "uri": str(path), "driver": "netcdf", "time": time,
         "variables": {"precipitation": variable}}
    )  # fmt: skip


def canonical(source: Source) -> xr.DataArray:
    return open_source(source, on=GRID)["precipitation"].load()


def of_days(first: int = 0, last: int = 5) -> np.ndarray:
    """Return the right totals of whole days in mm/day."""
    return 1000 * amounts().reshape(5, 24, 2, 3).sum(1)[first:last]


@pytest.mark.parametrize("every", [24, 12, 6])
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("step", [1, 3])
def test_days_of_totals_since_a_reset(
    tmp_path: Path, every: int, declared: bool, step: int
) -> None:  # fmt: skip
    at = slice(step - 1, None, step)
    path = written(tmp_path / "a.nc", totals(every)[at], ENDS[at])
    time = {"resets": list(range(0, 24, every))} if declared else {}
    found = canonical(entry(path, daily=True, **time))
    assert str(found["time"].values[0])[:10] == "2001-06-01"
    np.testing.assert_allclose(found, of_days(), rtol=1e-5)


def test_days_of_totals_that_never_start_again(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(None), ENDS)
    for time in ({}, {"resets": "never"}):
        found = canonical(entry(path, daily=True, **time))
        # The total at the beginning of the first day is not in the file.
        assert str(found["time"].values[0])[:10] == "2001-06-02"
        np.testing.assert_allclose(found, of_days(1), rtol=1e-4)


def test_days_that_begin_at_another_hour(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(24), ENDS)
    found = canonical(entry(path, daily=True, day_starts=6))
    whole = 1000 * amounts()[6:-18].reshape(4, 24, 2, 3).sum(1)
    np.testing.assert_allclose(found, whole, rtol=1e-5)


def test_amounts_of_steps_are_per_day(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(24), ENDS)
    found = canonical(entry(path))
    assert found["time"].values[0] == np.datetime64("2001-06-01")
    np.testing.assert_allclose(found, 24 * 1000 * amounts(), rtol=1e-3, atol=1e-3)


def test_only_the_totals_of_whole_days(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(24)[23::24], ENDS[23::24], GRIB_stepType="accum")
    for time in ({}, {"resets": 0}, {"resets": 0, "stamp": "end"}):
        found = canonical(entry(path, **time))
        assert str(found["time"].values[0])[:10] == "2001-06-01"
        np.testing.assert_allclose(found, of_days(), rtol=1e-5)


def test_gaps_are_missing_or_shown_by_later_totals(tmp_path: Path) -> None:
    kept = np.delete(np.arange(HOURS), [30, 31, 71])  # two hours within a day, the end of another
    path = written(tmp_path / "a.nc", totals(24)[kept], ENDS[kept])
    found = canonical(entry(path, daily=True, gaps="missing", min_share=0.9, resets=0))
    right = of_days()
    np.testing.assert_allclose(found[[0, 1, 3, 4]], right[[0, 1, 3, 4]], rtol=1e-5)
    share = 1000 * amounts()[48:71].sum(0) / 23 * 24
    np.testing.assert_allclose(found[2], share, rtol=1e-5)
    strict = canonical(entry(path, daily=True, gaps="missing", resets=0))
    assert np.isnan(strict[2]).all()
    np.testing.assert_allclose(strict[[0, 1, 3, 4]], right[[0, 1, 3, 4]], rtol=1e-5)


def test_files_of_a_series_and_other_variables_beside(tmp_path: Path) -> None:
    starts = ENDS - pd.Timedelta(1, "h")
    shifted = np.concatenate([np.full((1, 2, 3), 0.0035), totals(24)[:-1]])
    for year, part in ((2001, slice(0, 50)), (2002, slice(50, None))):
        ds = xr.Dataset(
            {"tp": (("time", "lat", "lon"), shifted[part], {"units": "m"}),
             "t2m": (("time", "lat", "lon"), np.ones((HOURS, 2, 3))[part], {"units": "degC"})},
            {"time": starts[part], **XY},
        )  # fmt: skip
        ds.to_netcdf(tmp_path / f"{year}.nc")
    source = entry(tmp_path / "{year}.nc", daily=True, years=[2001, 2002], resets=0)
    warm = {"name": "t2m", "cell_method": "mean"}
    both = source.model_validate(
        {**source.model_dump(), "variables": {**source.model_dump()["variables"],
                                              "air_temperature": warm}}
    )  # fmt: skip
    ds = open_source(both, on=GRID)
    # The last day of temperatures lacks the total at its end, the hour 00 of the next day.
    assert ds["time"].size == 4
    np.testing.assert_allclose(ds["precipitation"], of_days(0, 4), rtol=1e-5)
    alone = canonical(source)
    np.testing.assert_allclose(alone, of_days(0, 4), rtol=1e-5)
    with pytest.raises(InputError, match="the time at the end of the last step"):
        canonical(entry(tmp_path / "{year}.nc", daily=True, years=[2001, 2002], resets=0,
                        period=["2001-06-01", "2001-06-05"]))  # fmt: skip


def test_parts_of_the_whole_are_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    path = written(tmp_path / "a.nc", totals(12), ENDS)
    source = entry(path, daily=True)
    whole = canonical(source).values
    monkeypatch.setattr("pipeline.sources.arrays.aggregate.BLOCK_BYTES", 1)
    ds = canonicalise(open_source(source), source, read_variables(), load_bytes=0)
    lazy = ds["precipitation"]
    assert not lazy.variable._in_memory
    for time in (slice(1, 3), slice(None, None, -1), slice(4, 0, -2), 3):
        np.testing.assert_array_equal(lazy[time].values, whole[time])
    np.testing.assert_array_equal(lazy[2:4, 1, 1:].values, whole[2:4, 1, 1:])


def test_a_restart_that_the_sample_does_not_show_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = totals(None)
    values[70:] -= values[69:70]
    path = written(tmp_path / "a.nc", values, ENDS)
    with pytest.raises(InputError, match="values from -"):
        canonical(entry(path, daily=True, resets="never"))
    monkeypatch.setattr("pipeline.sources.arrays.resets.SPAN_STEPS", 0)
    monkeypatch.setattr("pipeline.sources.arrays.resets.SPAN_DAYS", 2)
    monkeypatch.setattr("pipeline.sources.arrays.resets.SPANS", 1)
    found = canonical(entry(path, daily=True))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2, 3]], of_days(1)[[0, 2, 3]], rtol=1e-4)


def test_resets_that_the_values_do_not_show_must_be_named(tmp_path: Path) -> None:
    dry = np.zeros((HOURS, 2, 3))
    with pytest.raises(InputError, match=r"Set `time: \{resets: 0\}`"):
        canonical(entry(written(tmp_path / "a.nc", dry, ENDS), daily=True))
    with pytest.raises(InputError, match="running totals are up to their time"):
        canonical(entry(tmp_path / "a.nc", daily=True, stamp="start", resets=0))


def faults(source: Source) -> str:
    found = Faults()
    check_source(source, found)
    return "\n".join(map(str, found.faults))


@pytest.mark.parametrize("method", ["sum", "mean", "minimum"])
def test_check_recognises_running_totals(tmp_path: Path, method: str) -> None:
    path = written(tmp_path / "a.nc", totals(24), ENDS, GRIB_stepType="accum")
    variable = {"cell_method": method, "units": "m" if method == "sum" else "m/day"}
    source = entry(path, variable, daily=True, stamp="end")
    text = faults(source.model_copy(update={"wrong_in_file": ("units",)}))
    assert "never fall but at 00:00" in text
    assert f"`cell_method: {method}`" in text
    assert "GRIB_stepType accum" in text
    assert "`cell_method: accumulated`" in text


def test_check_leaves_amounts_of_hours_and_right_maxima_alone(tmp_path: Path) -> None:
    hourly = written(tmp_path / "a.nc", amounts(), ENDS, GRIB_stepType="accum")
    assert faults(entry(hourly, {"cell_method": "sum"}, daily=True, stamp="end")) == ""
    path = written(tmp_path / "b.nc", totals(24), ENDS)
    variable = {"cell_method": "maximum", "units": "m/day"}
    right = entry(path, variable, daily=True, stamp="end").model_copy(
        update={"wrong_in_file": ("units",)}
    )
    assert faults(right) == ""
    np.testing.assert_allclose(canonical(right), of_days(), rtol=1e-5)
    late = entry(path, variable, daily=True).model_copy(update={"wrong_in_file": ("units",)})
    assert "accumulated" in faults(late)


def test_check_compares_declared_resets_with_the_values(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(12), ENDS)
    assert "start again at 00:00 and 12:00" in faults(entry(path, daily=True, resets=0))
    assert faults(entry(path, daily=True, resets=[0, 12])) == ""
    assert faults(entry(path, daily=True)) == ""


def test_settings_of_totals_need_totals() -> None:
    for variable, time in (({"cell_method": "sum"}, {"resets": 0}),
                           ({"cell_method": "sum", "bucket": 100}, {})):  # fmt: skip
        with pytest.raises(ValueError, match="accumulated"):
            entry("a.nc", variable, **time)
    with pytest.raises(ValueError, match="hours"):
        entry("a.nc", resets=24)


def test_rates_are_no_running_totals_whatever_their_values(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", totals(24), ENDS, units="m/day")
    assert faults(entry(path, {"cell_method": "mean"}, daily=True)) == ""


@pytest.mark.parametrize("resets", [0, "never"])
def test_amounts_of_hours_under_accumulated_are_refused(tmp_path: Path, resets: Any) -> None:
    path = written(tmp_path / "a.nc", amounts(), ENDS)
    source = entry(path, daily=True, resets=resets)
    faults = Faults()
    check_source(source, faults)
    with pytest.raises(InputError, match=r"values that fall at .*cell_method: sum"):
        faults.raise_if_any()
    with pytest.raises(InputError, match="values that fall at"):
        pipeline.build_cube(tmp_path / "cube.zarr", GRID, [source])


def test_totals_that_start_again_at_a_size_need_the_bucket(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", (totals(None) * 1000) % 20.0 / 1000, ENDS)
    faults = Faults()
    check_source(entry(path, daily=True, resets="never"), faults)
    with pytest.raises(InputError, match="`bucket` of the variable"):
        faults.raise_if_any()
    found = canonical(entry(path, {"bucket": 0.02}, daily=True))
    np.testing.assert_allclose(found, of_days(1), rtol=1e-4)


def test_totals_that_can_fall_and_errors_of_packing_are_accepted(tmp_path: Path) -> None:
    values = totals(24)
    values[5::7] -= 2e-4 * np.nanmax(values)
    path = written(tmp_path / "a.nc", np.maximum(values, 0), ENDS)
    faults = Faults()
    check_source(entry(path, {"clip": 0.5}, daily=True, resets=0), faults)
    assert not faults.faults
    dew = {"define": {"long_name": "evaporation", "units": "mm/day", "valid_range": [-500, 500]}}
    path = written(tmp_path / "b.nc", np.cumsum(amounts() - 0.002, 0), ENDS)
    check_source(entry(path, dew, daily=True, resets="never"), faults)
    assert not faults.faults


def test_radiation_that_is_zero_until_the_sun_rises_shows_its_reset(tmp_path: Path) -> None:
    hours = np.arange(HOURS) % 24
    power = np.clip(np.sin((hours - 6) / 12 * np.pi), 0, None)[:, None, None]
    joule = power * np.array([[100.0, 200, 300], [400, 500, 600]]) * 3600
    since_midnight = np.concatenate([np.cumsum(day, 0) for day in np.split(joule, 5)])
    path = written(tmp_path / "a.nc", since_midnight, ENDS, units="J m-2")
    source = Source.model_validate(
        {"name": "sun", "uri": str(path), "driver": "netcdf", "time": {"daily": True},
         "variables": {"shortwave_radiation": {"name": "tp", "cell_method": "accumulated"}}}
    )  # fmt: skip
    found = open_source(source, on=GRID)["shortwave_radiation"]
    np.testing.assert_allclose(found, joule.reshape(5, 24, 2, 3).sum(1) / 86400, rtol=1e-5)


def test_days_at_the_ends_that_lack_hours_are_known_by_their_totals(tmp_path: Path) -> None:
    kept = ~np.isin(np.arange(HOURS), [4, 5, 40, 100])
    path = written(tmp_path / "a.nc", totals()[kept], ENDS[kept])
    found = canonical(entry(path, daily=True, gaps="missing"))
    np.testing.assert_allclose(found, of_days(), rtol=1e-5)
    kept[-1] = False  # the total of the last day
    path = written(tmp_path / "b.nc", totals()[kept], ENDS[kept])
    found = canonical(entry(path, daily=True, gaps="missing"))
    np.testing.assert_allclose(found, of_days(0, 4), rtol=1e-5)
