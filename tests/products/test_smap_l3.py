"""SMAP L3 as at NSIDC: a group for each pass, coordinates -9999 where unseen, flags of bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.products.common import cube, dates, faults, same
from tests.products.soil_moisture import CELLS, bounds_of, h5, write

AT = {"EASE2_M36": (150, 200), "EASE2_M09": (600, 800)}
"""The first of the cells with values, on each grid."""
PERIOD = ("2015-03-31", "2015-04-03")
UNITS = "cm**3/cm**3"


def make_smap_l3(path: Path, grid: str, morning: list[float], evening: list[float]) -> None:
    """A file of three cells: of recommended quality, not recommended, and unseen by both passes.

    A fourth cell has a value beside a flag that is filled, whose bit 0 is 0.
    """
    row, col = AT[grid]
    cells = [(row, col), (row, col + 1), (row, col + 2), (row, col + 3)]
    flags = {cells[0]: 8, cells[1]: 1, cells[2]: 65534, cells[3]: 65534}
    with h5(path) as file:
        for name, end, found in (("AM", "", morning), ("PM", "_pm", evening)):
            group = f"Soil_Moisture_Retrieval_Data_{name}"
            seen = {cell: value for cell, value in zip(cells, found, strict=True) if value != -9999}
            write(file, f"{group}/soil_moisture{end}", seen, -9999, grid, units=UNITS,
                  valid_min=0.02, valid_max=0.75, coordinates=f"{group}/latitude{end}")  # fmt: skip
            write(file, f"{group}/retrieval_qual_flag{end}", flags, 65534, grid, "u2")
            for axis, value in (("latitude", 20.0), ("longitude", -105.0)):
                write(file, f"{group}/{axis}{end}", dict.fromkeys(seen, value), -9999, grid)
        file.create_group("Metadata/Extent").attrs["rangeBeginningDateTime"] = (
            "2015-03-31T23:17:14Z"
        )


@pytest.mark.parametrize(
    ("grid", "form", "morning", "evening"),
    [("EASE2_M36", "36km/SMAP_L3_SM_P_{}_R19240_001.h5", "smap_l3", "smap_l3_evening"),
     ("EASE2_M09", "9km/SMAP_L3_SM_P_E_{}_R19240_001.h5", "smap_l3_9km", "smap_l3_9km_evening")],
)  # fmt: skip
def test_passes_of_recommended_quality_on_the_day_of_the_name(
    grid: str, form: str, morning: str, evening: str, tmp_path: Path
) -> None:
    folder = tmp_path / "smap_l3"
    make_smap_l3(folder / form.format("20150331"), grid, [0.25, 0.3, -9999, 0.4],
                 [0.125, 0.3, -9999, 0.4])  # fmt: skip
    # The morning does not see the first cell on the next day, and the day after has no file.
    make_smap_l3(folder / form.format("20150401"), grid, [-9999, 0.3, -9999, 0.4],
                 [0.5, 0.3, -9999, 0.4])  # fmt: skip
    make_smap_l3(folder / form.format("20150403"), grid, [0.0625, 0.3, -9999, 0.4],
                 [0.5, 0.3, -9999, 0.4])  # fmt: skip
    for source, wanted in ((morning, [0.25, np.nan, np.nan, 0.0625]),
                           (evening, [0.125, 0.5, np.nan, 0.5])):  # fmt: skip
        found = cube("smap_l3", tmp_path, bounds_of(grid, *AT[grid], 1, 4), CELLS[grid][1],
                     PERIOD, sources=[source], crs="EPSG:6933", only=PERIOD)  # fmt: skip
        assert dates(found) == ["2015-03-31", "2015-04-01", "2015-04-02", "2015-04-03"]
        same(found["soil_moisture"][:, 0, 0], wanted)
        assert np.isnan(found["soil_moisture"][:, 0, 1:]).all()
        assert not faults("smap_l3", tmp_path, source, only=PERIOD)


def test_a_day_of_two_files_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        path = tmp_path / "smap_l3" / "36km" / f"SMAP_L3_SM_P_20150331_R19240_00{number}.h5"
        make_smap_l3(path, "EASE2_M36", [0.25, 0.3, -9999, 0.4], [0.25, 0.3, -9999, 0.4])
    assert "files without times" in "".join(faults("smap_l3", tmp_path, only=PERIOD))
