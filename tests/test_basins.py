"""Hydrologic units, the network above each gauge, and basins as locations."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from pipeline.basins import area_means, basin_groups, read_locations_source, upstream_units
from pipeline.catalog import read_catalog, read_variables
from tests.conftest import REGISTRY, ROOT

# 1 → 2 → 4 → 0 and 3 → 4; 5 → 0
TO = np.array([2, 4, 4, 0, 0])
UNIT_SEGMENT = np.array([1, 1, 2, 3, 4, 5, 0])


def test_units_upstream_of_each_gauge() -> None:
    found = upstream_units(TO, UNIT_SEGMENT, {"head": 1, "mid": 2, "other": 3, "end": 4, "own": 5})
    assert {gauge: units.tolist() for gauge, units in found.items()} == {
        "head": [0, 1], "mid": [0, 1, 2], "other": [3], "end": [0, 1, 2, 3, 4], "own": [5]
    }  # fmt: skip


def test_gauges_that_share_a_unit_share_a_group() -> None:
    found = upstream_units(TO, UNIT_SEGMENT, {"head": 1, "mid": 2, "other": 3, "own": 5})
    assert basin_groups(found) == {"mid": "mid", "head": "mid", "other": "other", "own": "own"}
    chained = {"a": np.array([1, 2, 3]), "b": np.array([5, 6]), "c": np.array([3, 5])}
    assert len(set(basin_groups(chained).values())) == 1


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


@pytest.mark.registry
def test_the_delaware_basins() -> None:
    catalog = read_catalog([ROOT / "catalogs" / "delaware.yml"], {"data": REGISTRY})
    basins = read_locations_source(catalog["drb_basins"], read_variables())
    units = read_locations_source(catalog["drb_units"], read_variables())
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
