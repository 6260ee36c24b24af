"""CAMELS-US as at NCAR: folders of regions, a file a gauge, discharge in cubic feet per second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.products.sites import sites, text

ARCHIVE = Path("basin_timeseries_v1p2_metForcing_obsFlow", "basin_dataset_public_v1p2")
HEADER = "Year Mnth Day Hr\tdayl(s)\tprcp(mm/day)\tsrad(W/m2)\tswe(mm)\ttmax(C)\ttmin(C)\tvp(Pa)\n"
DAYS = ["1990-10-01", "1990-10-02", "1990-10-03"]


def make_camels_us(folder: Path) -> None:
    """Two gauges, of which the second begins a day later."""
    for gauge, huc, days, flows in (
        ("01013500", "01", (1, 2, 3), (" 1000.00 A", " -999.00 M", " 2000.00 A:e")),
        ("08013000", "08", (2, 3), ("    0.00 A", "   50.00 P")),
    ):
        rows = [
            f"1990 10 {day:02d} 12\t43200.00\t{day}.50\t300\t0\t1{day}.00\t-{day}.00\t500\n"
            for day in days
        ]
        forcing = folder / ARCHIVE / "basin_mean_forcing" / "daymet" / huc
        text(forcing / f"{gauge}_lump_cida_forcing_leap.txt",
             "  47.24\n  250.31\n  2252702000\n" + HEADER + "".join(rows))  # fmt: skip
        # Streamflow begins a day before the forcings.
        text(folder / ARCHIVE / "usgs_streamflow" / huc / f"{gauge}_streamflow_qc.txt",
             f"{gauge} 1990 09 30 -999.00 M\n" + "".join(f"{gauge} 1990 10 {day:02d} {flow}\n"
                     for day, flow in zip(days, flows, strict=True)))  # fmt: skip
    text(folder / "camels_topo.txt",
         "gauge_id;gauge_lat;gauge_lon;elev_mean;slope_mean;area_gages2;area_geospa_fabric\n"
         "01013500;47.23739;-68.58264;250.31;21.64152;2252.7;2303.95\n"
         "08013000;31.0;-92.67;50.0;3.0;1000;1100\n")  # fmt: skip
    text(folder / "camels_soil.txt", "gauge_id;sand_frac;silt_frac;clay_frac\n"
         "01013500;27.84;55.15;16.27\n08013000;NA;NA;NA\n")  # fmt: skip


def test_discharge_is_depth_and_daylight_becomes_a_day(tmp_path: Path) -> None:
    make_camels_us(tmp_path / "camels_us")
    found = sites("camels_us", tmp_path)
    assert found["site"].values.tolist() == ["01013500", "08013000"]
    assert [str(t)[:10] for t in found["time"].values] == ["1990-09-30", *DAYS]
    nan = np.nan
    # 1000 ft3 s-1 is 28.316846592 m3 s-1, or 2446575.5 m3 a day over 2252.7 km2.
    flow = [
        [nan, nan],
        [2446575.5455 / 2252.7e3, nan],
        [nan, 0.0],
        [2 * 2446575.5455 / 2252.7e3, nan],
    ]
    np.testing.assert_allclose(found["streamflow"], flow, rtol=1e-6)
    np.testing.assert_allclose(
        found["precipitation"], [[nan, nan], [1.5, nan], [2.5, 2.5], [3.5, 3.5]]
    )
    # 300 W m-2 during half of the day.
    light = [[nan, nan], [150, nan], [150, 150], [150, 150]]
    np.testing.assert_allclose(found["shortwave_radiation"], light)
    np.testing.assert_allclose(found["air_temperature_min"][:, 0], [nan, -1, -2, -3])
    np.testing.assert_allclose(found["sand"], [0.2784, nan], rtol=1e-6)
    np.testing.assert_allclose(found["area"], [2252.7, 1000], rtol=1e-6)
