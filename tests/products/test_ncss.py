"""NCSS as joined from the Lab Data Mart: a row a layer, empty fields, faulty pedons."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import numpy as np

from tests.conftest import ROOT
from tests.products.sites import sites

PEDONS = [(1, 44.5, -93.25), (2, 39.0, -77.0), (3, 31.5, -110.0), (4, None, None)]
LAYERS = [(1, "83P1", 0, 20, 10.0, 60.0, 30.0), (1, "83P2", 20, 60, 40.0, 30.0, 30.0),
          (2, "84P1", 3, 0, None, None, None), (2, "84P2", 0, 30, 70.2, 20.3, 9.5),
          (3, "85P1", 0, 15, 50.0, 30.0, 20.0), (3, "85P2", 10, 30, 50.0, 30.0, 20.0),
          (4, "86P1", 0, 30, 50.0, 30.0, 20.0)]  # fmt: skip


def make_ncss(folder: Path) -> None:
    """The tables of the database, joined by the command of the page."""
    folder.mkdir()
    file = sqlite3.connect(":memory:")
    file.execute("CREATE TABLE lab_combine_nasis_ncss (pedon_key INTEGER, "
                 "latitude_decimal_degrees REAL, longitude_decimal_degrees REAL)")  # fmt: skip
    file.execute("CREATE TABLE lab_layer (labsampnum TEXT, pedon_key INTEGER, hzn_top REAL, "
                 "hzn_bot REAL)")  # fmt: skip
    file.execute("CREATE TABLE lab_physical_properties (labsampnum TEXT, prep_code TEXT, "
                 "sand_total REAL, silt_total REAL, clay_total REAL)")  # fmt: skip
    file.executemany("INSERT INTO lab_combine_nasis_ncss VALUES (?, ?, ?)", PEDONS)
    for pedon, sample, top, bottom, *parts in LAYERS:
        file.execute("INSERT INTO lab_layer VALUES (?, ?, ?, ?)", (sample, pedon, top, bottom))
        for code, values in (("S", parts), ("GP", (1, 1, 98))):
            file.execute("INSERT INTO lab_physical_properties VALUES (?, ?, ?, ?, ?)",
                         (sample, code, *values))  # fmt: skip
    page = (ROOT / "docs" / "data" / "ncss.md").read_text()
    found = file.execute(re.search(r'"\n(.*?)" > ', page, re.DOTALL)[1])  # type: ignore[index]
    rows = [[name for name, *_ in found.description], *found.fetchall()]
    lines = [",".join("" if field is None else str(field) for field in row) for row in rows]
    (folder / "ncss_layers.csv").write_text("\n".join(lines) + "\n")


def test_pedons_are_means_of_the_topsoil(tmp_path: Path) -> None:
    make_ncss(tmp_path / "ncss")
    found = sites("ncss", tmp_path)
    assert found["site"].values.tolist() == ["1", "2"]
    assert found.attrs["left_out_faulty"] == 1
    # 20 cm of the first layer of pedon 1, and 10 cm of the second.
    np.testing.assert_allclose(found["sand"], [0.2, 0.702], rtol=1e-6)
    np.testing.assert_allclose(found["silt"], [0.5, 0.203], rtol=1e-6)
    np.testing.assert_allclose(found["clay"], [0.3, 0.095], rtol=1e-6)
    np.testing.assert_allclose(found["lat"], [44.5, 39])
