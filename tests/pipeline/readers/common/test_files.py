"""Files of globs and lists become one series by their times, or are refused with both names."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from pipeline.core.errors import Faults, InputError
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_files, open_source
from tests.pipeline.sources.test_bad_sources import VARIABLES, entry, field


def canonical(source: object) -> xr.DataArray:
    return canonicalise(open_source(source), source, VARIABLES)["warmth"]


def write(path: Path, *days: str, step: float = 0.0) -> None:
    ds = field(pd.DatetimeIndex(days))
    (ds.assign(v=ds["v"] + step)).to_netcdf(path)


def test_times_decide_the_order_and_not_names(tmp_path: Path) -> None:
    write(tmp_path / "late_a.nc", "2001-01-03", "2001-01-04")
    write(tmp_path / "run_b.nc", "2001-01-01", "2001-01-02", step=5.0)
    for uri in (tmp_path / "*.nc", tmp_path):
        found = canonical(entry(uri))
        expected = pd.date_range("2001-01-01", periods=4)
        np.testing.assert_array_equal(found["time"].values, expected.values)
        first = canonical(entry(tmp_path / "run_b.nc"))
        np.testing.assert_array_equal(found.values[:2], first.values)
    given = [str(tmp_path / "late_a.nc"), str(tmp_path / "run_b.nc")]
    listed = entry(tmp_path).model_copy(update={"uri": tuple(given)})
    np.testing.assert_array_equal(canonical(listed).values, found.values)


def test_times_that_two_files_share_are_refused_with_both_names(tmp_path: Path) -> None:
    write(tmp_path / "final.nc", "2001-01-01", "2001-01-02")
    write(tmp_path / "preliminary.nc", "2001-01-02", "2001-01-03")
    with pytest.raises(InputError) as error:
        open_source(entry(tmp_path / "*.nc"))
    text = str(error.value)
    assert "2001-01-01 to 2001-01-02 in " in text
    for name in ("final.nc", "preliminary.nc"):
        assert str(tmp_path / name) in text


def test_bytes_that_cannot_be_read_are_those_of_a_named_file(tmp_path: Path) -> None:
    for day in (1, 2):
        field(pd.DatetimeIndex([f"2001-01-0{day}"])).to_netcdf(
            tmp_path / f"v_{day}.nc", encoding={"v": {"zlib": True, "chunksizes": (1, 6, 8)}}
        )
    with h5py.File(tmp_path / "v_2.nc") as file:
        chunk = file["v"].id.get_chunk_info(0)
    whole = bytearray((tmp_path / "v_2.nc").read_bytes())
    whole[chunk.byte_offset : chunk.byte_offset + chunk.size] = b"\xff" * chunk.size
    (tmp_path / "v_2.nc").write_bytes(whole)
    for uri in (tmp_path / "v_?.nc", tmp_path / "v_2.nc"):
        with pytest.raises(InputError) as error:
            canonical(entry(uri))
        assert "found bytes that cannot be read" in str(error.value)
        assert str(tmp_path / "v_2.nc") in str(error.value)
        assert "it is no shorter than it declares" in str(error.value)


def test_files_without_times_need_keys(tmp_path: Path) -> None:
    for day in (1, 2):
        write(tmp_path / f"v_2001-{day:03d}T06.nc", "2001-01-01", step=day)
        ds = xr.load_dataset(tmp_path / f"v_2001-{day:03d}T06.nc").isel(time=0, drop=True)
        ds.to_netcdf(tmp_path / f"v_2001-{day:03d}T06.nc")
    with pytest.raises(InputError, match="2 files without times"):
        open_source(entry(tmp_path / "*.nc"))
    uri = tmp_path / "v_{year}-{doy:03d}T{hour:02d}.nc"
    time = {"years": [2001, 2001], "gaps": "missing", "step": "daily"}
    found = open_source(entry(uri, time=time))
    assert [str(t)[:13] for t in found["time"].values] == ["2001-01-01T06", "2001-01-02T06"]
    assert float(found["v"][1, 0, 0] - found["v"][0, 0, 0]) == 1.0


def test_a_glob_without_matches_is_one_fault(tmp_path: Path) -> None:
    faults = Faults()
    assert not check_files(entry(tmp_path / "era5_*.nc"), faults)
    (fault,) = faults.faults
    assert "era5_*.nc" in fault.where
    assert fault.found == "no file whose name matches"
    assert not check_files(entry(tmp_path / "v_{year}_*.nc", time={"years": [2001, 2030]}), faults)
    assert len(faults.faults) == 2
