"""Two sources of one variable in a run: refused before compute, or merged in a declared order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.cube.open import open_cube
from pipeline.sources.distinct import check_distinct
from tests.workflows.tiny import write_tiny
from workflows.commands.data.catalog import check_sources, listed_sources, source_document
from workflows.commands.plan import plan_run
from workflows.config.load import load_config
from workflows.fingerprints import stage_fingerprint
from workflows.run import Run
from workflows.stages import check, regrid

MORE = """
gauges:
  uri: ${data}/gauges.nc
  driver: netcdf
  time: {kind: months}
  variables: {precipitation: {name: rain, units: mm/day}}
best: {merge: [gauges, rain]}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The tiny run, with gauges that have 99 mm/day over the western half of the world."""
    path = write_tiny(tmp_path)
    rain = xr.open_dataarray(tmp_path / "rain.nc").load()
    rain.isel(lon=slice(0, 18)).copy(data=np.full((12, 16, 18), 99.0, "f4")).to_netcdf(
        tmp_path / "gauges.nc"
    )
    (tmp_path / "catalog.yml").write_text((tmp_path / "catalog.yml").read_text() + MORE)
    return path


def run_with(config: Path, *sources: str) -> Run:
    return Run(load_config(config, [f"inputs.sources=[{', '.join(sources)}, moisture, height]"]))


def test_check_plan_and_regrid_refuse_two_sources_of_one_variable(config: Path) -> None:
    run = run_with(config, "rain", "gauges")
    message = r'source "gauges": found precipitation, which rain has too'
    for command in (check.main, regrid.main, lambda run: plan_run(run, "check", "regrid")):
        with pytest.raises(InputError, match=message):
            command(run)
    assert not run.cube("globe").exists()


def test_an_entry_under_inputs_may_be_made_of_others(config: Path) -> None:
    run = run_with(config, "best")
    check.main(run)
    (cost,) = plan_run(run, "check", "regrid").cubes
    sizes = [(config.parent / f"{n}.nc").stat().st_size for n in ("rain", "moisture", "height")]
    assert cost.bytes_read > sum(sizes)
    before = stage_fingerprint(run, "regrid")
    regrid.main(run)
    cube = open_cube(run.cube("globe"))
    assert (cube["precipitation"].values[..., :18] == 99).all()
    assert (cube["precipitation"].values[..., 18:] < 8).all()
    merged = cube.attrs["sources"]["best"]["merge"]
    assert [part["uri"].rpartition("/")[2] for part in merged] == ["gauges.nc", "rain.nc"]
    rain = xr.open_dataarray(config.parent / "rain.nc").load()
    (config.parent / "rain.nc").unlink()
    rain.to_netcdf(config.parent / "rain.nc")
    assert stage_fingerprint(run_with(config, "best"), "regrid") != before


def test_the_catalog_lists_checks_and_shows_it(config: Path) -> None:
    names, data = [str(config.parent / "catalog.yml")], config.parent
    infos = check_sources(names, data)
    assert len(infos) == 5
    best = infos["best"]
    assert best is not None
    (values,) = best.values
    assert (values.variable, values.greatest, values.missing) == ("precipitation", 99, 0)
    (listed,) = (one for one in listed_sources(names, data) if one["name"] == "best")
    assert listed["driver"] == "merge"
    assert listed["variables"] == ["precipitation"]
    document = source_document(run_with(config, "best").catalog["best"], None)
    assert [part["name"] for part in document["entry"]["merge"]] == ["gauges", "rain"]


def test_a_target_of_sites_from_a_source_too_is_refused(config: Path) -> None:
    run = Run(load_config(config, ["inputs.target_sites=gauges"]))
    assert run.config.inputs.of_sites == {"soil_moisture": "gauges"}
    faults = Faults()
    sources = run.catalog.select("rain", "moisture")
    check_distinct(sources, faults, None, run.config.inputs.of_sites)
    (fault,) = faults.faults
    assert str(fault).startswith('source "moisture": found soil_moisture, which gauges has too')
    assert "merge" not in fault.hint
