import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.provenance import (
    file_stamp,
    fingerprint,
    path_stamp,
    provenance,
    versions,
)
from pipeline.execution.cluster import ClusterConfig
from tests.cubes import GRID

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(), plain, max_size=4))
def test_order_of_keys_does_not_matter(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@pytest.mark.parametrize(
    "a, b",
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 0.1}, {"a": float(np.nextafter(0.1, 1))}),
        ([1, 2], [2, 1]),
        ({"a": [1]}, {"a": 1}),
        (None, ""),
        (float("nan"), float("inf")),
        (np.zeros(3), np.zeros((3, 1))),
        (np.zeros(3), np.ones(3)),
        (ClusterConfig(), ClusterConfig(workers=2)),
        (GRID, GRID.window(slice(0, 10), slice(0, 10))),
    ],
)
def test_different_settings_differ(a, b):
    assert fingerprint(a) != fingerprint(b)


def test_the_same_in_another_process():
    @dataclass
    class Settings:
        path: Path
        names: frozenset[str]

    here = fingerprint(Settings(Path("a/b"), frozenset({"x", "y", "z"})))
    code = (
        "from pathlib import Path; from dataclasses import make_dataclass as m;"
        "from pipeline.core.provenance import fingerprint as f;"
        "print(f(m('S', ['path', 'names'])(Path('a/b'), {'z', 'y', 'x'})))"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONHASHSEED": "5", "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert there.stdout.strip() == here


def test_provenance_is_json_and_does_not_tell_the_time():
    first = provenance({"seed": 7, "roots": {"data": Path("data")}}, {"dem": {"units": "m"}})
    assert first == provenance(
        {"seed": 7, "roots": {"data": Path("data")}}, {"dem": {"units": "m"}}
    )
    assert first["config"]["roots"]["data"] == "data"
    assert first["sources"]["dem"]["units"] == "m"
    assert {"python", "numpy", "zarr", "xarray"} <= set(versions())


def test_file_stamps_follow_the_files(tmp_path):
    for year in (2000, 2001):
        (tmp_path / f"rain_{year}.nc").write_bytes(b"x" * (year - 1990))
    pattern = f"{tmp_path}/rain_{{year}}.nc"
    stamps = file_stamp(pattern)
    assert [(name, size) for name, size, _ in stamps] == [
        ("rain_2000.nc", 10),
        ("rain_2001.nc", 11),
    ]
    assert file_stamp(tmp_path / "rain_2000.nc") == stamps[:1]
    (tmp_path / "rain_2001.nc").write_bytes(b"y")
    assert file_stamp(pattern) != stamps
    assert file_stamp(tmp_path / "none_{month:02d}.nc") == []
    assert path_stamp(tmp_path / "rain_2000.nc") == file_stamp(tmp_path / "rain_2000.nc")
    # A path is no pattern, so that the missing days of a long series cost next to nothing.
    assert path_stamp(tmp_path / "rain_*.nc") == []


def test_a_folder_is_stamped_with_the_files_in_it(tmp_path):
    (tmp_path / "a.zarr/c").mkdir(parents=True)
    (tmp_path / "a.zarr/c/0").write_bytes(b"1")
    (tmp_path / "a.zarr/zarr.json").write_bytes(b"22")
    assert [size for _, size, _ in file_stamp(tmp_path / "a.zarr")] == [1, 2]
