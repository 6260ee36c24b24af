"""SMAP L4 as at NSIDC: a file for 3 hours, stamped in their middle, in seconds that leap."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.common import cube, dates, faults, same
from tests.products.soil_moisture import CELLS, EAST, NORTH, bounds_of, h5, write

GRID, ROW, COL = "EASE2_M09", 600, 800
PERIOD = ("2015-03-31", "2015-04-01")
EPOCH = np.datetime64("2000-01-01T11:58:55.816")


def make_smap_l4(folder: Path, middle: str, surface: float, root: float) -> None:
    """A file with a cell of land between two of water."""
    when = np.datetime64(middle)
    name = str(when).replace("-", "").replace(":", "")
    (rows, cols), size = CELLS[GRID]
    with h5(folder / f"SMAP_L4_SM_gph_{name}_Vv8010_001.h5") as file:
        for variable, value in (("sm_surface", surface), ("sm_rootzone", root)):
            write(file, f"Geophysical_Data/{variable}", {(ROW, COL + 1): value}, -9999.0, GRID,
                  units="m3 m-3", valid_min=0, valid_max=0.9)  # fmt: skip
        file["x"] = -EAST + size * (0.5 + np.arange(cols))
        file["y"] = NORTH - size * (0.5 + np.arange(rows))
        # Three leap seconds between the epoch and 2015.
        seconds = (when - EPOCH) / np.timedelta64(1, "s") + 3
        file["time"] = np.array([seconds])
        file["time"].attrs["units"] = np.bytes_("seconds since 2000-01-01 11:58:55.816")
        file["time"].attrs["calendar"] = np.bytes_("proleptic_gregorian")


def test_days_are_means_of_eight_files_in_the_middle_of_their_hours(tmp_path: Path) -> None:
    for day, first in (("2015-03-31", 0.1), ("2015-04-01", 0.3)):
        for part in range(8):
            middle = f"{day}T{3 * part + 1:02d}:30:00"
            make_smap_l4(tmp_path / "smap_l4", middle, first + part / 100, 0.25)
    found = cube("smap_l4", tmp_path, bounds_of(GRID, ROW, COL, 1, 3), CELLS[GRID][1], PERIOD,
                 crs="EPSG:6933", only=PERIOD)  # fmt: skip
    assert dates(found) == ["2015-03-31", "2015-04-01"]
    # (0 + 1 + … + 7) / 8 hundredths.
    same(found["soil_moisture"][:, 0], [[np.nan, 0.135, np.nan], [np.nan, 0.335, np.nan]])
    same(found["soil_moisture_root_zone"][:, 0, 1], [0.25, 0.25])
    assert not faults("smap_l4", tmp_path, only=PERIOD)
