"""OpenLandMap as on Zenodo: bytes in units of their own, 255 without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.packaged import catalog_path
from pipeline.fetch.listing import remote_files
from pipeline.fetch.order import make_order
from tests.pipeline.fetch.products import fast
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

VALUES = {
    "sand.wfraction_usda.3a1a1a_m_250m": (60, 20), "clay.wfraction_usda.3a1a1a_m_250m": (10, 50),
    "ph.h2o_usda.4c1a2a_m_250m": (65, 80), "bulkdens.fineearth_usda.4a1h_m_250m": (140, 125),
    "organic.carbon_usda.6a1c_m_250m": (4, 9), "watercontent.33kPa_usda.4b1c_m_250m": (31, 36),
}  # fmt: skip


def make_openlandmap(folder: Path) -> None:
    """Two halves of six maps; the sea in the south is 255, which only some files declare."""
    for name, (west, east) in VALUES.items():
        data = np.repeat([[west] * 4 + [east] * 4], 8, 0).astype("u1")
        data[6:] = 255
        version = "v0.1" if name.startswith("water") else "v0.2"
        path = folder / f"sol_{name}_b0..0cm_1950..2017_{version}.tif"
        nodata = {} if name.startswith("clay") else {"nodata": 255}
        raster(path, data, 5.0, 48.0, (0.25, 0.25), **nodata)


def test_bytes_have_units_of_their_own(tmp_path: Path) -> None:
    make_openlandmap(tmp_path / "openlandmap")
    found = cube("openlandmap", tmp_path, (5.0, 46.0, 7.0, 48.0), 1.0)
    land = found.isel(y=0)
    same(land["sand"], [0.6, 0.2])
    same(land["clay"], [0.1, 0.5])
    same(land["silt"], [0.3, 0.3])
    same(land["bulk_density"], [1.4, 1.25])
    same(land["organic_carbon"], [20, 45])
    same(land["soil_ph"], [6.5, 8.0])
    same(land["field_capacity"], [0.31, 0.36])
    assert not faults("openlandmap", tmp_path)


def test_the_sea_is_missing_in_every_map(tmp_path: Path) -> None:
    make_openlandmap(tmp_path / "openlandmap")
    found = cube("openlandmap", tmp_path, (5.0, 46.0, 7.0, 46.5), 0.5)
    for name in ("sand", "silt", "clay", "bulk_density", "organic_carbon", "soil_ph"):
        same(found[name], np.full((1, 4), np.nan))


def test_files_of_an_order_are_those_of_the_variables(tmp_path: Path) -> None:
    order = make_order("openlandmap", tmp_path, catalog=str(catalog_path("openlandmap")),
                       variables=["clay", "sand"])  # fmt: skip
    found = {file.path.name: file.address for file in remote_files(order, fast())}
    name = "sol_clay.wfraction_usda.3a1a1a_m_250m_b0..0cm_1950..2017_v0.2.tif"
    assert found[name] == f"https://zenodo.org/records/2525663/files/{name}"
    assert len(found) == 2
