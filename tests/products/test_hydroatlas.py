"""BasinATLAS as distributed: a geodatabase of levels, numbers times 10 or 100, -999 or -9999."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
from shapely.geometry import box

from tests.products.common import cube, faults, same

COLUMNS = {
    "ele_mt_sav": (250, 1000), "slp_dg_sav": (15, 120), "snd_pc_sav": (40, -999),
    "slt_pc_sav": (35, -9999), "cly_pc_sav": (25, -999), "kar_pc_sse": (0, 50),
    "gwt_cm_sav": (150, 4000), "lka_pc_sse": (25, 0), "for_pc_sse": (30, 80),
    "crp_pc_sse": (50, 5), "urb_pc_sse": (4, 0), "gla_pc_sse": (0, 10), "prm_pc_sse": (0, 20),
    "snw_pc_syr": (10, 60), "pre_mm_syr": (730, 1461), "pet_mm_syr": (1000, 500),
    "tmp_dc_syr": (125, -35), "ari_ix_sav": (73, 292), "dis_m3_pyr": (12.5, 1.5),
    "lit_cl_smj": (1, 7),
}  # fmt: skip
"""Values of two sub-basins."""


def make_hydroatlas(folder: Path) -> None:
    """Two sub-basins that meet at 7.5° E in layer 12, and the whole basin in layer 1."""
    path = folder / "BasinATLAS_Data_v10.gdb" / "BasinATLAS_v10.gdb"
    path.parent.mkdir(parents=True)
    common = {"HYBAS_ID": [2120000010.0, 2120000020.0], "NEXT_DOWN": [0.0, 2120000010.0],
              "SUB_AREA": [110.5, 130.0], "UP_AREA": [240.5, 130.0]}  # fmt: skip
    columns = {name: np.array(values, "i4" if name != "dis_m3_pyr" else "f8")
               for name, values in COLUMNS.items()}  # fmt: skip
    outlines = [box(7, 46, 7.5, 47), box(7.5, 46, 8.5, 47)]
    frame = geopandas.GeoDataFrame({**common, **columns}, geometry=outlines, crs="EPSG:4326")
    frame.dissolve().to_file(path, driver="OpenFileGDB", layer="BasinATLAS_v10_lev01")
    frame.to_file(path, driver="OpenFileGDB", layer="BasinATLAS_v10_lev12", mode="a")


def test_attributes_have_their_factors(tmp_path: Path) -> None:
    make_hydroatlas(tmp_path / "hydroatlas")
    found = cube("hydroatlas", tmp_path, (7.0, 46.5, 8.0, 47.0), 0.5).isel(y=0)
    for name, wanted in {
        "elevation": [250, 1000], "slope": [1.5, 12], "sand": [0.4, np.nan],
        "silt": [0.35, np.nan], "clay": [0.25, np.nan], "karst_fraction": [0, 0.5],
        "water_table_depth": [1.5, 40], "water_fraction": [0.025, 0],
        "forest_fraction": [0.3, 0.8], "cropland_fraction": [0.5, 0.05],
        "urban_fraction": [0.04, 0], "glacier_fraction": [0, 0.1], "permafrost_fraction": [0, 0.2],
        "mean_snow_cover": [0.1, 0.6], "mean_air_temperature": [12.5, -3.5],
        "mean_precipitation": [730 / 365.25, 1461 / 365.25],
        "mean_evapotranspiration": [1000 / 365.25, 500 / 365.25], "aridity_index": [0.73, 2.92],
    }.items():  # fmt: skip
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6, err_msg=name)
    assert not faults("hydroatlas", tmp_path)


def test_a_cell_of_two_sub_basins_is_their_mean_by_area(tmp_path: Path) -> None:
    make_hydroatlas(tmp_path / "hydroatlas")
    found = cube("hydroatlas", tmp_path, (7.25, 46.25, 8.25, 46.75), 0.5).isel(y=0)
    same(found["elevation"], [625, 1000])
    # The half without a value of sand does not count.
    same(found["sand"], [0.4, np.nan])
