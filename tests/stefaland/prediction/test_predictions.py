"""Predictions as a mapping, as a dataset and as maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from stefaland.model.quantiles import LEVELS
from stefaland.prediction.predictions import MASKED, Predictions

GRID = TargetGrid.from_bounds("small", "EPSG:4326", (8.0, 48.0, 11.0, 50.0), 1.0)
CELLS = np.array([4, 0, 2])
TIME = np.arange("2001-01-01", "2001-01-06", dtype="datetime64[D]").astype("datetime64[ns]")


def predictions(n_targets: int = 1, **settings: object) -> Predictions:
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=(2, 3, 5, n_targets)).astype(np.float32)
    lon, lat = GRID.lonlat()
    return Predictions(
        mean=mean, spread=spread, flag=np.array([0, 1, 2], np.uint8), cell=CELLS,
        lonlat=np.stack([lon.ravel()[CELLS], lat.ravel()[CELLS]], 1), time=TIME,
        target_names=("sand", "silt", "clay")[:n_targets], **settings,
    )  # fmt: skip


def test_it_is_a_mapping_of_its_arrays() -> None:
    found = predictions()
    assert list(found) == ["mean", "spread", "flag"]
    assert len(found) == 3
    assert found["spread"] is found.spread
    assert "quantiles" not in found
    for name in ("quantiles", "cell"):
        with pytest.raises(KeyError, match=name):
            found[name]
    some = replace(found, quantiles=np.zeros((3, 5, 1, 7), np.float32))
    assert list(some) == ["mean", "spread", "flag", "quantiles"]
    assert len(some) == len(dict(some)) == 4


def test_a_dataset_has_every_cell_and_time_in_place() -> None:
    quantiles = np.random.default_rng(1).normal(size=(3, 5, 1, 7)).astype(np.float32)
    found = predictions(quantiles=quantiles)
    ds = found.to_dataset()
    assert ds["mean"].dims == ("time", "cell")
    assert ds["quantiles"].dims == ("quantile", "time", "cell")
    assert ds["quantile"].values.tolist() == list(LEVELS)
    assert ds["target"].item() == "sand"
    one = ds.sel(time=TIME[3]).isel(cell=1)
    assert one["mean"] == found.mean[1, 3, 0]
    assert (one["lon"], one["lat"]) == tuple(found.lonlat[1])
    np.testing.assert_array_equal(one["quantiles"], quantiles[1, 3, 0])
    assert ds["flag"].values.tolist() == [0, 1, 2]


@pytest.mark.parametrize("n_targets", [1, 3])
def test_maps_have_every_cell_at_its_location(n_targets: int) -> None:
    found = predictions(n_targets)
    maps = found.to_grid(GRID)
    assert dict(maps.sizes) == {"time": 5, "y": 2, "x": 3} | (
        {"target": 3} if n_targets == 3 else {}
    )
    for i, cell in enumerate(CELLS):
        at = dict(zip(("y", "x"), divmod(cell, 3), strict=True))
        here = maps.isel(at)
        np.testing.assert_array_equal(here["mean"].values.T.reshape(5, -1), found.mean[i])
        assert here["flag"] == i
        np.testing.assert_allclose((here["x"], here["y"]), found.lonlat[i])
    assert int(maps["mean"].notnull().sum()) == found.mean.size
    assert (maps["flag"].values == MASKED).sum() == 3
    assert maps["flag"].dtype == np.uint8


def test_cells_of_another_grid_are_refused() -> None:
    found = replace(predictions(), cell=np.array([4, 0, 6]))
    with pytest.raises(InputError, match=r"found 6 \(1 such cells\); .* indices below 6"):
        found.to_grid(GRID)
