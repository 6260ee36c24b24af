"""Ranges in catalogs, and a raster of 64 embedding bands as one static group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_bounds

from pipeline.catalog.catalog import read_catalog, read_variables
from pipeline.catalog.numbered import numbered
from pipeline.core.errors import Faults, InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.regridding.regrid import regrid
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import check_source, open_source


def test_numbers_run_along_with_leading_zeros() -> None:
    faults = Faults()
    found = numbered({"a_[08-10]": {"name": "band_[1-3]", "units": "1"}, "b": 2}, "x", faults)
    assert not faults.faults
    assert found == {
        "a_08": {"name": "band_1", "units": "1"},
        "a_09": {"name": "band_2", "units": "1"},
        "a_10": {"name": "band_3", "units": "1"},
        "b": 2,
    }


def test_ranges_of_other_lengths_are_refused() -> None:
    faults = Faults()
    numbered({"a_[0-3]": {"name": "band_[1-3]"}, "b_[3-1]": {}}, "c.yml", faults)
    with pytest.raises(InputError) as raised:
        faults.raise_if_any()
    assert "a range of 4 numbers" in str(raised.value)
    assert "an ascending range" in str(raised.value)


def test_a_range_that_would_fill_the_memory_is_refused() -> None:
    faults = Faults()
    found = numbered({"a_[0-5999]": 1, "b_[0-5999]": 1, "c_[1-999999999]": 1}, "c.yml", faults)
    assert len(found) == 6000
    assert [fault.where for fault in faults.faults] == [
        "c.yml: b_[0-5999]", "c.yml: c_[1-999999999]"
    ]  # fmt: skip


def test_an_embedding_raster_is_a_static_group(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(64, 6, 8)).astype(np.float32)
    with rasterio.open(
        tmp_path / "e.tif", "w", driver="GTiff", count=64, height=6, width=8, dtype="float32",
        crs="EPSG:4326", transform=from_bounds(0, 40, 4, 43, 8, 6), nodata=np.nan,
    ) as file:  # fmt: skip
        file.write(values)
    (tmp_path / "c.yml").write_text(
        "e:\n  uri: ${data}/e.tif\n  driver: raster\n  method: mean\n"
        '  variables: {"embedding_[00-63]": {name: "band_[1-64]", units: "1"}}\n'
    )
    source = read_catalog([tmp_path / "c.yml"], {"data": tmp_path})["e"]
    variables = read_variables()
    faults = Faults()
    check_source(source, faults, variables)
    faults.raise_if_any()
    assert {variables[name].group for name in source.variables} == {"embedding"}
    ds = canonicalise(open_source(source), source, variables)
    grid = TargetGrid.from_bounds("g", "EPSG:4326", (0, 40, 4, 43), 1.0)
    result = regrid(ds, grid, "mean")
    np.testing.assert_allclose(
        result["embedding_41"], values[41].reshape(3, 2, 4, 2).mean((1, 3)), rtol=2e-2, atol=1e-2
    )
