"""Longitude and latitude as static attributes of every model: `inputs.location`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.climate.derived import Derived
from pipeline.core.errors import InputError
from pipeline.cube.open import open_cube
from tests.workflows.tiny import write_tiny
from workflows.config.load import load_config
from workflows.fingerprints import stage_fingerprint
from workflows.inputs.cells import static_names
from workflows.inputs.folds import FoldFiles
from workflows.run import Run
from workflows.stages import check, regrid, stats


def test_cells_of_a_grid_have_their_location_among_the_statics(tmp_path: Path) -> None:
    config = write_tiny(tmp_path)
    plain = Run(load_config(config))
    run = Run(load_config(config, ["inputs.location=true"]))
    assert stage_fingerprint(run, "regrid") != stage_fingerprint(plain, "regrid")
    check.main(run)
    regrid.main(run)
    cube = open_cube(run.cube("globe"))
    assert static_names(cube, run.config.inputs) == ("elevation", "longitude", "latitude")
    np.testing.assert_allclose(cube["longitude"].values[0, :3], [-175, -165, -155])
    np.testing.assert_allclose(cube["latitude"].values[:3, 0], [55, 45, 35])
    assert cube["longitude"].attrs["units"] == "degrees_east"
    stats.main(run)
    scalings = FoldFiles(run.folder).normaliser("block0").scalings
    assert {"longitude", "latitude"} <= {*scalings}


def test_sites_have_their_location_and_sources_cannot_have_it_too(tmp_path: Path) -> None:
    sites = xr.Dataset({"rain": (("time", "cell"), np.zeros((2, 3)))})
    lonlat = np.array([8.0, 9.0, 10.0]), np.array([50.0, 51.0, 52.0])
    found = Derived(location=True).added(sites, lonlat, "sites")
    assert found["latitude"].dims == ("cell",)
    np.testing.assert_array_equal(found["longitude"], lonlat[0])
    config = write_tiny(tmp_path)
    catalog = tmp_path / "catalog.yml"
    catalog.write_text(catalog.read_text().replace("elevation: {name: height, units: m}",
                                                   "latitude: {name: height, units: degrees_north}")
                       )  # fmt: skip
    both = Run(load_config(config, ["inputs.location=true", "inputs.statics=[]"]))
    with pytest.raises(InputError, match=r"inputs.location: found true, but a source .* latitude"):
        check.main(both)
