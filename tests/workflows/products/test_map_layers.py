"""The maps of a product: which steps are published, and what each is called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from pipeline.cube.open import cube_tiles
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from tests.maps import GRID, MONTHS, TARGET, field, months
from workflows.config.schema import Product, PublishSettings
from workflows.products.map_layers import layers
from workflows.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose maps have no value in January, and none of the north in February."""
    ds = field()
    for name in (TARGET, f"{TARGET}_spread"):
        ds[name][0] = np.nan
        ds[name][1, :20] = np.nan
    variables = {
        str(name): {"dims": da.dims, "dtype": str(da.dtype), "attrs": da.attrs}
        for name, da in ds.data_vars.items()
    }
    store = tmp_path / "maps.zarr"
    create_cube(store, cube_template(GRID, months(), variables, 32), {})
    for each in cube_tiles(store):
        part = ds.isel(y=each.rows, x=each.cols).drop_vars("spatial_ref")
        write_tile(store, each, part)
    settings = PublishSettings(legend="soil_moisture", spread_legend="soil_moisture_spread")
    config = SimpleNamespace(
        inputs=SimpleNamespace(targets=[TARGET], target=TARGET), publish=settings,
        finetune=SimpleNamespace(head="gaussian"),
    )  # fmt: skip
    return cast(Run, SimpleNamespace(config=config, mosaic=lambda suffix: store, maps=tmp_path))


def test_steps_at_which_no_cell_has_a_value_are_not_published(run: Run) -> None:
    mean, spread, flag = layers(run, Product(cube="conus", suffix="conus"))
    for layer in (mean, spread):
        np.testing.assert_array_equal(layer.da["time"].values, MONTHS[1:])
        assert np.isnan(layer.da[0].values[:20]).all()
    np.testing.assert_array_equal(mean.da[1:].values, field()[TARGET].values[2:])
    assert flag.da.dims == ("y", "x")


def test_headings_carry_units_where_there_are_any(run: Run) -> None:
    mean, _, flag = layers(run, Product(cube="conus", suffix="conus"))
    assert mean.heading == "Soil moisture (m3 m-3), conus"
    assert flag.heading == "Quality flag, conus"
