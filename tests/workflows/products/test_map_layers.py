"""The maps of a product: which steps are published, and what each is called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.cube.open import cube_tiles
from pipeline.cube.template import cube_template
from pipeline.cube.write import create_cube, write_tile
from tests.maps import GRID, MONTHS, TARGET, field, months
from workflows.config.publish import Product, PublishSettings
from workflows.config.schema import Inputs
from workflows.products.map_layers import Layer, ProductStore, layers


@pytest.fixture
def three(tmp_path: Path) -> list[Layer]:
    """A product whose maps have no value in January, and none of the north in February."""
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
    inputs = Inputs(forcings=(), statics=(), target=TARGET)
    product_store = ProductStore(
        Product(cube="conus", suffix="conus"), store, GRID, tmp_path, TARGET
    )
    return layers(product_store, inputs, settings, "gaussian")


def test_steps_at_which_no_cell_has_a_value_are_not_published(three: list[Layer]) -> None:
    mean, spread, flag = three
    for layer in (mean, spread):
        np.testing.assert_array_equal(layer.da["time"].values, MONTHS[1:])
        assert np.isnan(layer.da[0].values[:20]).all()
    np.testing.assert_array_equal(mean.da[1:].values, field()[TARGET].values[2:])
    assert flag.da.dims == ("y", "x")


def test_headings_carry_units_where_there_are_any(three: list[Layer]) -> None:
    mean, _, flag = three
    assert mean.heading == "Soil moisture (m3 m-3), conus"
    assert flag.heading == "Quality flag, conus"
