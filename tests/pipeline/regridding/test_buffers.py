from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr

from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding import buffers
from pipeline.regridding.regrid import regrid

SHAPE = (5, 1024, 1024)
"""20 MiB of float32."""


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_kept", [])


def test_the_next_array_takes_the_memory_that_the_last_one_left() -> None:
    array = buffers.empty(SHAPE, np.float32)
    was = address(array)
    del array
    assert buffers.kept_bytes() == 5 << 22
    again = buffers.empty((5, 1024, 1000), np.float32)
    assert address(again) == was
    assert again.shape == (5, 1024, 1000)
    assert again.flags.c_contiguous
    assert again.flags.writeable
    assert buffers.kept_bytes() == 0


def test_memory_stays_as_long_as_a_view_of_it_lives() -> None:
    array = buffers.empty(SHAPE, np.float32)
    array[:] = 7
    view = xr.DataArray(array, dims=("time", "y", "x")).isel(time=0, y=slice(3, 9)).values
    del array
    assert buffers.kept_bytes() == 0
    buffers.empty(SHAPE, np.float32)[:] = 8
    assert (view == 7).all()
    del view
    assert buffers.kept_bytes() == 2 * (5 << 22)


def test_memory_of_another_size_goes_back_to_the_system() -> None:
    del_me = buffers.empty(SHAPE, np.float32)
    del del_me
    larger = buffers.empty((2 * SHAPE[0], *SHAPE[1:]), np.float32)
    assert buffers.kept_bytes() == 0
    assert larger.nbytes == 2 * (5 << 22)


def test_small_arrays_are_left_to_the_c_library_and_the_sum_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert buffers.empty((10,), np.float64).flags.owndata
    monkeypatch.setattr(buffers, "MAX_KEPT", 30 << 20)
    two = [buffers.empty(SHAPE, np.float32) for _ in range(2)]
    del two
    assert buffers.kept_bytes() == 5 << 22


def test_a_result_that_is_kept_is_not_written_over_by_the_next() -> None:
    axis = {"y": 49.5 - np.arange(50.0), "x": -119.5 + np.arange(60.0)}
    values = np.random.default_rng(0).random((80, 50, 60), np.float32)
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (-119, 1, -61, 49), 0.2)

    def result(field: np.ndarray) -> xr.DataArray:
        ds = xr.Dataset({"t": (("time", "y", "x"), field)}, coords=axis)
        ds["spatial_ref"] = grid.coords()["spatial_ref"]
        return regrid(ds, grid, "bilinear").t

    first = result(values)
    assert first.nbytes > buffers.SMALLEST
    copy = first.values.copy()
    for _ in range(3):
        other = result(values + 1)
    np.testing.assert_array_equal(first.values, copy)
    assert not np.array_equal(other.values, copy)


def test_a_result_at_the_end_of_the_program_prints_nothing() -> None:
    code = (
        "import numpy as np; from pipeline.regridding import buffers;"
        "kept = buffers.empty((5 << 22,), np.uint8); ring = [kept]; ring.append(ring)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
