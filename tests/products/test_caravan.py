"""Caravan as at Zenodo: a file a basin as NetCDF or CSV, three tables of attributes a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.products.sites import sites, text

UNITS = "Streamflow: mm/d; total_precipitation: mm/day; temperature_2m: degC"


def make_caravan(folder: Path) -> None:
    """Two basins of two sets, in both forms; the second begins a day later."""
    for name, gauge, first, sand in (("camels", "camels_01022500", "2000-02-28", 45),
                                     ("grdc", "GRDC_1159100", "2000-02-29", 60)):  # fmt: skip
        days = pd.date_range(first, "2000-03-01", name="date")
        count = np.arange(len(days), dtype=float)
        table = pd.DataFrame(
            {"snow_depth_water_equivalent_mean": 5.0 + count, "temperature_2m_max": 9.0,
             "surface_net_solar_radiation_mean": 100.0, "temperature_2m_mean": 4.0 - count,
             "temperature_2m_min": -1.0, "total_precipitation_sum": 1.5 + count,
             "potential_evaporation_sum_ERA5_LAND": 9.9,
             "potential_evaporation_sum_FAO_PENMAN_MONTEITH": 2.5,
             "streamflow": np.where(count == 0, np.nan, 0.25 * count)}, index=days,
        )  # fmt: skip
        for form in ("csv", "netcdf"):
            path = folder / "timeseries" / form / name
            path.mkdir(parents=True, exist_ok=True)
            if form == "csv":
                table.to_csv(path / f"{gauge}.csv")
            else:
                table.to_xarray().assign_attrs(Units=UNITS).to_netcdf(path / f"{gauge}.nc")
        tables = folder / "attributes" / name
        text(tables / f"attributes_other_{name}.csv", "gauge_id,gauge_lat,gauge_lon,gauge_name,"
             f"country,area\n{gauge},44.6,-67.9,A River,US,573.6\n")  # fmt: skip
        text(tables / f"attributes_caravan_{name}.csv", f"gauge_id,p_mean\n{gauge},3.5\n")
        text(tables / f"attributes_hydroatlas_{name}.csv", "gauge_id,ele_mt_sav,slp_dg_sav,"
             f"snd_pc_sav,slt_pc_sav,cly_pc_sav\n{gauge},92,17,{sand},30,25\n")  # fmt: skip


@pytest.mark.parametrize("source", ["caravan", "caravan_csv"])
def test_basins_of_several_sets(source: str, tmp_path: Path) -> None:
    make_caravan(tmp_path / "caravan")
    found = sites("caravan", tmp_path, source)
    assert found["site"].values.tolist() == ["camels_01022500", "GRDC_1159100"]
    assert [str(t)[:10] for t in found["time"].values] == ["2000-02-28", "2000-02-29", "2000-03-01"]
    nan = np.nan
    np.testing.assert_allclose(found["streamflow"], [[nan, nan], [0.25, nan], [0.5, 0.25]])
    np.testing.assert_allclose(found["precipitation"], [[1.5, nan], [2.5, 1.5], [3.5, 2.5]])
    np.testing.assert_allclose(found["snow_amount"][:, 0], [5, 6, 7])
    np.testing.assert_allclose(found["air_temperature"][:, 1], [nan, 4, 3])
    # HydroATLAS has tenths of degrees and percent.
    np.testing.assert_allclose(found["slope"], [1.7, 1.7], rtol=1e-6)
    np.testing.assert_allclose(found["sand"], [0.45, 0.6], rtol=1e-6)
