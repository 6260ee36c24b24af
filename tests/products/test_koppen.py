"""Köppen-Geiger maps of Beck et al. (2023): GeoTIFFs in one archive, 30 classes, 0 over the sea."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from tests.products.common import cube, faults, same
from tests.products.rasters import raster


def make_koppen(folder: Path) -> None:
    """An archive with the period and others; tropical, cold and polar cells, and the sea."""
    codes = np.array([[1, 2, 26, 29], [3, 3, 15, 30], [0, 0, 0, 4], [0, 0, 0, 0]], np.uint8)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "koppen_geiger_tif.zip", "w") as archive:
        for period, data in (("1991_2020", codes), ("2071_2099/ssp585", np.full_like(codes, 4))):
            name = f"{period}/koppen_geiger_0p00833333.tif"
            archive.write(raster(folder / "made" / name, data, 10, 2, (0.5, 0.5)), name)
        archive.writestr("legend.txt", "    1:  Af   Tropical, rainforest   [0 0 255]\n")


def test_main_classes_and_all_classes(tmp_path: Path) -> None:
    make_koppen(tmp_path / "koppen")
    main = cube("koppen", tmp_path, (10, 0, 12, 2), 1.0)
    nan = np.nan
    # Two by two cells: all tropical; two cold or temperate and two polar; sea; one of four is land.
    same(main["koppen_fraction_tropical"], [[1, 0], [nan, nan]])
    same(main["koppen_fraction_continental"], [[0, 0.25], [nan, nan]], rtol=1e-3)
    same(main["koppen_fraction_temperate"], [[0, 0.25], [nan, nan]], rtol=1e-3)
    same(main["koppen_fraction_polar"], [[0, 0.5], [nan, nan]], rtol=1e-3)
    all_of_them = cube("koppen", tmp_path, (10, 0, 12, 2), 1.0, sources=["koppen_classes"])
    same(all_of_them["koppen_fraction_aw"], [[0.5, 0], [nan, nan]], rtol=1e-3)
    same(all_of_them["koppen_fraction_dfb"], [[0, 0.25], [nan, nan]], rtol=1e-3)
    assert sum(str(name).startswith("koppen_fraction_") for name in all_of_them.data_vars) == 30
    assert not faults("koppen", tmp_path, "koppen", "koppen_classes")
