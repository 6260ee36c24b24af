"""GPW v4.11: one GeoTIFF in an archive, persons per km2, the sea near the lowest float32."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.products.common import cube, faults, same
from tests.products.rasters import raster

LOWEST = np.finfo(np.float32).min
SEA = -3.4028230607370965e38
"""What the files declare, two numbers of float32 above the lowest."""


def make_gpw(folder: Path, size: str, missing: float, declared: float | None) -> None:
    """Eight cells of 2.5′ (or 30″): people, nobody, and the sea."""
    cell = {"2pt5_min": 1 / 24, "30_sec": 1 / 120}[size]
    data = np.float32([[100, 300, 0, missing], [100, 300, 50, missing]])
    name = f"gpw_v4_population_density_rev11_2020_{size}.tif"
    file = raster(folder / "made" / name, data, 6, 50, (cell, cell), nodata=declared)
    archive = folder / f"gpw-v4-population-density-rev11_2020_{size}_tif.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(file, name)
        zipped.writestr("gpw-v4-documentation-rev11.txt", "documentation")


@pytest.mark.parametrize(
    ("missing", "declared"),
    [(SEA, SEA), (SEA, None), (LOWEST, LOWEST), (LOWEST, None), (-9999, None)],
)
def test_density_of_land(missing: float, declared: float | None, tmp_path: Path) -> None:
    make_gpw(tmp_path / "gpw", "2pt5_min", missing, declared)
    found = cube("gpw", tmp_path, (6, 50 - 1 / 12, 6 + 1 / 6, 50), 1 / 12)["population_density"]
    # Half of the second cell is land, 0 in the north and 50 in the south: a mean over land.
    same(found, [[200, 25]], rtol=1e-3)
    assert found.attrs["units"] == "km-2"
    assert not faults("gpw", tmp_path)


def test_the_fine_map(tmp_path: Path) -> None:
    make_gpw(tmp_path / "gpw", "30_sec", SEA, SEA)
    found = cube("gpw", tmp_path, (6, 50 - 1 / 60, 6 + 1 / 60, 50), 1 / 60, sources=["gpw_30s"])
    same(found["population_density"], [[200]], rtol=1e-3)
