"""CAMELS-US folders in the published layout: their locations, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source

HUC = {"01022500": "01", "02046000": "02"}
HEADER = "Year Mnth Day Hr\tdayl(s)\tprcp(mm/day)\tsrad(W/m2)\tswe(mm)\ttmax(C)\ttmin(C)\tvp(Pa)\n"
FLOWS = {
    "01022500": ("100.00 A", "-999.00 M", "200.00 A:e", "300.00 A"),
    "02046000": ("1.00 A", "2.00 P", "3.00 A", "4.00 A"),
}


def written(root: Path) -> Path:
    for gauge, huc in HUC.items():
        forcing = root / "basin_mean_forcing" / "daymet" / huc
        flow = root / "usgs_streamflow" / huc
        forcing.mkdir(parents=True)
        flow.mkdir(parents=True)
        rows = [
            f"1980 01 {day:02d} 12\t30172.5\t{day}.50\t153.4\t0.00\t-{day}.54\t-16.3\t171.7\n"
            for day in range(1, 4)
        ]
        (forcing / f"{gauge}_lump_cida_forcing_leap.txt").write_text(
            "  44.61\n  127.99\n  573600000\n" + HEADER + "".join(rows)
        )
        (flow / f"{gauge}_streamflow_qc.txt").write_text(
            "".join(f"{gauge} 1980 01 {day:02d}   {text}\n"
                    for day, text in enumerate(FLOWS[gauge], start=1))
        )  # fmt: skip
    attributes = root / "camels_attributes_v2.0"
    attributes.mkdir()
    (attributes / "camels_topo.txt").write_text(
        "gauge_id;gauge_lat;gauge_lon;elev_mean;slope_mean;area_gages2;area_geospa_fabric\n"
        "02046000;37.06;-77.59;95.2;5.0;200;210\n01022500;44.60;-67.93;92.68;17.79;100.5;620.38\n"
    )
    (attributes / "camels_soil.txt").write_text(
        "gauge_id;soil_depth_pelletier;sand_frac;silt_frac;clay_frac\n"
        "01022500;17.41;46.54;39.71;NA\n02046000;7.4;50;30;20\n"
    )
    (attributes / "camels_name.txt").write_text(
        "gauge_id;huc_02;gauge_name\n01022500;01;A river\n02046000;02;A creek\n"
    )
    return root


def source(root: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "us", "uri": str(root), "driver": "camels_us",
         "variables": {"streamflow": {"name": "streamflow"},
                       "precipitation": {"name": "prcp"},
                       "air_temperature_max": {"name": "tmax"},
                       "elevation": {"name": "elev_mean", "units": "m"},
                       "clay": {"name": "clay_frac", "units": "%"}},
         **changes}
    )  # fmt: skip


def test_discharge_becomes_depth_and_flags_are_kept_to(tmp_path: Path) -> None:
    entry, faults = source(written(tmp_path)), Faults()
    check_source(entry, faults, read_variables())
    assert not faults.faults
    ds = read_locations_source(entry, read_variables())
    assert ds["site"].values.tolist() == ["02046000", "01022500"]
    assert ds["cell"].values.tolist() == [2046000, 1022500]
    # 1 ft3 s-1 is 2446.58 m3/day.
    one = 0.3048**3 * 86400 * 1000
    expected = np.array([[1, np.nan, 3, 4], [100, np.nan, 200, 300]]).T * one
    np.testing.assert_allclose(ds["streamflow"], expected / [200e6, 100.5e6], rtol=1e-6)
    np.testing.assert_allclose(ds["precipitation"][:, 0], [1.5, 2.5, 3.5, np.nan])
    np.testing.assert_allclose(ds["air_temperature_max"][:3, 1], [-1.54, -2.54, -3.54], rtol=1e-6)
    np.testing.assert_allclose(ds["clay"], [0.2, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(ds["lat"], [37.06, 44.60])
    assert np.datetime_as_string(ds["time"].values[[0, -1]], "D").tolist() == [
        "1980-01-01", "1980-01-04",
    ]  # fmt: skip


def test_chosen_gauges_flags_and_area(tmp_path: Path) -> None:
    options = {"sites": ["02046000"], "flags": ["A", "P"], "area": "area_geospa_fabric"}
    ds = read_locations_source(source(written(tmp_path), options=options), read_variables())
    ratio = ds["streamflow"][:, 0] / (0.3048**3 * 86400 * 1000 / 210e6)
    np.testing.assert_allclose(ratio, [1, 2, 3, 4], rtol=1e-6)


def test_missing_and_duplicate_gauge_files_are_reported_together(tmp_path: Path) -> None:
    root = written(tmp_path)
    (root / "usgs_streamflow/01/01022500_streamflow_qc.txt").unlink()
    text = (root / "basin_mean_forcing/daymet/02/02046000_lump_cida_forcing_leap.txt").read_text()
    (root / "basin_mean_forcing/daymet/01/02046000_lump_cida_forcing_leap.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        read_locations_source(source(root), read_variables())
    found = [fault.found for fault in caught.value.faults]
    assert found == [
        "several files of gauges, 1 (02046000)",
        "no file of gauges, 1 (01022500)",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("camels_attributes_v2.0/camels_topo.txt", ";200;", ";0;",
         r"no area of basins, 1 \(02046000\)"),
        ("camels_attributes_v2.0/camels_topo.txt", "01022500", "02046000",
         r"duplicate sites, 1 \(02046000\)"),
        ("camels_attributes_v2.0/camels_topo.txt", "gauge_lat", "lat", 'a column "gauge_lat"'),
        ("basin_mean_forcing/daymet/01/01022500_lump_cida_forcing_leap.txt", "2.50", "-999",
         r"1 of them outside at sites, 1 \(01022500\)"),
        ("basin_mean_forcing/daymet/01/01022500_lump_cida_forcing_leap.txt", "01 02 12", "13 02 12",
         "a file that cannot be read"),
        ("usgs_streamflow/01/01022500_streamflow_qc.txt", "01 03", "01 01",
         r"01022500_streamflow_qc\.txt: found duplicate times, 1 \(1980-01-01"),
        ("usgs_streamflow/01/01022500_streamflow_qc.txt", "01022500 1980 01 02",
         "02046000 1980 01 02",
         r"discharge of other gauges, 1 \(02046000\); expected 01022500 in every row"),
        ("usgs_streamflow/01/01022500_streamflow_qc.txt", None, "", "no row of values"),
        ("basin_mean_forcing/daymet/01/01022500_lump_cida_forcing_leap.txt", None,
         "a\nb\nc\n" + HEADER, "no row of values"),
        ("usgs_streamflow/01/01022500_streamflow_qc.txt", "300.00", "Ice",
         'text in 1 rows, such as "Ice'),
    ],
)  # fmt: skip
def test_bad_files_get_one_clear_error(
    tmp_path: Path, file: str, old: str | None, new: str, message: str
) -> None:
    path = written(tmp_path) / file
    text = path.read_text()
    assert old is None or old in text
    path.write_text(new if old is None else text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_locations_source(source(tmp_path), read_variables())


def test_unknown_names_and_percent_taken_for_a_fraction(tmp_path: Path) -> None:
    root = written(tmp_path)
    with pytest.raises(InputError, match='a column "precip"'):
        read_locations_source(source(root, variables={"precipitation": {"name": "precip"}}),
                              read_variables())  # fmt: skip
    variables = {"sand": {"name": "sand_frac", "units": "1"}}
    with pytest.raises(InputError, match=r"2 of them outside at sites, 2 \(02046000, 01022500\)"):
        read_locations_source(source(root, variables=variables), read_variables())
    with pytest.raises(InputError, match=r"no camels_topo\.txt"):
        read_locations_source(source(root / "usgs_streamflow"), read_variables())


def test_an_expression_of_forcings_beside_longer_streamflow(tmp_path: Path) -> None:
    flow = {"streamflow": {"name": "streamflow"}}
    mean = {"air_temperature": {"expression": "(tmax + tmin) / 2", "units": "degC"}}
    root = written(tmp_path)
    for variables in ({**flow, **mean}, {**mean, **flow}):
        ds = read_locations_source(source(root, variables=variables), read_variables())
        np.testing.assert_allclose(ds["air_temperature"][:, 0], [-8.92, -9.42, -9.92, np.nan])
        assert np.isfinite(ds["streamflow"][3]).all()
    for gauge, huc in HUC.items():
        path = root / f"usgs_streamflow/{huc}/{gauge}_streamflow_qc.txt"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    ds = read_locations_source(source(root, variables={**flow, **mean}), read_variables())
    assert (ds["time"].size, int(ds["air_temperature"].notnull().sum())) == (3, 6)
