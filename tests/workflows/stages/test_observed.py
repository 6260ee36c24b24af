"""Cells with a target in the period of each part of a fold, and with enough of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from pipeline.cube.cells import any_valid, valid_fraction
from pipeline.cube.locations import write_locations
from pipeline.cube.open import open_cube
from stefaland.folds.split import Fold
from workflows.stages.stats import _observed

CELLS = np.array([3, 5, 8, 9])


def cube(folder: Path) -> xr.Dataset:
    """Eight days at four cells: all, two of the first four, one of the last four, no value."""
    flow = np.full((8, 4), np.nan, np.float32)
    flow[:, 0] = flow[1:3, 1] = flow[6, 2] = 1.0
    time = np.datetime64("2001-01-01", "ns") + np.arange(8) * np.timedelta64(1, "D")
    at = {"lat": ("cell", np.zeros(4)), "lon": ("cell", np.arange(4.0))}
    write_locations(folder / "c.zarr", xr.Dataset(
        {"flow": (("time", "cell"), flow), "area": ("cell", [1.0, np.nan, 2, 3])},
        {"time": time, "cell": CELLS, **at},
    ))  # fmt: skip
    return open_cube(folder / "c.zarr")


def test_a_part_has_cells_with_enough_targets_in_its_period(tmp_path: Path) -> None:
    ds = cube(tmp_path)
    fold = Fold(
        name="group0", kind="groups", train=CELLS[:2], validation=CELLS[2:3], test=CELLS[3:],
        train_period=("2001-01-01", "2001-01-04"), test_period=("2001-01-05", "2001-01-08"),
    )  # fmt: skip
    index = ds[["cell"]]

    def found(least: float) -> dict[str, list[int]]:
        known = _observed(ds, index, ["flow"], fold, np.zeros(4, bool), least)
        return {part: cells.tolist() for part, cells in known.items()}

    assert found(0.0) == {"train": [3, 5], "validation": [3, 5], "test": [3, 8]}
    assert found(0.25) == {"train": [3, 5], "validation": [3, 5], "test": [3, 8]}
    assert found(0.3) == {"train": [3, 5], "validation": [3, 5], "test": [3]}
    assert found(0.6) == {"train": [3], "validation": [3], "test": [3]}


def test_fractions_and_masks_agree(tmp_path: Path) -> None:
    ds = cube(tmp_path)
    assert valid_fraction(ds["flow"]).tolist() == [1.0, 0.25, 0.125, 0.0]
    for name in ("flow", "area"):
        np.testing.assert_array_equal(valid_fraction(ds[name]) > 0, any_valid(ds[name]))
