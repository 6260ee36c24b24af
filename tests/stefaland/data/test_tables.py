"""Cell tables of datasets and data frames: values of each cell, and all faults at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from pipeline.core.errors import InputError
from stefaland.data.cell_data import CellData

TIME = np.arange("2001-01-01", "2001-01-06", dtype="datetime64[D]").astype("datetime64[ns]")
DIMS = ("time", "y", "x")


def cube() -> xr.Dataset:
    """5 days on 2 x 3 cells; the second cell is sea, and one value is missing elsewhere."""
    rng = np.random.default_rng(0)
    rain, heat = rng.normal(size=(2, 5, 2, 3)).astype(np.float32)
    rain[:, 0, 1] = heat[:, 0, 1] = rain[2, 1, 2] = np.nan
    clay = rng.uniform(size=(2, 3)).astype(np.float32)
    return xr.Dataset(
        {"rain": (DIMS, rain), "heat": (DIMS, heat), "clay": (DIMS[1:], clay),
         "cover": (DIMS[1:], [[0, 1, 2], [1, -1, 0]]), "flow": (DIMS, rain * 2),
         "filled": (DIMS[1:], [[0, 0, 1], [0, 0, 0]])},
        {"time": TIME, "y": [50.5, 49.5], "x": [8.5, 9.5, 10.5],
         "lat": ("y", [50.5, 49.5]), "lon": ("x", [8.5, 9.5, 10.5])},
    )  # fmt: skip


ROLES = {"forcings": ["rain", "heat"], "statics": ["clay"], "target": "flow",
         "categorical": ["cover"], "filled": "filled"}  # fmt: skip
SITES = [0, 2, 3, 4, 5]


def assert_same(one: CellData, other: CellData) -> None:
    for name, value in vars(one).items():
        if isinstance(value, torch.Tensor):
            expected = getattr(other, name)
            torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, getattr(other, name))
        else:
            assert value == getattr(other, name), name


def test_a_cube_gives_its_cells_with_forcings_by_their_flat_index() -> None:
    table, data = cube(), CellData.from_dataset(cube(), **ROLES)
    assert data.cell.tolist() == SITES
    np.testing.assert_array_equal(data.lonlat[1], [10.5, 50.5])
    for i, cell in enumerate(SITES):
        row, col = divmod(cell, 3)
        for k, name in enumerate(("rain", "heat")):
            np.testing.assert_array_equal(data.forcings[i, :, k], table[name].values[:, row, col])
        assert data.statics[i, 0] == table["clay"].values[row, col]
        assert data.categorical[i, 0] == table["cover"].values[row, col]
    np.testing.assert_array_equal(data.target, 2 * data.forcings[..., :1])
    assert data.filled.tolist() == [False, True, False, False, False]
    assert data.time.tolist() == TIME.tolist()


def test_a_table_of_cells_gives_the_same_as_its_cube() -> None:
    cells = cube().stack(cell=("y", "x"), create_index=False).assign_coords(cell=np.arange(6))
    whole = CellData.from_dataset(cells.isel(cell=SITES).transpose(), **ROLES)
    assert_same(whole, CellData.from_dataset(cube(), **ROLES))


def test_longitudes_and_latitudes_are_those_of_a_geographic_grid() -> None:
    table = cube().drop_vars(["lon", "lat"])
    with pytest.raises(InputError, match=r"lon: found no coordinate.*lonlat\(\)"):
        CellData.from_dataset(table, forcings="rain")
    for dim, units in (("x", "degrees_east"), ("y", "degrees_north")):
        table[dim].attrs["units"] = units
    data = CellData.from_dataset(table, forcings="rain")
    assert_same(data, CellData.from_dataset(cube(), forcings="rain"))


def test_a_target_without_time_has_its_value_at_every_time() -> None:
    data = CellData.from_dataset(cube(), forcings="rain", target="clay", statics="clay")
    assert data.target_names == ("clay",)
    np.testing.assert_array_equal(data.target[..., 0], data.statics.expand(-1, 5))


def test_labels_are_taken_where_there_are_some() -> None:
    labels = {"group": (("y", "x"), [[1, 1, 2], [2, 3, 3]])}
    data = CellData.from_dataset(cube().assign_coords(labels), forcings="rain")
    assert data.group.tolist() == [1, 2, 2, 3, 3]
    assert data.region is None


def test_all_faults_of_a_dataset_are_reported_together() -> None:
    table = cube().assign(name=(("y", "x"), np.full((2, 3), "soil")))
    with pytest.raises(InputError) as caught:
        CellData.from_dataset(
            table.assign_coords(time=np.arange(5)), forcings=["rian", "clay"],
            statics=["heat", "name"], categorical="flow",
        )  # fmt: skip
    text = str(caught.value)
    assert "rian (forcings): found no such variable" in text
    assert 'Did you mean "rain"?' in text
    assert "clay (forcings): found dims (y, x); expected dims (time, y, x)" in text
    assert "heat (statics): found dims (time, y, x); expected dims (y, x)" in text
    assert "name (statics): found values of type <U4; expected numbers" in text
    assert "flow (categorical): found dims" in text
    assert "time: found of type int64" in text
    assert len(caught.value.faults) == 6


def test_other_dims_and_codes_are_refused() -> None:
    with pytest.raises(InputError, match=r"found dims \(time, lat, lon\).*rename"):
        CellData.from_dataset(xr.Dataset({"rain": (("time", "lat", "lon"), np.zeros((5, 2, 3)))}),
                              forcings="rain")  # fmt: skip
    with pytest.raises(InputError, match=r"clay.*class codes"):
        CellData.from_dataset(cube(), forcings="rain", categorical="clay")


def frame() -> pd.DataFrame:
    """Two gauges, of which one has no value on the third day."""
    rows = [("b", day, 1.0 + day, 10.0, 2.0, 7.5, 0) for day in range(5)]
    rows += [("a", day, 2.0 * day, 0.1 * day, 3.0, 8.5, 1) for day in range(5) if day != 2]
    columns = ["site", "time", "rain", "flow", "area", "lon", "cover"]
    table = pd.DataFrame(rows, columns=columns).assign(lat=50.0, group=["x"] * 5 + ["y"] * 4)
    return table.assign(time=TIME[table["time"]])


COLUMNS = {"forcings": "rain", "statics": ["area"], "target": ["flow"], "categorical": ["cover"]}


@pytest.mark.parametrize("index", [[], ["site", "time"], ["time", "site"]])
def test_a_data_frame_gives_its_sites_in_order(index: list[str]) -> None:
    table = frame().set_index(index) if index else frame()
    data = CellData.from_dataframe(table, **COLUMNS)
    assert data.cell.tolist() == [0, 1]
    nan = np.nan
    np.testing.assert_array_equal(data.forcings[..., 0], [[0, 2, nan, 6, 8], [1, 2, 3, 4, 5]])
    np.testing.assert_allclose(data.target[..., 0], [[0, 0.1, nan, 0.3, 0.4], [10] * 5])
    assert data.statics.tolist() == [[3.0], [2.0]]
    assert data.categorical.tolist() == [[1], [0]]
    assert data.lonlat.tolist() == [[8.5, 50.0], [7.5, 50.0]]
    assert data.group.tolist() == ["y", "x"]


def test_integer_sites_are_the_cells_and_columns_have_any_name() -> None:
    table = frame().assign(gauge=frame()["site"].map({"a": 30, "b": 12}), day=frame()["time"])
    table = table.drop(columns=["site", "time"])
    data = CellData.from_dataframe(table, **COLUMNS, site="gauge", time="day")
    assert data.cell.tolist() == [12, 30]
    assert data.statics.tolist() == [[2.0], [3.0]]


def test_all_faults_of_a_data_frame_are_reported_together() -> None:
    with pytest.raises(InputError) as caught:
        CellData.from_dataframe(frame().drop(columns="lon"), forcings="rian", statics="aera")
    assert [fault.where for fault in caught.value.faults] == [
        "data frame: rian", "data frame: aera", "data frame: lon",
    ]  # fmt: skip
    table = pd.concat([frame(), frame()[:2].assign(area=9.0)])
    with pytest.raises(InputError) as caught:
        CellData.from_dataframe(table, **COLUMNS)
    assert "2 rows of a site and time" in str(caught.value)
    assert "area: found several values at 1 sites (b)" in str(caught.value)


def test_gaps_of_all_sites_and_texts_as_times_are_refused() -> None:
    with pytest.raises(InputError, match="an even, increasing time axis"):
        CellData.from_dataframe(frame()[lambda f: f["time"] != TIME[2]], **COLUMNS)
    with pytest.raises(InputError, match=r"to_datetime"):
        CellData.from_dataframe(frame().assign(time=lambda f: f["time"].astype(str)), **COLUMNS)
