"""Cubes as tables: which cells are land, which variables are chosen, how cells are labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import InputError
from pipeline.cube.locations import write_locations
from workflows.config.schema import Inputs
from workflows.inputs.cells import (
    SITES,
    Labels,
    cell_index,
    labelled,
    labelled_cells,
    land_cells,
    land_mask,
    static_names,
    transforms,
)

INPUTS = Inputs(
    forcings=("rain", "heat"), statics=("soil_*", "elevation"), target="flow",
    land_fraction="land", min_land_fraction=0.5,
)  # fmt: skip


def cube() -> xr.Dataset:
    """A grid of 2 x 3 cells: land enough in the first four, rain or heat in all but two of them."""
    rain = np.full((2, 2, 3), np.nan)
    rain[1, 0, 0] = rain[0, 1, 2] = 1.0
    heat = np.full((2, 2, 3), np.nan)
    heat[0, 0, 1] = 280.0
    flat = {name: (("y", "x"), np.zeros((2, 3))) for name in
            ("elevation", "soil_b", "soil_a", "flow", "soil_a_coverage", "slope")}  # fmt: skip
    land = [[1.0, 0.5, 0.6], [0.9, 0.4, 0.0]]
    return xr.Dataset(
        {"rain": (("time", "y", "x"), rain), "heat": (("time", "y", "x"), heat),
         "land": (("y", "x"), land), **flat}
    )  # fmt: skip


def test_a_model_runs_where_there_is_land_and_any_forcing() -> None:
    assert land_mask(cube(), INPUTS).tolist() == [[True, True, False], [False] * 3]
    assert land_cells(cube(), INPUTS, "conus").tolist() == [0, 1]
    everywhere = INPUTS.model_copy(update={"land_fraction": None})
    assert land_cells(cube(), everywhere, "conus").tolist() == [0, 1, 5]
    nowhere = INPUTS.model_copy(update={"min_land_fraction": 1.1})
    with pytest.raises(InputError, match="cube conus: found no land cell"):
        land_cells(cube(), nowhere, "conus")


def test_patterns_choose_static_attributes_in_their_order() -> None:
    assert static_names(cube(), INPUTS) == ("soil_a", "soil_b", "elevation")
    misspelt = INPUTS.model_copy(update={"statics": ("elevatoin", "clay_*")})
    with pytest.raises(InputError) as caught:
        static_names(cube(), misspelt)
    assert len(caught.value.faults) == 2
    assert '"elevation"' in str(caught.value)


def table(**labels: list[str]) -> xr.Dataset:
    at = {"lon": ("cell", [0.0, 1.0]), "lat": ("cell", [0.0, 0.0])}
    coords = {name: ("cell", values) for name, values in labels.items()}
    return xr.Dataset(coords={"cell": [7, 9], **at, **coords})


def test_labels_of_the_source_come_first_and_every_site_is_its_own_group() -> None:
    plain = labelled(table(), Labels((), SITES, None, "region"))
    assert plain["group"].values.tolist() == plain["site"].values.tolist() == [7, 9]
    assert plain["group"].attrs["of"] == SITES
    assert plain["region"].values.tolist() == ["7", "9"]
    named = labelled(table(group=["a", "a"], region=["r", "s"]), Labels((), SITES, None, ""))
    assert named["group"].values.tolist() == ["a", "a"]
    assert named["group"].attrs["of"] == "labels of the source"
    assert named["site"].values.tolist() == [7, 9]
    assert named["region"].values.tolist() == ["r", "s"]


def test_regions_are_numbers_that_the_cells_have() -> None:
    labels = Labels((), SITES, None, "region", "huc")
    numbered = labelled(table().assign(huc=("cell", np.float32([1, 17]))), labels)
    assert numbered["region"].values.tolist() == ["1", "17"]
    assert labelled(table(), labels)["region"].values.tolist() == ["7", "9"]
    with pytest.raises(InputError, match=r"no whole number at cells, 1 \(9\)"):
        labelled(table().assign(huc=("cell", [1, np.nan])), labels)


def test_all_cells_of_a_cube_have_the_regions_of_its_index(tmp_path: Path) -> None:
    one = np.ones((1, 2), np.float32)
    series = dict.fromkeys(("rain", "heat", "flow"), (("time", "cell"), one))
    ds = table().assign_coords(time=np.array(["2001-01-01"], "datetime64[ns]"))
    ds = ds.assign(series).assign(elevation=("cell", one[0]), huc=("cell", np.float32([3, 6])))
    write_locations(tmp_path / "basins.zarr", ds)
    inputs = INPUTS.model_copy(update={"statics": ("elevation",)})
    labels = Labels((), SITES, None, "region", "huc")
    cells = labelled_cells(tmp_path / "basins.zarr", inputs, labels)
    index = cell_index(tmp_path / "basins.zarr", inputs, labels)
    assert cells["region"].values.tolist() == index["region"].values.tolist() == ["3", "6"]
    assert "huc" not in cells
    assert not index.data_vars


def test_a_run_may_choose_the_transform_of_its_inputs_and_target() -> None:
    names = ("precipitation", "streamflow", "elevation")
    usual = transforms(names, read_variables(), {})
    assert usual == {"precipitation": "log", "streamflow": "log", "elevation": "none"}
    own = transforms(names, read_variables(), {"streamflow": "none"})
    assert own == {**usual, "streamflow": "none"}
    with pytest.raises(InputError, match=r'transforms: streamflo: .* Did you mean "streamflow"'):
        transforms(names, read_variables(), {"streamflo": "none"})
    assert "transforms" not in INPUTS.model_dump(), "fingerprints of other runs are kept"
