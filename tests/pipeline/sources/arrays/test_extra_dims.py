"""Dimensions beside time, y and x: one position of them, or all reduced to one value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.core.settings import validated
from pipeline.entries.extra_dims import Layers
from pipeline.entries.source import Source
from pipeline.grid.target_grid import TargetGrid
from pipeline.sources.arrays.extra_dims import REDUCTIONS, Reduction, selected
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source

GRID = TargetGrid.from_bounds("six", "EPSG:4326", (0, 0, 3, 2), 1.0)
XY = {"lat": [1.5, 0.5], "lon": [0.5, 1.5, 2.5]}
EDGES = [0.0, 0.07, 0.28, 1.0, 2.89]
RNG = np.random.default_rng(3)
VALUES = RNG.uniform(0.05, 0.5, (2, 4, 2, 3)).astype("f4")
TIMES = pd.date_range("2001-01-01", periods=2)


def written(
    path: Path, dim: str = "depth", coordinate: Any = (0.035, 0.175, 0.64, 1.945),
    values: np.ndarray = VALUES, bounds: bool = True, driver: str = "netcdf",
) -> Path:  # fmt: skip
    ds = xr.Dataset({"v": (("time", dim, "lat", "lon"), values, {"units": "1"})},
                    {"time": TIMES[: values.shape[0]], **XY})  # fmt: skip
    if coordinate is not None:
        ds[dim] = (dim, np.asarray(coordinate), {"units": "m"} if dim == "depth" else {})
    if bounds and dim == "depth":
        ds["layers"] = (dim, "edge"), np.stack([EDGES[:-1], EDGES[1:]], 1)
        ds[dim].attrs["bounds"] = "layers"
    ds.to_zarr(path, zarr_format=2) if driver == "zarr" else ds.to_netcdf(path)
    return path


def entry(path: Path | str, **more: Any) -> Source:
    variable = {"name": "v", "units": "m3 m-3"}
    return Source.model_validate(
        {"name": "soil", "uri": str(path), "driver": "netcdf", "wrong_in_file": ["units"],
         "variables": {"soil_moisture": variable}, **more}
    )  # fmt: skip


def canonical(source: Source) -> np.ndarray:
    return open_source(source, on=GRID)["soil_moisture"].values


def refusal(source: Source) -> str:
    with pytest.raises(InputError) as caught:
        canonical(source)
    return str(caught.value)


@pytest.mark.parametrize("driver", ["netcdf", "zarr"])
@pytest.mark.parametrize(("at", "layer"), [(0, 0), (2, 2), (-1, 3), ({"value": 0.175}, 1),
                                           ({"value": 1.945}, 3)])  # fmt: skip
def test_one_position(tmp_path: Path, driver: str, at: Any, layer: int) -> None:
    path = written(tmp_path / f"a.{driver}", driver=driver)
    found = canonical(entry(path, driver=driver, select={"depth": at}))
    np.testing.assert_array_equal(found, VALUES[:, layer])


@pytest.mark.parametrize(
    ("dim", "coordinate", "at", "layer"),
    [("expver", ["0001", "0005", "b", "c"], "0005", 1),
     ("plev", [100000.0, 85000.0, 50000.0, 10000.0], {"value": 85000}, 1),
     ("number", np.arange(4), {"value": 3}, 3),
     ("member", None, 2, 2),
     ("step", pd.to_timedelta([6, 12, 18, 24], unit="h"), {"value": "12h"}, 1),
     ("run", pd.date_range("2001-01-01", periods=4), {"value": "2001-01-04"}, 3)],
)  # fmt: skip
def test_positions_by_every_kind_of_coordinate(
    tmp_path: Path, dim: str, coordinate: Any, at: Any, layer: int
) -> None:
    path = written(tmp_path / "a.nc", dim, coordinate)
    np.testing.assert_array_equal(canonical(entry(path, select={dim: at})), VALUES[:, layer])


@pytest.mark.parametrize(("how", "of"), [("mean", np.mean), ("sum", np.sum), ("min", np.min),
                                         ("max", np.max)])  # fmt: skip
def test_reductions(tmp_path: Path, how: str, of: Any) -> None:
    path = written(tmp_path / "a.nc", "number", np.arange(4), VALUES / 4)
    found = canonical(entry(path, reduce={"number": how}))
    np.testing.assert_allclose(found, of(VALUES.astype("f8") / 4, axis=1), rtol=1e-6)


def test_missing_members_and_missing_layers(tmp_path: Path) -> None:
    values = VALUES / 4
    values[0, 1, 0, 0] = np.nan
    values[:, :, 1, 2] = np.nan
    path = written(tmp_path / "a.nc", values=values)
    mean = canonical(entry(path, reduce={"depth": "mean"}))
    assert mean[0, 0, 0] == pytest.approx(values[0, [0, 2, 3], 0, 0].mean(dtype="f8"))
    assert np.isnan(mean[:, 1, 2]).all()
    total = canonical(entry(path, reduce={"depth": "sum"}))
    layers = canonical(entry(path, reduce={"depth": {"to": [0, 1]}}))
    for found in (total, layers):
        np.testing.assert_array_equal(
            np.isnan(found), np.isnan(values[:, :3]).any(1)
        )  # fmt: skip
    # A missing layer below the depth that is wanted does not matter.
    top = canonical(entry(path, reduce={"depth": {"to": [0, 0.07]}}))
    np.testing.assert_array_equal(top, values[:, 0])


def test_the_final_and_the_preliminary_of_one_file(tmp_path: Path) -> None:
    values = np.full((2, 2, 2, 3), np.nan, "f4")
    values[0, 0], values[1, 1] = 0.1, 0.2
    path = written(tmp_path / "a.nc", "expver", [1, 5], values)
    found = canonical(entry(path, reduce={"expver": "first_valid"}))
    assert found[:, 0, 0].tolist() == pytest.approx([0.1, 0.2])


def test_several_dimensions_at_once(tmp_path: Path) -> None:
    values = np.broadcast_to(VALUES[:, :, None], (2, 4, 3, 2, 3)) * np.float32(
        [[[1]], [[2]], [[0]]]
    )
    ds = xr.Dataset({"v": (("time", "depth", "number", "lat", "lon"), values, {"units": "1"})},
                    {"time": TIMES, "depth": [1, 2, 3, 4], **XY})  # fmt: skip
    ds.transpose("number", "time", "lat", "depth", "lon").to_netcdf(tmp_path / "a.nc")
    rules = {"reduce": {"depth": {"to": [0, 1], "by": [0, 0.25, 0.5, 1.0, 9.0]}, "number": "max"}}
    found = canonical(entry(tmp_path / "a.nc", **rules))
    expected = 2 * (0.25 * VALUES[:, 0] + 0.25 * VALUES[:, 1] + 0.5 * VALUES[:, 2])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    both = canonical(entry(tmp_path / "a.nc", select={"number": 0}, reduce={"depth": "min"}))
    np.testing.assert_array_equal(both, VALUES.min(1))


def test_reduced_days_are_read_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    hours = pd.date_range("2001-01-01", periods=96, freq="h")
    values = RNG.uniform(0, 0.5, (96, 3, 2, 3))
    ds = xr.Dataset({"v": (("time", "number", "lat", "lon"), values, {"units": "1"})},
                    {"time": hours, **XY})  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", reduce={"number": "mean"}, time={"daily": True})
    variable = source.variables["soil_moisture"].model_copy(update={"cell_method": "mean"})
    source = source.model_copy(update={"variables": {"soil_moisture": variable}})
    monkeypatch.setattr("pipeline.sources.arrays.aggregate.BLOCK_BYTES", 1)
    ds = canonicalise(open_source(source), source, read_variables(), load_bytes=0)
    found = ds["soil_moisture"]
    assert not found.variable._in_memory
    expected = values.mean(1).reshape(4, 24, 2, 3).mean(1)
    np.testing.assert_allclose(found[1:3].values, expected[1:3], rtol=1e-6)
    np.testing.assert_allclose(found[::-1, 0, 1:].values, expected[::-1, 0, 1:], rtol=1e-6)


def test_files_of_a_series(tmp_path: Path) -> None:
    for year in (2001, 2002):
        written(tmp_path / f"{year}.nc", values=VALUES)
        with xr.open_dataset(tmp_path / f"{year}.nc") as file:
            ds = file.load()
        ds["time"] = TIMES + pd.DateOffset(years=year - 2001)
        ds.to_netcdf(tmp_path / f"{year}b.nc")
    source = entry(tmp_path / "{year}b.nc", reduce={"depth": {"to": [0, 0.28]}},
                   time={"years": [2001, 2002], "gaps": "missing"})  # fmt: skip
    expected = 0.25 * VALUES[:, 0] + 0.75 * VALUES[:, 1]
    np.testing.assert_allclose(canonical(source)[:2], expected, rtol=1e-6)
    np.testing.assert_allclose(canonical(source)[-2:], expected, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 2.0), min_size=1, max_size=6), st.data())
def test_weights_of_layers_are_their_thickness_within_the_depth(
    thickness: list[float], data: st.DataObject
) -> None:
    edges = np.concatenate([[0.0], np.cumsum(thickness)])
    low = data.draw(st.floats(0, float(edges[-1]) * 0.9))
    high = data.draw(st.floats(low + 0.05 * float(edges[-1]), float(edges[-1])))
    values = np.arange(1.0, edges.size)
    ds = xr.Dataset(
        {"v": (("depth", "lat", "lon"), values[:, None, None] * np.ones((1, 2, 3)))}, XY
    )
    how = Layers(to=(low, high), by=tuple(edges.tolist()))
    found = selected(ds, entry("a.nc", reduce={"depth": how}))
    reduction = found["v"].attrs[REDUCTIONS]["depth"]
    fine = np.linspace(low, high, 20001)
    reference = values[np.clip(np.searchsorted(edges, (fine[1:] + fine[:-1]) / 2) - 1, 0, None)]
    assert sum(reduction.weights) == pytest.approx(1.0)
    assert reduction.of(found["v"].values, 0)[0, 0] == pytest.approx(reference.mean(), abs=2e-3)


def test_a_map_with_a_date_is_static(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", values=VALUES[:1])
    source = entry(path, static=True, select={"depth": 1})
    ds = open_source(source, on=GRID)
    assert ds["soil_moisture"].dims == ("y", "x")
    assert "time" not in ds.coords
    np.testing.assert_array_equal(ds["soil_moisture"].values, VALUES[0, 1])
    faults = Faults()
    check_source(source, faults)
    assert not faults.faults
    two = written(tmp_path / "b.nc")
    assert "found 2 times" in refusal(entry(two, static=True, select={"depth": 1}))


def test_forecasts_of_one_lead_time_are_at_their_valid_times(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", "step", pd.to_timedelta([6, 24, 48, 72], unit="h"))
    with xr.open_dataset(path, decode_timedelta=True) as file:
        ds = file.load()
    ds = ds.assign_coords(valid_time=ds["time"] + ds["step"])
    ds.to_netcdf(tmp_path / "b.nc")
    found = open_source(entry(tmp_path / "b.nc", select={"step": {"value": "24h"}}), on=GRID)
    assert found["time"].values.astype("M8[D]").astype(str).tolist() == ["2001-01-02", "2001-01-03"]


def test_the_refusal_names_keys_sizes_and_coordinates(tmp_path: Path) -> None:
    text = refusal(entry(written(tmp_path / "a.nc")))
    for part in ("depth (4: 0.035, 0.175, 0.64, 1.945 m)", "select: {depth: 0}",
                 "select: {depth: {value: 0.035}}", "reduce: {depth: mean}",
                 "{to: [0, 1]}"):  # fmt: skip
        assert part in text
    text = refusal(entry(written(tmp_path / "b.nc", "member", None)))
    assert "member (4 positions without coordinates)" in text
    assert "value" not in text


@pytest.mark.parametrize(
    ("rules", "texts"),
    [({"select": {"dept": 0}}, ["depth (4)", 'Did you mean "depth"?']),
     ({"select": {"depth": 4}}, ["4 positions", "position 4"]),
     ({"select": {"depth": {"value": 0.1}}}, ["0.035, 0.175", "value 0.1"]),
     ({"select": {"depth": "top"}}, ["value top"]),
     ({"reduce": {"depth": {"to": [0, 3]}}}, ["2.89", "fill 0 to 3 once"]),
     ({"reduce": {"depth": {"to": [0, 1], "by": [0, 1]}}}, ["4 layers", "2 edges"])],
)  # fmt: skip
def test_positions_and_layers_that_do_not_exist(
    tmp_path: Path, rules: dict[str, Any], texts: list[str]
) -> None:
    text = refusal(entry(written(tmp_path / "a.nc"), **rules))
    assert text.count("found") == 1
    for part in texts:
        assert part in text


def test_layers_without_bounds_need_edges(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc", bounds=False)
    assert "by: [0, 0.1, 0.4" in refusal(entry(path, reduce={"depth": {"to": [0, 1]}}))
    found = canonical(entry(path, reduce={"depth": {"to": [0, 0.28], "by": EDGES}}))
    np.testing.assert_allclose(found, 0.25 * VALUES[:, 0] + 0.75 * VALUES[:, 1], rtol=1e-6)


def test_entries_that_contradict_themselves() -> None:
    for settings_, text in (
        ({"select": {"depth": 0}, "reduce": {"depth": "mean"}}, "under `select` and under"),
        ({"reduce": {"depth": {"to": [1, 0]}}}, "ascend"),
        ({"kind": "categorical", "classes": {"a": [1]}, "reduce": {"n": "mean"}}, "first_valid"),
        ({"select": {"depth": 0.5}}, "depth"),
    ):
        with pytest.raises(ValueError, match=text):
            entry("a.nc", **settings_)
    assert not {"static", "select", "reduce"} & entry("a.nc").model_dump().keys()


def test_classes_take_the_first_valid_code() -> None:
    codes = np.array([[np.nan, 1.0], [2.0, 3.0]], np.float32)
    np.testing.assert_array_equal(Reduction("first_valid").of(codes, 0), [2.0, 1.0])


def mean_of(*weights: float) -> np.ndarray:
    """The mean of the layers of `VALUES`, from the top."""
    shares = np.array(weights) / sum(weights)
    return np.einsum("tlyx,l->tyx", VALUES[:, : len(shares)].astype(float), shares)


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [2, 0, 3, 1]])
@pytest.mark.parametrize("sign", [1, -1])
def test_listed_edges_belong_to_layers_by_their_depth(
    tmp_path: Path, order: list[int], sign: int
) -> None:
    depths = sign * np.array([0.035, 0.175, 0.64, 1.945])[order]
    path = written(tmp_path / "a.nc", "level", depths, VALUES[:, order], bounds=False)
    source = entry(path, reduce={"level": {"to": [0, 1], "by": EDGES}})
    np.testing.assert_allclose(canonical(source), mean_of(0.07, 0.21, 0.72), rtol=1e-6)


def test_layers_out_of_order(tmp_path: Path) -> None:
    whole = xr.open_dataset(written(tmp_path / "a.nc"))
    whole.isel(depth=[2, 0, 3, 1]).to_netcdf(tmp_path / "b.nc")
    source = entry(tmp_path / "b.nc", reduce={"depth": {"to": [0, 1]}})
    np.testing.assert_allclose(canonical(source), mean_of(0.07, 0.21, 0.72), rtol=1e-6)


def test_a_part_of_one_layer_may_be_in_other_units(tmp_path: Path) -> None:
    ds = xr.open_dataset(written(tmp_path / "a.nc")).load()
    ds["depth"] = ("depth", 100 * ds["depth"].values, {"units": "cm", "bounds": "layers"})
    ds["layers"] = 100 * ds["layers"]
    ds.to_netcdf(tmp_path / "cm.nc")
    text = refusal(entry(tmp_path / "cm.nc", reduce={"depth": {"to": [0, 1]}}))
    assert "found 0 to 1 within the layer 0 to 7 cm" in text
    assert "`to` has the units of the coordinate" in text
    found = canonical(entry(tmp_path / "cm.nc", reduce={"depth": {"to": [0, 100]}}))
    np.testing.assert_allclose(found, mean_of(0.07, 0.21, 0.72), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"select": {"depth": 0.05}}, "a valid integer"),
     ({"reduce": {"depth": "median"}}, "'first_valid', 'mean'"),
     ({"reduce": {"depth": {"to": [1, 0]}}}, "do not ascend")],
)  # fmt: skip
def test_a_wrong_rule_is_one_fault(settings: dict[str, Any], expected: str) -> None:
    where = {"name": "soil", "uri": "a.nc", "driver": "netcdf"}
    with pytest.raises(InputError, match=expected) as caught:
        validated(Source, {**where, **settings}, "soil")
    assert len(caught.value.faults) == 1


def test_a_date_selects_a_time(tmp_path: Path) -> None:
    path = written(tmp_path / "a.nc")
    at = {"time": {"value": pd.Timestamp(TIMES[1]).date()}, "depth": 0}
    found = canonical(entry(path, static=True, select=at))
    np.testing.assert_array_equal(found, VALUES[1, 0])


STARTS = np.arange("2001-03-01", "2001-03-04", dtype="M8[D]").astype("M8[ns]")


def forecasts(path: Path, lead: Any, time: str = "time", **attrs: str) -> dict[str, Any]:
    """The entry of totals of 10, 30 and 60 mm after 8, 16 and 24 hours of three forecasts."""
    values = np.array([10.0, 30.0, 60.0])[None, :, None, None] * np.ones((3, 1, 2, 2))
    coords: dict[str, Any] = {time: (time, STARTS, attrs), "lat": [1.5, 0.5], "lon": [0.5, 1.5]}
    ds = xr.Dataset({"v": ((time, "lead", "lat", "lon"), values, {"units": "mm"})}, coords)
    ds.assign_coords(lead=lead).to_netcdf(path)
    return {"name": "fc", "uri": str(path), "driver": "netcdf",
            "variables": {"precipitation": {"name": "v", "cell_method": "accumulated"}},
            "time": {"resets": 0}}  # fmt: skip


HOURS = ("lead", [8, 16, 24], {"units": "hours", "standard_name": "forecast_period"})
DURATIONS = ("lead", np.array([8, 16, 24]) * np.timedelta64(1, "h").astype("m8[ns]"))


@pytest.mark.parametrize("lead", [HOURS, DURATIONS])
def test_forecasts_without_valid_times_have_those_of_their_lead(tmp_path: Path, lead: Any) -> None:
    entry = forecasts(tmp_path / "v.nc", lead) | {"select": {"lead": -1}}
    source = Source.model_validate(entry)
    found = canonicalise(open_source(source), source, read_variables())["precipitation"]
    assert found["time"].values.astype("M8[D]").astype(str).tolist() == [
        "2001-03-01", "2001-03-02", "2001-03-03"
    ]  # fmt: skip
    np.testing.assert_allclose(found, 60.0)


def test_times_that_cf_calls_valid_are_not_moved_by_a_lead(tmp_path: Path) -> None:
    entry = forecasts(tmp_path / "v.nc", HOURS, standard_name="time") | {"select": {"lead": -1}}
    source = Source.model_validate(entry)
    ds = open_source(source)
    np.testing.assert_array_equal(ds["time"].values, STARTS)


@pytest.mark.parametrize("how", ["sum", "mean"])
def test_totals_since_the_start_are_not_added_up(tmp_path: Path, how: str) -> None:
    entry = forecasts(tmp_path / "v.nc", HOURS) | {"reduce": {"lead": how}, "time": {}}
    entry["variables"] = {"precipitation": {"name": "v"}}
    faults = Faults()
    check_source(Source.model_validate(entry), faults)
    assert "totals since the forecast's start" in str(faults.faults[0])
    assert "`select: {lead: -1}`" in str(faults.faults[0])


def test_the_hint_on_a_dimension_names_what_it_is(tmp_path: Path) -> None:
    entry = forecasts(tmp_path / "v.nc", HOURS)
    for change, hint in (
        ({}, "`select: {lead: {value: 24}}`"),
        (forecasts(tmp_path / "init.nc", HOURS, "init_date"), "`dims: {time: init_date}`"),
    ):
        faults = Faults()
        check_source(Source.model_validate(entry | change), faults)
        assert len(faults.faults) == 1
        assert hint in str(faults.faults[0])
    for dim, size, hint in (("month", 12, "`time: {kind: months}`"),
                            ("year", 3, "`time: {start: 1998-01-01, step: yearly}`")):  # fmt: skip
        first = 1998 if dim == "year" else 1
        da = xr.DataArray(np.ones((size, 2, 2)), {dim: np.arange(first, first + size),
                          "lat": [1.5, 0.5], "lon": [0.5, 1.5]}, name="v")  # fmt: skip
        da.assign_attrs(units="mm").to_netcdf(tmp_path / f"{dim}.nc")
        faults = Faults()
        one = {"uri": str(tmp_path / f"{dim}.nc"), "time": {},
               "variables": {"precipitation": {"name": "v"}}}  # fmt: skip
        check_source(Source.model_validate(entry | one), faults)
        assert len(faults.faults) == 1
        assert hint in str(faults.faults[0])
