"""HWSD 2.0 as published: mapping units, and their soils in a database, several to a unit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import InputError
from tests.products.common import cube, faults, same
from tests.products.rasters import raster

COLUMNS = (
    "ID", "HWSD2_SMU_ID", "SEQUENCE", "SHARE", "WRB4", "LAYER", "TOPDEP", "BOTDEP", "COARSE",
    "SAND", "SILT", "CLAY", "BULK", "REF_BULK", "ORG_CARBON", "PH_WATER", "AWC",
)  # fmt: skip
NO_SOIL = (-9,) * 9
LAYERS = [
    # unit 7001: two soils of 70 and 30 %; unit 7002: 60 % soil, 40 % rock; unit 7003: ice
    (1, 7001, 1, 70, "LVha", "D1", 0, 20, 10, 40, 40, 20, 1.4, 1.38, 1.5, 6.0, 150),
    (2, 7001, 1, 70, "LVha", "D3", 40, 60, 20, 30, 40, 30, 1.5, 1.3, 0.5, 6.5, 150),
    (3, 7001, 2, 30, "ARha", "D1", 0, 20, 0, 90, 5, 5, 1.6, 1.7, 0.5, 5.0, 50),
    (4, 7001, 2, 30, "ARha", "D3", 40, 60, 0, 92, 4, 4, 1.7, 1.7, 0.1, 5.5, 50),
    (5, 7002, 1, 60, "CMeu", "D1", 0, 20, 15, 50, 30, 20, 1.3, 1.4, 2.0, 7.0, 100),
    (6, 7002, 2, 40, "RK", "D1", 0, 20, *NO_SOIL),
    (7, 7002, 1, 60, "CMeu", "D3", 40, 60, 15, 55, 30, 15, 1.3, 1.4, 1.0, 7.0, 100),
    (8, 7003, 1, 100, "GG", "D1", 0, 20, *NO_SOIL),
    (9, 7003, 1, 100, "GG", "D3", 40, 60, *NO_SOIL),
]


def make_hwsd2(folder: Path) -> None:
    """Units in columns of a raster, of which one is missing, and the database of ISRIC."""
    units = np.repeat([[7001, 7001, 7002, 7002, 7003, 7003, 65535, 65535]], 4, 0).astype("u2")
    units[:2, 1] = 7002
    raster(folder / "HWSD2_RASTER" / "HWSD2.bil", units, 20.0, 52.0, (0.25, 0.25), driver="EHdr",
           nodata=65535)  # fmt: skip
    with closing(sqlite3.connect(folder / "HWSD2.sqlite")) as database, database:
        database.execute(f"CREATE TABLE HWSD2_LAYERS ({', '.join(COLUMNS)})")
        row = ", ".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO HWSD2_LAYERS VALUES ({row})", LAYERS)
        database.execute("CREATE TABLE HWSD2_SMU (HWSD2_SMU_ID, WRB4)")


def test_soils_of_a_unit_are_weighted_by_their_share(tmp_path: Path) -> None:
    make_hwsd2(tmp_path / "hwsd2")
    found = cube("hwsd2", tmp_path, (20.0, 51.0, 22.0, 52.0), 0.5)
    south = found.isel(y=1)
    # 7001, then 7002 without its rock, ice without soil, and no unit.
    same(south["sand"], [0.7 * 0.4 + 0.3 * 0.9, 0.5, np.nan, np.nan])
    same(south["silt"], [0.7 * 0.4 + 0.3 * 0.05, 0.3, np.nan, np.nan])
    same(south["clay"], [0.7 * 0.2 + 0.3 * 0.05, 0.2, np.nan, np.nan])
    same(south["coarse_fragments"], [0.07, 0.15, np.nan, np.nan])
    same(south["bulk_density"], [0.7 * 1.4 + 0.3 * 1.6, 1.3, np.nan, np.nan])
    same(south["organic_carbon"], [10 * (0.7 * 1.5 + 0.3 * 0.5), 20, np.nan, np.nan])
    same(south["soil_ph"], [0.7 * 6 + 0.3 * 5, 7, np.nan, np.nan])
    same(south["soil_water_capacity"], [0.7 * 150 + 0.3 * 50, 100, np.nan, np.nan])
    # Half of the cell in the north is of either unit; numbers of units are not averaged.
    same(found["sand"].isel(y=0, x=0), (0.55 + 0.5) / 2)
    assert not faults("hwsd2", tmp_path, "hwsd2", "hwsd2_subsoil")


def test_the_subsoil_is_another_layer(tmp_path: Path) -> None:
    make_hwsd2(tmp_path / "hwsd2")
    found = cube("hwsd2", tmp_path, (20.0, 51.0, 21.0, 51.5), 0.5, sources=["hwsd2_subsoil"])
    same(found["sand"], [[0.7 * 0.3 + 0.3 * 0.92, 0.55]])
    same(found["bulk_density"], [[0.7 * 1.5 + 0.3 * 1.7, 1.3]])


def test_a_database_without_the_table_is_refused(tmp_path: Path) -> None:
    make_hwsd2(tmp_path / "hwsd2")
    with closing(sqlite3.connect(tmp_path / "hwsd2" / "HWSD2.sqlite")) as database, database:
        database.execute("ALTER TABLE HWSD2_LAYERS RENAME TO LAYERS")
    with pytest.raises(InputError, match="tables LAYERS, HWSD2_SMU, none of which is `table"):
        cube("hwsd2", tmp_path, (20.0, 51.0, 21.0, 51.5), 0.5)
