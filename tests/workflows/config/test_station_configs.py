"""The catalogs of USCRN stations and soil profiles on small files in the layout of theirs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.sources.locations import read_locations_source
from workflows.config.load import load_config
from workflows.run import Run

DAYS = np.arange("2020-01-01", "2020-01-06", dtype="datetime64[D]").astype("datetime64[ns]")


def run_of(config: str, data: Path) -> Run:
    return Run(load_config(config, [f"roots.data={data}"]))


def at(cells: list[int]) -> dict[str, object]:
    n = len(cells)
    return {"cell": cells, "lon": ("cell", -90.0 + np.arange(n)), "lat": ("cell", np.full(n, 40.0))}


def test_stations_have_their_depths_and_no_radiation_of_a_failed_sensor(tmp_path: Path) -> None:
    (tmp_path / "uscrn").mkdir()
    shape = (3, DAYS.size)
    names = ("tmax", "tmin", "tavg", "precipitation", "solar", "rh",
             *(f"soil_moisture_{depth}cm" for depth in (5, 10, 20, 50, 100)))  # fmt: skip
    fields = {name: np.full(shape, 10.0, np.float32) for name in names}
    fields["solar"][0] = [8.64, 0.0, 1.1, 2.0, np.nan]
    fields |= {name: np.full(shape, 0.25, np.float32) for name in names if "moisture" in name}
    fields["soil_moisture_50cm"][:] = [[0.3], [np.nan], [0.4]]
    units = dict.fromkeys(names, "m3 m-3") | dict.fromkeys(("tmax", "tmin", "tavg"), "degC")
    units |= {"precipitation": "mm d-1", "solar": "MJ m-2 d-1", "rh": "percent"}
    ds = xr.Dataset(
        {name: (("cell", "time"), values, {"units": units[name]})
         for name, values in fields.items()},
        {"time": DAYS, **at([3047, 3728, 63855])},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "uscrn" / "uscrn_2020.nc")
    run = run_of("uscrn", tmp_path)
    table = read_locations_source(run.catalog["uscrn_2020"], run.variables)
    assert table["cell"].values.tolist() == [3047, 3728, 63855]
    radiation = table["shortwave_radiation"].sel(cell=3047).values
    np.testing.assert_allclose(radiation, [100.0, np.nan, np.nan, 23.15, np.nan], rtol=1e-3)
    deep = table["soil_moisture_50cm"].isel(time=0).values
    np.testing.assert_allclose(deep, [0.3, np.nan, 0.4], rtol=1e-6)
    assert set(run.config.inputs.targets) <= set(table.data_vars)
    assert float(table["air_temperature"].min()) == 10.0


def test_profiles_have_fractions_and_the_weather_has_nothing_of_the_soil(tmp_path: Path) -> None:
    for name in ("soil_profiles", "conus_smap"):
        (tmp_path / name).mkdir()
    parts = {"sand_0_30": [20.0, np.nan], "silt_0_30": [50.0, np.nan], "clay_0_30": [30.0, np.nan]}
    layers = {name.removesuffix("_0_30"): (("cell", "layer"), np.full((2, 6), 33.0))
              for name in parts}  # fmt: skip
    xr.Dataset(
        {**{name: (("cell",), values) for name, values in parts.items()}, **layers,
         "profile_id": ("cell", ["a", "b"]), "source": ("cell", ["NCSS", "NCSS"]),
         "layer_top": ("layer", np.arange(6.0))}, at([14006, 14007]),
    ).to_netcdf(tmp_path / "soil_profiles" / "ncss_texture.nc")  # fmt: skip
    run = run_of("texture_profiles", tmp_path)
    table = read_locations_source(run.catalog["ncss_profiles"], run.variables)
    found = [table[name].values[0] for name in run.config.inputs.targets]
    assert found == pytest.approx([0.2, 0.5, 0.3])
    assert np.isnan(table["clay"].values[1])
    weather = run.catalog["conus_weather"].variables
    assert not {"sand", "silt", "clay", "bulk_density", "water_capacity"} & {*weather}
    assert {*run.config.inputs.forcings, *run.config.inputs.statics} <= {*weather}


def test_basins_have_no_logarithm_of_an_input(tmp_path: Path) -> None:
    run = run_of("camels_caravan", tmp_path)
    inputs = run.config.inputs
    wanted = (*inputs.forcings, *inputs.static_patterns)
    usual = {name: one.transform for name, one in run.variables.items()
             if any(fnmatchcase(name, pattern) for pattern in wanted)}  # fmt: skip
    of_inputs = {name for name, transform in usual.items() if transform != "none"}
    assert len(of_inputs) == 5
    assert inputs.transforms == dict.fromkeys(of_inputs, "none")
