"""All packaged YAML files can be loaded: sources, grids, variables, legends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.grid.named_grids import read_grids
from pipeline.maps.legend import read_legend
from workflows.config.load import load_config
from workflows.config.named_splits import named_splits
from workflows.run import Run

CATALOGS = Path(__file__).parents[3] / "catalogs"


@pytest.mark.parametrize("path", sorted(CATALOGS.rglob("*.yml")), ids=lambda path: path.name)
def test_every_shipped_yaml_loads(path: Path) -> None:
    if path.name == "grids.yml":
        assert read_grids(path)
    elif path.name == "variables.yml":
        assert read_variables(path)
    elif path.name == "splits.yml":
        assert {"pub", "pur", "temporal"} <= set(named_splits())
    elif path.parent.name == "legends":
        assert read_legend(path).stops
    else:
        assert read_catalog([path], {"data": "/data"}).sources


@pytest.mark.parametrize("name", ["quickstart", "delaware"])
def test_the_names_in_configs_exist(name: str) -> None:
    run = Run(load_config(name))
    for source in run.config.inputs.sources:
        assert set(run.catalog[source].variables) <= set(run.variables)
        assert run.catalog[source].licence
    assert run.grids
    assert run.config.inputs.target in run.variables
    for legend in (run.config.publish.legend, run.config.publish.spread_legend):
        assert (CATALOGS / "legends" / f"{legend}.yml").is_file()
