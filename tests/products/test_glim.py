"""GLiM as distributed: a geodatabase in Eckert IV, classes as texts, borders that overlap."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
from shapely.geometry import box

from tests.products.common import cube, faults, same

METRES = 1e5
"""Side of the cells of the target grid, in the equal-area projection of the map."""


def make_glim(folder: Path) -> None:
    """Polygons on squares of 100 km: 5 columns and 1 row, of which the last has no class."""
    parts = {
        "suss__": box(0, 40, 1, 41), "scpu__": box(1, 40, 1.25, 41), "vbpy__": box(1.25, 40, 2, 41),
        # two countries that both have this quarter of a square
        "mtam__": box(2, 40, 2.5, 41), "pa____": box(2.25, 40, 3, 41),
        "wb____": box(3, 40, 3.5, 41), "nd____": box(3.5, 40, 5, 41),
    }  # fmt: skip
    outlines = geopandas.GeoSeries(list(parts.values()), crs="ESRI:54012")
    frame = geopandas.GeoDataFrame(
        {"IDENTITY_": [f"XXX{i}" for i in range(len(parts))], "Litho": list(parts),
         "xx": [code[:2] for code in parts]},
        geometry=outlines.scale(METRES, METRES, origin=(0, 0)),
    )  # fmt: skip
    folder.mkdir()
    frame.to_file(folder / "LiMW_GIS 2015.gdb", driver="OpenFileGDB", layer="GLiM_export")


def test_fractions_of_classes_are_exact(tmp_path: Path) -> None:
    make_glim(tmp_path / "glim")
    found = cube("glim", tmp_path, (0, 40 * METRES, 5 * METRES, 41 * METRES), METRES,
                 crs="ESRI:54012")  # fmt: skip
    fraction = {name: found[f"lithology_fraction_{name}"].values[0] for name in
                ("unconsolidated", "carbonate", "basic_volcanic", "metamorphic", "acid_plutonic",
                 "water", "ice")}  # fmt: skip
    nan = np.nan
    # Where two outlines overlap, both count: 0.5 and 0.75 of 1.25.
    for name, wanted in {
        "unconsolidated": [1, 0, 0, 0, nan], "carbonate": [0, 0.25, 0, 0, nan],
        "basic_volcanic": [0, 0.75, 0, 0, nan], "metamorphic": [0, 0, 0.4, 0, nan],
        "acid_plutonic": [0, 0, 0.6, 0, nan], "water": [0, 0, 0, 1, nan],
        "ice": [0, 0, 0, 0, nan],
    }.items():  # fmt: skip
        np.testing.assert_allclose(fraction[name], wanted, atol=1e-6, err_msg=name)
    same(found["lithology_coverage"], [[1, 1, 1, 0.5, 0]])
    assert not faults("glim", tmp_path)


def test_cells_in_degrees(tmp_path: Path) -> None:
    make_glim(tmp_path / "glim")
    found = cube("glim", tmp_path, (0.2, 31.4, 0.6, 31.8), 0.4)
    same(found["lithology_fraction_unconsolidated"], [[1.0]])
