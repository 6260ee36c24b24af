import re

import numpy as np
import pytest
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.cube.cells import read_cells
from pipeline.cube.write import open_cube, write_locations
from tests.cubes import contents


def _sites(n: int = 300, days: int = 400) -> xr.Dataset:
    rng = np.random.default_rng(2)
    flow = rng.gamma(1, 2, (days, n)).astype(np.float32)
    flow[:, :3] = np.nan
    return xr.Dataset(
        {
            "streamflow": (("time", "cell"), flow, {"units": "mm/day"}),
            "slope": ("cell", rng.random(n).astype(np.float32)),
        },
        {
            "time": np.arange("1979-01-01", np.datetime64("1979-01-01") + days).astype("M8[ns]"),
            "cell": np.arange(n) + 1_400_000,
            "lat": ("cell", rng.uniform(38, 42, n)),
            "lon": ("cell", rng.uniform(-76, -74, n)),
            "group": ("cell", np.arange(n) % 7),
            "region": ("cell", np.array([f"région {i % 3}" for i in range(n)])),
        },
        {"source": "test"},
    )


def test_values_and_labels_come_back(tmp_path):
    ds = _sites()
    write_locations(tmp_path / "units.zarr", ds)
    again = open_cube(tmp_path / "units.zarr").load()
    xr.testing.assert_equal(again, ds)
    assert again["streamflow"].attrs == {"units": "mm/day"}
    assert again["streamflow"].dtype == np.float32
    assert again.attrs["source"] == "test"


def test_read_cells_passes_locations_through(tmp_path):
    ds = _sites()
    write_locations(tmp_path / "units.zarr", ds)
    table = read_cells(tmp_path / "units.zarr", ["slope", "streamflow"], np.array([250, 3]))
    assert table["streamflow"].dims == ("cell", "time")
    assert table["cell"].values.tolist() == [1_400_250, 1_400_003]
    np.testing.assert_array_equal(
        table["streamflow"].values, ds["streamflow"].values[:, [250, 3]].T
    )
    assert table["region"].values.tolist() == ["région 1", "région 0"]
    assert read_cells(tmp_path / "units.zarr", ["slope"]).sizes["cell"] == 300


def test_writing_twice_produces_the_same_bytes_and_nothing_else(tmp_path):
    write_locations(tmp_path / "units.zarr", _sites(20))
    first = contents(tmp_path)
    write_locations(tmp_path / "units.zarr", _sites(20))
    assert contents(tmp_path) == first


def test_a_failed_write_leaves_the_old_store(tmp_path, monkeypatch):
    write_locations(tmp_path / "units.zarr", _sites(20))
    first = contents(tmp_path)
    monkeypatch.setattr("zarr.consolidate_metadata", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_locations(tmp_path / "units.zarr", _sites(30))
    assert contents(tmp_path) == first


def test_all_faults_are_reported_together(tmp_path):
    ds = _sites().drop_vars("lat").rename(streamflow="flow").transpose("cell", "time")
    with pytest.raises(InputError) as raised:
        write_locations(tmp_path / "units.zarr", ds)
    assert len(raised.value.faults) == 2
    assert "coordinate lat" in str(raised.value)
    assert "('cell', 'time')" in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["streamflow/c/0/0", "lat/c/0", "time/c/0", "zarr.json"])
def test_a_damaged_store_is_reported_and_not_read(tmp_path, name):
    path = tmp_path / "a.zarr"
    write_locations(path, _sites())
    file = path / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=re.escape(str(path))):
        open_cube(path).load()


def test_lost_times_are_no_times_of_1970(tmp_path):
    path = tmp_path / "a.zarr"
    write_locations(path, _sites())
    (path / "time/c/0").unlink()
    with pytest.raises(InputError, match=r"time/c: found no values.*--restart"):
        open_cube(path)
