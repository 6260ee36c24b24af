"""Drafts of catalog entries: what files state, what their values show, and what is left open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml
from rasterio.transform import from_origin

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.drafts.draft import draft_sources
from pipeline.drafts.text import Draft
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source
from tests.products import ecmwf
from tests.tutorial_data import DAYS, Truth

LAT, LON = np.array([45.1, 45.0, 44.9]), np.array([7.0, 7.1, 7.2])


def drafted(*paths: Path, **options: object) -> dict[str, Draft]:
    return {one.name: one for one in draft_sources(paths, **options)}  # type: ignore[arg-type]


def values(draft: Draft) -> xr.Dataset:
    assert draft.source is not None
    return canonicalise(open_source(draft.source), draft.source, read_variables())


def write_hours(path: Path, name: str, values: np.ndarray, **attrs: str) -> Path:
    """Write hours from 2001-01-01 on; `values` [T] are those of every cell."""
    times = pd.date_range("2001-01-01", periods=values.size, freq="h")
    field = np.asarray(values)[:, None, None] * np.ones((1, 3, 3))
    da = xr.DataArray(field, {"time": times, "lat": LAT, "lon": LON}, ("time", "lat", "lon"), name,
                      attrs)  # fmt: skip
    da["lat"].attrs["units"], da["lon"].attrs["units"] = "degrees_north", "degrees_east"
    da.to_netcdf(path)
    return path


def write_map(path: Path, values: np.ndarray, crs: str | None = "EPSG:4326") -> Path:
    rows, cols = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=cols, count=1, dtype=values.dtype, crs=crs,
        transform=from_origin(7, 45, 0.1, 0.1),
    ) as file:  # fmt: skip
        file.write(values, 1)
    return path


def test_files_of_a_hydrologist_have_the_values_of_the_generator(
    tutorial: tuple[Path, Truth],
) -> None:
    folder, truth = tutorial
    found = drafted(folder, data=folder)
    assert {*found} == {"era5_land", "era5_land_accumulated", "dem", "clay_0_5cm_mean",
                        "landcover", "stations"}  # fmt: skip
    rain = found["era5_land_accumulated"]
    assert rain.entry["uri"] == "${data}/era5_land/era5_land_2019_*.nc"
    assert rain.entry["time"] == {"step": "hourly", "daily": True, "stamp": "end", "resets": 0}
    days = slice(str(DAYS[0])[:10], str(DAYS[-1])[:10])
    daily = values(rain)["precipitation"].sel(time=days)
    np.testing.assert_allclose(daily.values, truth.precipitation, atol=2e-3)
    heat = values(found["era5_land"])["air_temperature"].sel(time=days)
    np.testing.assert_allclose(heat.values, truth.air_temperature, atol=2e-3)
    assert found["landcover"].entry["classes"] == [10, 30, 40, 50, 80]
    assert found["landcover"].entry["crs"] == "EPSG:3035"
    clay = found["clay_0_5cm_mean"]
    assert clay.entry["variables"]["clay"]["units"] == "g/kg"
    assert any("clay" in text for text in clay.to_decide)
    assert found["stations"].entry["cell"] == "station_id"
    assert not rain.to_decide


def test_a_draft_is_an_entry_that_the_check_accepts(
    tutorial: tuple[Path, Truth], tmp_path: Path
) -> None:
    folder, _ = tutorial
    drafts = draft_sources([folder / "dem.tif", folder / "stations.csv"], data=folder)
    file = tmp_path / "catalog.yml"
    file.write_text("\n".join(map(str, drafts)))
    faults = Faults()
    for source in read_catalog(file, data=folder).sources.values():
        assert check_source(source, faults) is not None
    faults.raise_if_any()


def test_amounts_of_each_hour_are_added_up_and_not_taken_for_totals(tmp_path: Path) -> None:
    rain = np.tile([0.0, 1e-3, 4e-3, 2e-3, 0.0, 1e-3], 40)
    path = write_hours(tmp_path / "rain.nc", "tp", rain, units="m", GRIB_stepType="accum")
    entry = drafted(path)["rain"].entry
    assert entry["variables"]["precipitation"]["cell_method"] == "sum"
    assert entry["time"]["stamp"] == "end"


def test_totals_are_found_in_values_without_a_word_in_the_file(tmp_path: Path) -> None:
    # Radiation since the forecasts of 00 and 12 UTC.
    since = np.where(np.arange(24 * 9) % 12 == 0, 12, np.arange(24 * 9) % 12)
    path = write_hours(tmp_path / "sun.nc", "ssrd", 1e5 * since, units="J m-2")
    draft = drafted(path)["sun"]
    assert draft.entry["time"]["resets"] == [0, 12]
    assert float(values(draft)["shortwave_radiation"].isel(time=2).mean()) == pytest.approx(
        24e5 / 86400, rel=1e-4
    )


@pytest.mark.parametrize("kind", ["", "accum"])
def test_amounts_that_neither_fall_nor_grow_are_left_to_a_person(tmp_path: Path, kind: str) -> None:
    attrs = {"units": "mm", **({"GRIB_stepType": kind} if kind else {})}
    path = write_hours(tmp_path / "rain.nc", "tp", np.full(240, 0.1), **attrs)
    draft = drafted(path)["rain"]
    assert "cell_method" not in draft.entry["variables"]["precipitation"]
    assert any("cell_method: accumulated" in text for text in draft.to_decide)
    assert draft.source is not None
    faults = Faults()
    check_source(draft.source, faults)
    assert [fault.found for fault in faults.faults] == ["no cell_methods in the file"]


def test_units_that_values_do_not_show_are_left_to_a_person(tmp_path: Path) -> None:
    # 10 to 50 may be per cent or g/kg, also where 255 means missing without saying so.
    plain = np.linspace(10, 50, 400).reshape(20, 20).astype("u1")
    filled = plain.copy()
    filled[:2] = 255
    for number, field in enumerate((plain, filled)):
        path = write_map(tmp_path / f"clay_{number}.tif", field)
        (draft,) = drafted(path).values()
        assert "units" not in draft.entry["variables"]["clay"]
        assert any("% or g/kg" in text for text in draft.to_decide)


def test_a_map_without_a_crs_and_one_without_a_known_name_name_what_is_missing(
    tmp_path: Path,
) -> None:
    field = np.arange(400, dtype="f4").reshape(20, 20)
    one = write_map(tmp_path / "elevation.tif", field, crs=None)
    other = write_map(tmp_path / "thing.tif", field)
    found = drafted(one, other)
    assert any("crs" in text for text in found["elevation"].to_decide)
    assert found["thing"].entry["variables"] == {}
    assert any("band_1" in text for text in found["thing"].to_decide)


def test_layers_are_a_decision(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {"swvl1": (("time", "depth", "lat", "lon"), np.full((5, 2, 3, 3), 0.2),
                   {"units": "m3 m-3"})},
        {"time": pd.date_range("2001-01-01", periods=5), "depth": [5, 10], "lat": LAT, "lon": LON},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "soil.nc")
    draft = drafted(tmp_path / "soil.nc")["soil"]
    assert any("select: {depth" in text for text in draft.to_decide)


def test_files_in_the_layout_of_a_provider_are_read_as_the_packaged_product(
    tmp_path: Path,
) -> None:
    times = ecmwf.hours("2022-01-01", "2022-01-10")
    random = np.random.default_rng(1)
    rain = ecmwf.field(random.gamma(0.3, 1e-3, times.size))
    ecmwf.make_new(tmp_path / "era5_land_2022.nc", ecmwf.instants(times), times)
    of_day = np.nancumsum(rain.reshape(10, 24, 2, 3), axis=1).reshape(rain.shape)
    totals = np.concatenate([np.full((1, 2, 3), 1e-3), of_day[:-1]]) * ecmwf.SEA
    ecmwf.make_new(tmp_path / "totals.nc", {"tp": totals}, times)
    found = drafted(tmp_path)
    heat = values(found["era5_land_2022"])
    assert float(heat["air_temperature"].isel(time=1).mean()) == pytest.approx(6.0, abs=1e-3)
    assert float(heat["snow_amount"].isel(time=1).mean()) == pytest.approx(250.0)
    daily = values(found["totals"])["precipitation"].sel(time="2022-01-03")
    assert float(daily[0, 0]) == pytest.approx(1000 * rain[48:72, 0, 0].sum(), rel=1e-4)


def test_tables_with_units_in_brackets_and_without_places(tmp_path: Path) -> None:
    pd.DataFrame(
        {"site": ["a", "b"], "latitude": [45.0, 45.5], "longitude": [7.0, 7.5],
         "sm [%]": [20.0, 30.0], "remark": ["x", "y"]}
    ).to_csv(tmp_path / "sites.csv", index=False)  # fmt: skip
    pd.DataFrame({"date": ["2001-01-01"], "A1": [0.2], "A2": [0.3]}).to_csv(
        tmp_path / "wide.csv", index=False
    )
    found = drafted(tmp_path / "sites.csv", tmp_path / "wide.csv")
    assert found["sites"].entry["variables"] == {"soil_moisture": {"name": "sm [%]", "units": "%"}}
    assert float(values(found["sites"])["soil_moisture"][0]) == pytest.approx(0.2)
    assert any("wide: true" in text for text in found["wide"].to_decide)


def test_hours_of_stations_become_days_and_their_amounts_are_a_decision(tmp_path: Path) -> None:
    times = pd.date_range("2001-01-01", periods=72, freq="h")
    table = pd.DataFrame({"id": "a", "lat": 45.0, "lon": 7.0, "time": times,
                          "sm": np.arange(72) / 200, "rain [mm]": 1.0})  # fmt: skip
    table.to_csv(tmp_path / "hourly.csv", index=False)
    draft = drafted(tmp_path / "hourly.csv")["hourly"]
    assert draft.entry["time"] == {"step": "hourly", "daily": True}
    assert draft.entry["variables"]["soil_moisture"]["cell_method"] == "mean"
    assert "cell_method" not in draft.entry["variables"]["precipitation"]
    assert any("precipitation" in text and "cell_method" in text for text in draft.to_decide)
    table.drop(columns="rain [mm]").to_csv(tmp_path / "moist.csv", index=False)
    daily = values(drafted(tmp_path / "moist.csv")["moist"])["soil_moisture"]
    np.testing.assert_allclose(
        daily.values[:, 0], np.arange(72).reshape(3, 24).mean(1) / 200, rtol=1e-5
    )
    table.assign(time=times.strftime("%d/%m/%Y")).to_csv(tmp_path / "unclear.csv", index=False)
    assert any(
        "date_format" in text for text in drafted(tmp_path / "unclear.csv")["unclear"].to_decide
    )


def test_files_that_do_not_join_are_sources_of_their_own(tmp_path: Path) -> None:
    day = np.full(48, 280.0)
    write_hours(tmp_path / "a_model.nc", "tas", day, units="K", cell_methods="time: point")
    write_hours(tmp_path / "b_model.nc", "tas", day + 1, units="K")
    found = drafted(tmp_path)
    assert {*found} == {"a_model", "b_model"}


def test_extremes_of_days_are_variables_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "Tmax").mkdir()
    path = write_hours(
        tmp_path / "Tmax" / "2001.nc", "air_temperature", np.full(48, 12.0), units="degC"
    )
    (draft,) = drafted(path).values()
    assert [*draft.entry["variables"]] == ["air_temperature_max"]
    path = write_hours(tmp_path / "rmin_2001.nc", "relative_humidity", np.full(48, 30.0), units="%")
    (draft,) = drafted(path).values()
    assert [*draft.entry["variables"]] == ["relative_humidity_min"]


@pytest.mark.parametrize(
    ("names", "found"),
    [(["absent.nc"], "no such file"), (["notes.md"], "no file that a driver reads"),
     (["cut.nc"], "cut.nc")],
)  # fmt: skip
def test_addresses_without_data_are_refused(tmp_path: Path, names: list[str], found: str) -> None:
    (tmp_path / "notes.md").write_text("# Notes\nNothing here.\n")
    whole = write_hours(tmp_path / "whole.nc", "tas", np.full(48, 280.0), units="K")
    (tmp_path / "cut.nc").write_bytes(whole.read_bytes()[:600])
    with pytest.raises(InputError, match=found):
        draft_sources([tmp_path / name for name in names])


def test_one_name_is_for_one_source(tutorial: tuple[Path, Truth]) -> None:
    folder, _ = tutorial
    with pytest.raises(InputError, match="for 2 sources"):
        draft_sources([folder / "dem.tif", folder / "stations.csv"], name="mine")
    assert {*drafted(folder / "dem.tif", name="heights")} == {"heights"}


def test_notes_stay_comments_of_yaml_however_long_they_are() -> None:
    notes = {"": ["decide: " + "a # very: long {text} " * 30], "variables.rain": ["found: x"]}
    draft = Draft(
        "my: source", {"uri": "${data}/a b.nc", "variables": {"rain": {"name": "r: 1"}}}, notes
    )
    read = yaml.safe_load(str(draft))
    assert read == {
        "my: source": {"uri": "${data}/a b.nc", "variables": {"rain": {"name": "r: 1"}}}
    }
    assert max(map(len, str(draft).splitlines())) <= 100
