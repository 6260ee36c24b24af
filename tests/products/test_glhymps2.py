"""GLHYMPS 2.0 as distributed: a shapefile of equal area, columns with cut names, times 100."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
from shapely.geometry import box

from tests.products.common import cube, faults, same

METRES = 1e5


def make_glhymps2(folder: Path) -> None:
    """Polygons on squares of 100 km: two kinds of rock, permafrost, and no values."""
    outlines = geopandas.GeoSeries(
        [box(0, 30, 0.75, 31), box(0.75, 30, 2, 31), box(2, 30, 3, 31), box(3, 30, 4, 31)],
        crs="ESRI:54034",
    )
    frame = geopandas.GeoDataFrame(
        {"OBJECTID_1": [1, 2, 3, 4], "IDENTITY_": ["CHN1", "CHN2", "RUS1", "GRL1"],
         "logK_Ice_x": [-1180, -1520, -2000, 0], "logK_Ferr_": [-1180, -1520, -1250, 0],
         "Porosity_x": [6, 19, 22, 0], "K_stdev_x1": [150, 250, 180, 0],
         "GUM_K": [1, 1, 2, 0], "Prmfrst": [0, 0, 1, 0]},
        geometry=outlines.scale(METRES, METRES, origin=(0, 0)),
    )  # fmt: skip
    folder.mkdir()
    frame.to_file(folder / "GLHYMPS.shp")


def test_means_by_area_of_logarithms_and_percentages(tmp_path: Path) -> None:
    make_glhymps2(tmp_path / "glhymps2")
    found = cube("glhymps2", tmp_path, (0, 30 * METRES, 4 * METRES, 31 * METRES), METRES,
                 crs="ESRI:54034")  # fmt: skip
    same(found["log_permeability"],
         [[-0.75 * 11.8 - 0.25 * 15.2, -15.2, -20.0, np.nan]])  # fmt: skip
    same(found["rock_porosity"], [[0.75 * 0.06 + 0.25 * 0.19, 0.19, 0.22, np.nan]])
    assert not faults("glhymps2", tmp_path)
