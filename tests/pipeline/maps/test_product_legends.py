from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import Faults, InputError
from pipeline.core.packaged import catalog_path
from pipeline.cube.template import CubeVariable
from pipeline.cube.write import create_cube, cube_template
from stefaland.model.quantiles import NAMES
from tests.maps import GRID
from workflows.config.publish import Product, PublishSettings
from workflows.config.schema import Inputs
from workflows.products.map_layers import ProductStore, interval, layers
from workflows.stages.check import _legends


def settings(legend: str, *products: Product) -> PublishSettings:
    return PublishSettings(legend=legend, spread_legend="soil_moisture_spread", products=products)


ANOMALY = Product(cube="c", suffix="a", aggregate="anomaly")
NAMED = Product(cube="c", suffix="n", aggregate="anomaly", legend="soil_moisture")
MEAN = Product(cube="c", suffix="m", aggregate="mean")


def test_an_anomaly_has_a_legend_of_departures(tmp_path: Path) -> None:
    publish = settings("soil_moisture", ANOMALY, NAMED, MEAN)
    inputs = Inputs(forcings=(), statics=(), target="soil_moisture")
    ends = [f"soil_moisture_{NAMES[level]}" for level in interval("quantile")]
    variables = {name: CubeVariable(("y", "x"), "float32", {}) for name in ends}
    create_cube(tmp_path / "store", cube_template(GRID, None, variables, 4), {})
    names = []
    for product in publish.products:
        stored = ProductStore(product, tmp_path / "store", GRID, tmp_path, "soil_moisture")
        names.append([layer.legend.name for layer in layers(stored, inputs, publish, "quantile")])
    spread = "soil_moisture_spread"
    assert names[0] == ["soil_moisture_anomaly", spread, *["soil_moisture_anomaly"] * 2,
                        "quality_flag"]  # fmt: skip
    assert names[1] == names[2] == ["soil_moisture", spread, *["soil_moisture"] * 2, "quality_flag"]


def test_a_legend_without_departures_is_reported_before() -> None:
    faults = Faults()
    _legends(settings("susceptibility", ANOMALY, NAMED), faults)
    assert [fault.where for fault in faults.faults] == [
        'publish: legend "susceptibility_anomaly"', "publish.products",
    ]  # fmt: skip
    assert "such as soil_moisture_anomaly" in str(faults.faults[1])


def test_an_unknown_legend_is_reported_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"one of legends/quality_flag\.yml") as error:
        catalog_path("legends/soil_mosture.yml")
    assert 'Did you mean "legends/soil_moisture.yml"' in str(error.value)
