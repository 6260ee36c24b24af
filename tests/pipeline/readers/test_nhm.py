"""Hydrologic units, the network upstream of each gauge, and basins as locations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.catalog.catalog import Catalog, read_catalog, read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.readers.common.drainage import area_means, basin_groups, upstream_units
from pipeline.sources.locations import check_locations_source, read_locations_source
from stefaland.folds.split import Locations, make_folds
from tests.conftest import REGISTRY, ROOT

# 1 → 2 → 4 → 0 and 3 → 4; 5 → 0
TO = np.array([2, 4, 4, 0, 0])
UNIT_SEGMENT = np.array([1, 1, 2, 3, 4, 5, 0])
ACRES = np.array([1000.0, 3000.0, 100.0, 2000.0, 4000.0, 600.0, 800.0])
ACRES_A_SQUARE_MILE = 640.0


def test_units_upstream_of_each_gauge() -> None:
    found = upstream_units(TO, UNIT_SEGMENT, {"head": 1, "mid": 2, "other": 3, "end": 4, "own": 5})
    assert {gauge: units.tolist() for gauge, units in found.items()} == {
        "head": [0, 1], "mid": [0, 1, 2], "other": [3], "end": [0, 1, 2, 3, 4], "own": [5]
    }  # fmt: skip


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_upstream_is_downstream_walked_backwards(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    # Each segment flows to a later one or out, so that there is no loop.
    to = [data.draw(st.sampled_from([0, *range(i + 1, n + 1)])) for i in range(1, n + 1)]
    drains = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=10))
    found = upstream_units(np.array(to), np.array(drains), {str(s): s for s in range(1, n + 1)})

    def passed(segment: int) -> set[int]:
        return {segment} | passed(to[segment - 1]) if segment else set()

    for gauge in range(1, n + 1):
        expected = [unit for unit, segment in enumerate(drains) if gauge in passed(segment)]
        assert found[str(gauge)].tolist() == expected


def test_gauges_that_share_a_unit_share_a_group() -> None:
    found = upstream_units(TO, UNIT_SEGMENT, {"head": 1, "mid": 2, "other": 3, "own": 5})
    assert basin_groups(found) == {"mid": "mid", "head": "mid", "other": "other", "own": "own"}
    chained = {"a": np.array([1, 2, 3]), "b": np.array([5, 6]), "c": np.array([3, 5])}
    assert len(set(basin_groups(chained).values())) == 1


@given(
    st.dictionaries(
        st.integers(0, 99).map(str), st.sets(st.integers(0, 15), min_size=1, max_size=5),
        min_size=1, max_size=8,
    )
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_groups_are_the_connected_parts(basins: dict[str, set[int]]) -> None:
    group = basin_groups({gauge: np.array(sorted(units)) for gauge, units in basins.items()})
    parts: list[set[int]] = []
    for units in basins.values():
        joined = [part for part in parts if part & units]
        parts = [part for part in parts if not part & units] + [units.union(*joined)]
    assert len(set(group.values())) == len(parts)
    for one, units in basins.items():
        for other, others in basins.items():
            together = any(units <= part and others <= part for part in parts)
            assert (group[one] == group[other]) == together


def test_means_are_weighted_by_area_and_skip_missing_values() -> None:
    units = xr.Dataset(
        {
            "area": ("cell", [1.0, 3.0, 2.0]),
            "rain": (("time", "cell"), [[4.0, 8.0, 1.0], [4.0, np.nan, 1.0], [np.nan] * 3]),
        }
    )
    means = area_means(units, [np.array([0, 1]), np.array([2])])
    np.testing.assert_allclose(means["area"][1], [4, 2])
    np.testing.assert_allclose(means["rain"][1], [[7, 1], [4, 1], [np.nan, np.nan]])


def parameters() -> dict[str, np.ndarray]:
    """Return parameters of seven units; aspects of units 0 and 1 lie on either side of north."""
    n = len(ACRES)
    return {
        "nhm_id": np.arange(n) + 101, "hru_area": ACRES, "hru_lat": np.linspace(40, 41, n),
        "hru_lon": np.linspace(-75, -74, n), "hru_elev": np.arange(n) * 100.0,
        "hru_slope": np.full(n, 0.1), "hru_aspect": np.array([350.0, 10, 90, 180, 270, 0, 0]),
        "soil_moist_max": np.full(n, 4.0), "soil_type": np.array([1, 2, 2, 3, 1, 2, 2]),
        "cov_type": np.array([0, 1, 2, 3, 4, 3, 3]), "hru_percent_imperv": np.full(n, 0.1),
        "dprst_frac": np.zeros(n), "covden_sum": np.full(n, 0.5), "covden_win": np.full(n, 0.2),
    }  # fmt: skip


def network(folder: Path, *, omit: str = "", **options: Any) -> tuple[Source, Source]:
    """Return the `units` and `basins` entries of a small network in US units, gauges 11 to 17."""
    n, time = len(ACRES), np.arange("1979-01-01", "1979-01-04", dtype="M8[D]").astype("M8[ns]")
    kept = {k: ("nhm_id", v) for k, v in parameters().items() if k != omit}
    xr.Dataset(kept).to_netcdf(folder / "hru.nc")
    xr.Dataset({"hru_segment": ("nhm_id", UNIT_SEGMENT)}).to_netcdf(folder / "channel.nc")
    gauges = {"11": 1, "12": 2, "13": 3, "14": 4, "15": 5}
    names = np.array([*gauges])
    xr.Dataset(
        {"tosegment": ("seg", TO), "poi_gage_id": ("poi", names),
         "poi_gage_segment": ("poi", list(gauges.values()))}
    ).to_netcdf(folder / "segments.nc")  # fmt: skip
    rain = np.tile(np.arange(n) / 10.0, (3, 1))
    for name, values in {"prcp": rain, "tmax": np.full((3, n), 50.0)}.items():
        da = xr.DataArray(values, {"time": time, "nhm_id": np.arange(n)}, ("time", "nhm_id"))
        da.to_dataset(name=name).to_netcdf(folder / f"{name}.nc")
    # 12 states twice its area, 15 has a gap, 16 is on no segment.
    units = {"11": ACRES[:2], "12": 2 * ACRES[:3], "13": ACRES[3:4], "14": ACRES[:5],
             "15": ACRES[5:6], "16": ACRES[6:]}  # fmt: skip
    flow = np.full((6, 3), 100.0)
    flow[4, 1] = np.nan
    xr.Dataset(
        {"discharge": (("poi_id", "time"), flow),
         "drainage_area": ("poi_id", [a.sum() / ACRES_A_SQUARE_MILE for a in units.values()]),
         "latitude": ("poi_id", np.full(6, 40.5)), "longitude": ("poi_id", np.full(6, -74.5))},
        {"poi_id": [*units], "time": time},
    ).to_netcdf(folder / "flow.nc")  # fmt: skip
    settings = {
        "forcings": {"precipitation": "prcp.nc", "air_temperature_max": "tmax.nc"},
        "units": {"precipitation": "inch/day", "air_temperature_max": "degF"},
        "attributes": ["hru.nc"], "channel": "channel.nc", "segments": "segments.nc",
        "observations": "flow.nc", "max_units": 4, **options,
    }  # fmt: skip
    entries = [
        Source.model_validate(
            {"name": driver, "uri": str(folder), "driver": driver, "options": settings}
        )
        for driver in ("units", "basins")
    ]
    return entries[0], entries[1]


def test_units_of_a_network_in_canonical_units(tmp_path: Path) -> None:
    units = read_locations_source(network(tmp_path)[0], read_variables())
    assert units["cell"].values.tolist() == [101, 102, 104, 105, 106, 107]
    assert units.attrs["left_out_slivers"] == 1
    np.testing.assert_allclose(units["precipitation"][0, :3], [0, 2.54, 7.62], rtol=1e-6)
    np.testing.assert_allclose(units["air_temperature_max"], 10.0, atol=1e-5)
    np.testing.assert_allclose(units["area"], np.delete(ACRES, 2) * 0.0040468564224, rtol=1e-6)
    np.testing.assert_allclose(units["slope"], 5.710593, rtol=1e-6)
    np.testing.assert_allclose(units["soil_water_capacity"], 101.6, rtol=1e-6)
    assert units["sandy_soil"].values.tolist() == [1, 0, 0, 1, 0, 0]
    assert units["cover_trees"].values.tolist() == [0, 0, 1, 1, 1, 1]
    assert all(da.dtype == np.float32 for da in units.data_vars.values())
    assert units["group"].values.tolist() == ["11", "11", "13", "unit 105", "unit 106", "unit 107"]


def test_basins_of_a_network_and_why_others_are_left_out(tmp_path: Path) -> None:
    basins = read_locations_source(network(tmp_path)[1], read_variables())
    assert basins["cell"].values.tolist() == [11, 13]
    assert basins["group"].values.tolist() == ["11", "13"]
    reasons = basins.attrs["left_out_gauges"]
    assert set(reasons) == {"12", "14", "15", "16"}
    assert "0.50 times its drainage area" in reasons["12"]
    assert "5 units" in reasons["14"]
    assert "gaps" in reasons["15"]
    assert "no unit" in reasons["16"]
    # 1000 and 3000 acres; slivers count in means; 350° and 10° lie close to north, not south.
    first = basins.sel(cell=11)
    np.testing.assert_allclose(first["precipitation"], 0.75 * 2.54, rtol=1e-6)
    assert float(first["elevation"]) == pytest.approx(75.0)
    assert float(first["aspect_cosine"]) == pytest.approx(np.cos(np.deg2rad(10)), rel=1e-6)
    assert float(first["aspect_sine"]) == pytest.approx(0.5 * np.sin(np.deg2rad(10)), rel=1e-5)
    # 100 ft3 s-1 off 4000 acres: a cfs-day is 1.98347 acre feet, so 0.049587 ft a day.
    np.testing.assert_allclose(first["streamflow"], 15.114, rtol=1e-4)
    assert first["streamflow"].attrs["units"] == "mm/day"


def refusal(source: Source) -> str:
    with pytest.raises(InputError) as caught:
        read_locations_source(source, read_variables())
    return str(caught.value)


def test_refusals_name_the_file_and_the_nearest_name(tmp_path: Path) -> None:
    assert 'no parameter "soil_type"' in refusal(network(tmp_path, omit="soil_type")[0])
    text = refusal(network(tmp_path, channel="chanel.nc")[1])
    assert "chanel.nc" in text
    assert "no such file" in text
    assert 'Did you mean "min_acres"?' in refusal(network(tmp_path, min_acre=5)[0])
    wrong = {"precipitation": "degF", "air_temperature_max": "degF"}
    assert 'units "degF"' in refusal(network(tmp_path, units=wrong)[0])
    wrong = {"precipitation": "inch/day", "air_temperature_max": "K"}
    assert "-95 to 65" in refusal(network(tmp_path, units=wrong)[0])
    assert "no usable gauge" in refusal(_no_gauge(tmp_path))


def _no_gauge(tmp_path: Path) -> Source:
    source = network(tmp_path)[1]
    with xr.open_dataset(tmp_path / "flow.nc") as ds:
        gaps = ds.load()
    gaps["discharge"][:] = np.nan
    gaps.to_netcdf(tmp_path / "gaps.nc")
    return source.model_copy(update={"options": {**source.options, "observations": "gaps.nc"}})


def test_other_times_than_the_forcings_are_refused(tmp_path: Path) -> None:
    source = network(tmp_path)[1]
    with xr.open_dataset(tmp_path / "flow.nc") as ds:
        later = ds.load().assign_coords(time=ds["time"] + np.timedelta64(1, "D"))
    later.to_netcdf(tmp_path / "later.nc")
    options = {**source.options, "observations": "later.nc"}
    assert "times from 1979-01-02" in refusal(source.model_copy(update={"options": options}))


@cache
def delaware() -> Catalog:
    return read_catalog([ROOT / "catalogs" / "delaware.yml"], {"data": REGISTRY})


@cache
def tables() -> tuple[xr.Dataset, xr.Dataset]:
    """Return the tables of units and basins of the Delaware case."""
    units, basins = (
        read_locations_source(delaware()[name], read_variables())
        for name in ("drb_units", "drb_basins")
    )
    return units, basins


@pytest.mark.registry
def test_the_delaware_basins() -> None:
    units, basins = tables()
    assert basins.sizes["cell"] == 87
    assert units.sizes["cell"] == 677
    assert len(basins.attrs["left_out_gauges"]) == 168 - 87
    # 1979 was wet and 1980 a drought year; what runs off is less than what falls.
    rain = basins["precipitation"].groupby("time.year").sum("time").mean("cell").values
    flow = basins["streamflow"].groupby("time.year").sum("time").mean("cell").values
    assert rain[0] == pytest.approx(1400, abs=80)
    assert rain[1] == pytest.approx(930, abs=80)
    assert (flow < rain).all()
    assert flow[0] > 1.5 * flow[1]
    # Lehighton to Easton: the Lehigh's gauges are nested, so they share a group.
    groups = dict(zip(basins["cell"].values.tolist(), basins["group"].values.tolist(), strict=True))
    assert groups[1451000] == groups[1453000] == groups[1454700]
    assert set(groups.values()) <= set(units["group"].values.tolist())


@pytest.mark.registry
def test_the_delaware_gauges_left_out_say_why() -> None:
    reasons = list(tables()[1].attrs["left_out_gauges"].values())
    assert sum("gaps" in reason for reason in reasons) == 67
    assert sum("times its drainage area" in reason for reason in reasons) == 10
    assert sum("several sub-basins" in reason for reason in reasons) == 4


@pytest.mark.registry
def test_three_delaware_folds_share_no_unit() -> None:
    _, basins = tables()
    folder = Path(delaware()["drb_basins"].uri)
    with (
        xr.open_dataset(folder / "parameters_dis_seg.nc") as segments,
        xr.open_dataset(folder / "parameters_PRMSChannel.nc") as channel,
    ):
        ids = [int(name) for name in segments["poi_gage_id"].values]
        outlets = dict(zip(ids, segments["poi_gage_segment"].values.tolist(), strict=True))
        upstream = upstream_units(
            segments["tosegment"].values, channel["hru_segment"].values, outlets
        )
    cell = basins["cell"].values
    lonlat = np.stack([basins["lon"].values, basins["lat"].values], 1)
    group = basins["group"].values
    assert len(np.unique(group)) == 33
    folds = make_folds("groups", Locations(cell, lonlat, group), k=3, seed=7)
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == sorted(cell.tolist())
    for fold in folds:
        assert 20 <= fold.test.size <= 40
        tested = {unit for gauge in fold.test.tolist() for unit in upstream[gauge].tolist()}
        for gauge in [*fold.train.tolist(), *fold.validation.tolist()]:
            assert tested.isdisjoint(upstream[gauge].tolist())


def _changed(source: Source, folder: Path, **files: Any) -> Source:
    """Return the entry on a copy of its folder with changed `files` (stem → function)."""
    for path in Path(source.uri).iterdir():
        (folder / path.name).symlink_to(path)
    for stem, change in files.items():
        path = folder / f"{stem}.nc"
        ds = change(xr.load_dataset(path))
        path.unlink()
        ds.to_netcdf(path)
    return source.model_copy(update={"uri": str(folder)})


def _faults(source: Source) -> str:
    faults = Faults()
    check_locations_source(source, read_variables(), faults)
    return "\n".join(map(str, faults.faults))


@pytest.mark.registry
def test_a_sound_network_has_no_faults() -> None:
    assert _faults(delaware()["drb_basins"]) == ""


@pytest.mark.registry
def test_all_missing_files_are_named_together(tmp_path: Path) -> None:
    source = delaware()["drb_units"].model_copy(update={"uri": str(tmp_path)})
    text = _faults(source)
    assert all(name in text for name in ("prcp.nc", "tmin.nc", "parameters_dis_seg.nc"))


@pytest.mark.registry
def test_a_forcing_without_units_is_a_fault_of_the_entry() -> None:
    source = delaware()["drb_units"]
    units = {k: v for k, v in source.options["units"].items() if k != "precipitation"}
    broken = source.model_copy(update={"options": {**source.options, "units": units}})
    assert "no units for precipitation" in _faults(broken)


@pytest.mark.registry
def test_files_without_their_variables_are_named(tmp_path: Path) -> None:
    source = delaware()["drb_units"]
    (tmp_path / "a").mkdir()
    text = _faults(_changed(source, tmp_path / "a", prcp=lambda ds: ds.isel(time=0, drop=True)))
    assert "prcp.nc" in text
    assert "a variable of (time, unit)" in text
    (tmp_path / "b").mkdir()
    renamed = _changed(
        source, tmp_path / "b", drb_2yr_gage_poi_obs=lambda ds: ds.rename(discharge="flow")
    )
    text = _faults(renamed)
    assert "drb_2yr_gage_poi_obs.nc" in text
    assert "no discharge" in text


@pytest.mark.registry
def test_discharge_may_lie_either_way(tmp_path: Path) -> None:
    source = delaware()["drb_basins"]
    turned = _changed(source, tmp_path, drb_2yr_gage_poi_obs=lambda ds: ds.transpose("time", ...))
    original, other = (read_locations_source(s, read_variables()) for s in (source, turned))
    xr.testing.assert_identical(original, other)
