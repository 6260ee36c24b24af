"""POLARIS as on its server: tiles of a degree in folders of properties, some as logarithms."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.core.packaged import catalog_path
from pipeline.fetch.listing import remote_files
from pipeline.fetch.order import make_order
from tests.pipeline.fetch.products import fast
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

PLAIN = {
    "sand/mean": (60.0, 20.0), "silt/mean": (30.0, 30.0), "clay/mean": (10.0, 50.0),
    "bd/mean": (1.4, 1.2), "ph/mean": (6.5, 8.0), "theta_s/mean": (0.45, 0.5),
    "theta_r/mean": (0.05, 0.1), "n/mean": (1.5, 1.2),
}  # fmt: skip
LOGARITHMS = {"om/p50": (0.0, 1.0), "ksat/p50": (1.0, -1.0), "alpha/p50": (-1.0, -2.0)}
"""Values of the rows of a tile in the north and in the south."""


def make_polaris(folder: Path) -> None:
    """Two tiles that meet at 80° W; a quarter of that in the east is missing."""
    for name, (west, east) in PLAIN.items():
        tile(folder / name / "0_5" / "lat3536_lon-81-80.tif", -81, np.full((8, 8), west))
        missing = np.full((8, 8), east)
        missing[4:, 4:] = -9999
        tile(folder / name / "0_5" / "lat3536_lon-80-79.tif", -80, missing)
    for name, (north, south) in LOGARITHMS.items():
        data = np.repeat([[north]] * 4 + [[south]] * 4, 8, 1)
        tile(folder / name / "0_5" / "lat3536_lon-81-80.tif", -81, data)
        tile(folder / name / "0_5" / "lat3536_lon-80-79.tif", -80, np.full((8, 8), -9999))


def tile(path: Path, west: int, data: np.ndarray) -> None:
    raster(path, data.astype("f4"), west, 36, (1 / 8, 1 / 8), nodata=-9999)


def test_properties_of_both_tiles(tmp_path: Path) -> None:
    make_polaris(tmp_path / "polaris")
    found = cube("polaris", tmp_path, (-81.0, 35.0, -79.0, 36.0), 0.5)
    wanted = {"sand": (0.6, 0.2), "silt": (0.3, 0.3), "clay": (0.1, 0.5), "soil_ph": (6.5, 8),
              "bulk_density": (1.4, 1.2), "saturated_water_content": (0.45, 0.5),
              "residual_water_content": (0.05, 0.1), "van_genuchten_n": (1.5, 1.2)}  # fmt: skip
    for name, (west, east) in wanted.items():
        same(found[name], [[west, west, east, east], [west, west, east, np.nan]])
    assert not faults("polaris", tmp_path)


def test_logarithms_are_raised_to_powers_before_their_mean(tmp_path: Path) -> None:
    make_polaris(tmp_path / "polaris")
    found = cube("polaris", tmp_path, (-81.0, 35.0, -79.0, 36.0), 1.0)
    # The two halves of a tile are nearly as large as each other: their shares are areas.
    south, middle, north = np.sin(np.deg2rad([35, 35.5, 36]))
    upper, lower = (north - middle) / (north - south), (middle - south) / (north - south)
    # 1 cm/h is 240 mm/day.
    same(found["saturated_conductivity"], [[240 * (10 * upper + 0.1 * lower), np.nan]])
    same(found["organic_matter"], [[(1 * upper + 10 * lower) / 100, np.nan]])
    same(found["van_genuchten_alpha"], [[0.1 * upper + 0.01 * lower, np.nan]])


def test_files_of_an_order_are_named_by_their_edges(tmp_path: Path) -> None:
    order = make_order("polaris", tmp_path, catalog=str(catalog_path("polaris")),
                       variables=["saturated_conductivity"],
                       bounds=(-80.5, 35.2, -79.8, 35.9))  # fmt: skip
    found = [str(file.path.relative_to(tmp_path)) for file in remote_files(order, fast())]
    assert found == [
        "polaris/ksat/p50/0_5/lat3536_lon-80-79.tif", "polaris/ksat/p50/0_5/lat3536_lon-81-80.tif"
    ]  # fmt: skip
