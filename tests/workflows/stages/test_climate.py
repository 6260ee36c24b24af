"""Climate statics in a run: derived by the regrid stage, static attributes for all that follow."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.build import build_cube
from pipeline.climate.evapotranspiration import potential_evapotranspiration
from pipeline.climate.statics import climate_statics
from pipeline.core.errors import InputError
from pipeline.cube.cells import read_cells
from pipeline.cube.open import open_cube
from tests.conftest import ROOT
from tests.cubes import contents
from workflows.config.load import load_config
from workflows.inputs.cells import static_names
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages import check, regrid, stats

FIXTURES = ROOT / "tests" / "golden" / "v0_2"
TIME = pd.date_range("2000-07-01", "2002-06-30").values
CLIMATE = ("inputs.climate_statics=true", "folds.train_period=[2000-10-01, 2001-09-30]",
           "folds.validation_period=[2001-10-01, 2002-01-31]",
           "folds.test_period=[2002-02-10, 2002-06-30]")  # fmt: skip
LAST = np.datetime64("2001-09-30")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two years of synthetic sources, a catalog, a grid and a config."""
    for name in ("catalog.yml", "target_grids.yml", "config.yml"):
        shutil.copy(FIXTURES / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEFALAND_DATA", "sources")
    monkeypatch.setenv("STEFALAND_RUNS", ".")
    shutil.copytree(FIXTURES / "sources", tmp_path / "sources")
    write_sources(tmp_path)
    return tmp_path


def write_sources(home: Path, later: float = 0.0) -> None:
    """Sources of 8 by 6 cells; `later` is added to all forcings after the training period."""
    random, folder = np.random.default_rng(4), home / "sources"
    old = xr.open_dataset(FIXTURES / "sources" / "forcings.nc")
    coords = {"time": TIME, "lat": old["lat"], "lon": old["lon"]}
    shape = (TIME.size, old.sizes["lat"], old.sizes["lon"])
    turn = 2 * np.pi * pd.DatetimeIndex(TIME).day_of_year.to_numpy()[:, None, None] / 365.25
    fields = {"rain": random.gamma(0.3, 8, shape) * (1.5 + np.sin(turn)),
              "heat": 8 - 12 * np.cos(turn) + random.normal(0, 3, shape)}  # fmt: skip
    after = (TIME > LAST)[:, None, None] * later
    ds = xr.Dataset({
        name: (("time", "lat", "lon"), (values + after).astype(np.float32))
        for name, values in fields.items()
    }, coords)  # fmt: skip
    ds["rain"].attrs["units"], ds["heat"].attrs["units"] = "mm/day", "degC"
    wet = xr.open_dataset(FIXTURES / "sources" / "soil_moisture.nc")
    target = wet.isel(time=np.arange(TIME.size) % wet.sizes["time"]).assign_coords(time=TIME)
    for name, one in (("forcings", ds), ("soil_moisture", target)):
        (folder / f"{name}.nc").unlink()
        one.drop_encoding().to_netcdf(folder / f"{name}.nc")


def climate_of(path: Path) -> xr.Dataset:
    ds = open_cube(path)
    return ds[[name for name in ds.data_vars if str(name).startswith("climate_")]].load()


def run_of(*overrides: str) -> Run:
    return Run(load_config("config.yml", [*CLIMATE, *overrides]))


def test_they_are_statics_of_the_training_period_alone(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of()
    check.main(run)
    regrid.main(run)
    assert "land: 9 climate statics from 2000-10-01 to 2001-09-30" in capsys.readouterr().err
    cube = open_cube(run.cube("land"))
    assert run.climate is not None
    table = read_cells(cube, ["precipitation", "air_temperature"]).load()
    wanted = climate_statics(table, run.climate)
    found = read_cells(cube, [str(name) for name in wanted.data_vars])
    xr.testing.assert_equal(found.drop_vars("time"), wanted.drop_vars("time", errors="ignore"))
    assert cube["climate_snow_fraction"].attrs["period"] == "2000-10-01/2001-09-30"
    names = static_names(cube, run.config.inputs)
    assert names[0] == "elevation"
    assert len(names) == 10
    stats.main(run)
    scalings = FoldFiles(run.folder).normaliser("time").scalings
    assert {*wanted.data_vars} < {*scalings}
    # The same training period, other days after it: the same bytes.
    write_sources(home, later=9.0)
    other = run_of("name=other", "inputs.fill_distance=1")
    regrid.main(other)
    for name, da in climate_of(other.cube("land")).items():
        assert da.values.tobytes() == cube[name].values.tobytes()


def test_evapotranspiration_is_a_forcing_where_no_source_has_it(home: Path) -> None:
    """By tiles and blocks of times, after gaps are filled and without a run: the same values."""
    pet = "inputs.potential_evapotranspiration=oudin"
    forcings = "inputs.forcings=[precipitation, air_temperature, potential_evapotranspiration]"
    run = run_of(pet, forcings, "cubes.land.time_shard=400")
    check.main(run)
    regrid.main(run)
    cube = open_cube(run.cube("land"))
    latitude = read_cells(cube, []).lat.values.reshape(cube.sizes["y"], -1)
    wanted = potential_evapotranspiration(cube, "oudin", latitude)
    found = cube["potential_evapotranspiration"]
    assert np.array_equal(found.values, wanted.values)
    assert found.attrs["long_name"] == "potential evapotranspiration (Oudin et al. 2005)"
    training = cube[["precipitation", found.name]].sel(time=slice("2000-10-01", LAST)).load()
    means = training.astype(float).mean("time")
    aridity = means[found.name] / means["precipitation"]
    assert np.allclose(climate_of(run.cube("land"))["climate_aridity"], aridity, rtol=1e-6)
    filled = run_of(pet, forcings, "name=filled", "inputs.fill_distance=1")
    regrid.main(filled)
    assert np.array_equal(open_cube(filled.cube("land"))[found.name].values, found.values)
    build_cube("own.zarr", run.grid("land"), run.catalog.select(*run.config.inputs.sources),
               tile=(6, 4), derived=run.derived)  # fmt: skip
    xr.testing.assert_equal(climate_of(Path("own.zarr")), climate_of(run.cube("land")))


def test_a_tile_made_again_has_the_same_bytes(home: Path) -> None:
    run = run_of("inputs.climate_statics=[climate_snow_fraction]", "cubes.land.time_shard=400")
    assert regrid.main(run) == {"tiles": {"land": 2}}
    assert [*climate_of(run.cube("land"))] == ["climate_snow_fraction"]
    before = contents(run.cube("land"))
    for shard in (run.cube("land") / "climate_snow_fraction" / "c").rglob("0"):
        shard.unlink(missing_ok=True) if shard.is_file() else None
    regrid.main(run)
    assert contents(run.cube("land")) == before


def test_sites_have_them_too_and_cells_between_sites_their_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(5)
    rain = random.gamma(0.3, 8, (TIME.size, 3)).astype(np.float32)
    heat = random.normal(0, 9, (TIME.size, 3)).astype(np.float32)
    sites = xr.Dataset(
        {"precipitation": (("time", "cell"), rain), "air_temperature": (("time", "cell"), heat),
         "soil_moisture": (("time", "cell"), rain / 1e3), "elevation": (("cell",), heat[0])},
        {"time": TIME, "cell": [1, 2, 3], "lat": ("cell", [38.0, 40.0, 42.0]),
         "lon": ("cell", [-105.0, -104.0, -103.0])},
    )  # fmt: skip
    monkeypatch.setattr(regrid, "read_locations_source", lambda source, variables: sites)
    run = run_of(
        "cubes={land: {locations: precipitation}, map: {grid: small, tile: [6, 4], points_from: "
        "land, max_distance_km: 900}}", "predict.cubes=[map]", "publish.products=[]", "places=[]",
    )  # fmt: skip
    regrid.main(run)
    assert run.climate is not None
    wanted = climate_statics(sites, run.climate)
    xr.testing.assert_equal(climate_of(run.cube("land")).drop_vars("time", errors="ignore"),
                            wanted.drop_vars("time", errors="ignore"))  # fmt: skip
    grid = open_cube(run.cube("map"))
    own = climate_statics(grid, run.climate)
    name = "climate_high_precipitation_frequency"
    assert np.array_equal(grid[name].values, own[name].values)
    assert f"{name}_coverage" not in grid
    assert static_names(grid, run.config.inputs) == static_names(
        open_cube(run.cube("land")), run.config.inputs
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("inputs.climate_statics=[climate_aridity]",),
         "sources: climate_aridity: found forcings air_temperature, precipitation; expected "
         "precipitation and potential_evapotranspiration or reference_evapotranspiration"),
        (("inputs.climate_statics=[climate_snow]",), "no such signature"),
        (("inputs.potential_evapotranspiration=fao56",),
         "(?s)fao56, sources: found no highest air temp.*no wind speed.*no vapour pressure"),
        (("inputs.climate_statics=false", "inputs.statics=[climate_snow_fraction]"),
         "which no source of the run has"),
    ],
)  # fmt: skip
def test_the_check_names_what_no_source_allows(
    home: Path, overrides: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check.main(run_of(*overrides))
