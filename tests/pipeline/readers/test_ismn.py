"""ISMN downloads with stations in the published format: daily means, and errors."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source

HOURS = 48


@pytest.fixture
def package() -> None:
    """Skip the test without the extra `ismn`."""
    pytest.importorskip("ismn")


def written(root: Path) -> Path:
    """Write station A (two sensors at 5 cm, one at 50 cm) and B (one sensor, first day flagged)."""
    one(root, "NET", "A", 36.6, -97.5, (0.05, 0.05), "Probe-1", lambda h: (0.10 + h / 1000, "G"))
    one(root, "NET", "A", 36.6, -97.5, (0.05, 0.05), "Probe-2", lambda h: (0.20 + h / 1000, "G"))
    one(root, "NET", "A", 36.6, -97.5, (0.50, 0.50), "Probe-3", lambda h: (0.90, "G"))
    one(root, "OTHER", "B", -20.0, 130.0, (0.0, 0.05), "Probe", good_on_the_second_day)
    one(root, "OTHER", "C", -21.0, 131.0, (0.05, 0.05), "Probe", lambda h: (0.3, "D01"))
    return root


def good_on_the_second_day(hour: int) -> tuple[float, str]:
    return (0.30, "G") if hour in (24, 25) else (0.99, "D01,D03")


def one(root: Path, network: str, station: str, lat: float, lon: float, depth, sensor: str, value):
    folder = root / network / station
    folder.mkdir(parents=True, exist_ok=True)
    top, end = depth
    name = f"{network}_{network}_{station}_sm_{top:.6f}_{end:.6f}_{sensor}_20170810_20170811.stm"
    rows = []
    for hour in range(HOURS):
        number, flag = value(hour)
        rows.append(f"2017/08/{10 + hour // 24} {hour % 24:02d}:00   {number:.4f} {flag} M\n")
    header = (f"{network}     {network}          {station}             {lat:.5f}   {lon:.5f}"
              f"  322.00    {top:.2f}    {end:.2f} {sensor}\n")  # fmt: skip
    (folder / name).write_text(header + "".join(rows))


def source(root: Path, **changes: object) -> Source:
    return Source.model_validate(
        {"name": "i", "uri": str(root), "driver": "ismn",
         "variables": {"soil_moisture": {"name": "soil_moisture"}}, **changes}
    )  # fmt: skip


@pytest.mark.usefixtures("package")
def test_good_hours_become_days_and_sensors_a_station(tmp_path: Path) -> None:
    entry, faults = source(written(tmp_path)), Faults()
    check_source(entry, faults, read_variables())
    assert not faults.faults
    ds = read_locations_source(entry, read_variables())
    assert ds["site"].values.tolist() == ["NET/A", "OTHER/B"]
    np.testing.assert_allclose(
        ds["soil_moisture"], [[0.15 + 0.0115, np.nan], [0.15 + 0.0355, 0.30]], rtol=1e-5
    )
    np.testing.assert_allclose(ds["lat"], [36.6, -20.0])
    assert ds.attrs["left_out_stations"] == 1
    assert ds["soil_moisture"].attrs["units"] == "m3 m-3"
    # The package's index is written elsewhere: data may be read-only.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["NET", "OTHER"]


@pytest.mark.usefixtures("package")
def test_depth_station_and_least_hours_are_chosen(tmp_path: Path) -> None:
    root = written(tmp_path)
    deep = {"depth": [0.4, 0.6]}
    ds = read_locations_source(source(root, options=deep), read_variables())
    assert ds["site"].values.tolist() == ["NET/A"]
    np.testing.assert_allclose(ds["soil_moisture"], 0.9)
    ds = read_locations_source(source(root, options={"min_values": 3}), read_variables())
    assert ds["site"].values.tolist() == ["NET/A"]
    only = {"networks": ["OTHER"], "sites": ["OTHER/B"]}
    ds = read_locations_source(source(root, options=only), read_variables())
    assert ds["site"].values.tolist() == ["OTHER/B"]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"depth": [1, 2]},
            r"no good value from 1 to 2 m; expected a depth with sensors, such as 3 ",
        ),
        ({"networks": ["NETT"]}, r"unknown networks, 1 \(NETT\)"),
        ({"sites": ["NET/Z", "A"]}, r"unknown ids, 2 \(A, NET/Z\)"),
        ({"depth": [0.1, 0.0]}, "not downwards"),
    ],
)
def test_bad_choices_get_one_clear_error(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_locations_source(source(written(tmp_path), options=options), read_variables())


@pytest.mark.usefixtures("package")
def test_percent_and_folders_without_stations(tmp_path: Path) -> None:
    one(tmp_path / "a", "NET", "A", 36.6, -97.5, (0.05, 0.05), "Probe", lambda h: (30.0, "G"))
    with pytest.raises(InputError, match=r"2 of them outside at sites, 1 \(NET/A\)"):
        read_locations_source(source(tmp_path / "a"), read_variables())
    (path,) = (tmp_path / "a").rglob("*.stm")
    path.write_text(path.read_text().replace("30.0000 G", "3o.0000 G", 1))
    with pytest.raises(InputError, match=r"A, Probe.*a file that cannot be read"):
        read_locations_source(source(tmp_path / "a"), read_variables())
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="b: found"):
        read_locations_source(source(tmp_path / "b"), read_variables())


NAMED = {
    "": ("NET/A/NET_NET_A_sm_0.050000", "OTHER/C/OTHER_OTHER_C_sm"),
    "cut off": ("A, Probe-1_soil_moisture", "C, Probe_soil_moisture"),
}
"""Locations of faults, for files that the package skips and for files that it reads in part."""


def spoil(path: Path, how: str) -> None:
    text = path.read_text()
    spoilt = {
        "empty": b"",
        "cut off": text[: text.index("/08/10 03")].encode(),
        "binary": bytes(range(256)) * 5,
        "header": text.splitlines(keepends=True)[0].encode(),
    }
    path.write_bytes(spoilt[how])


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("how", ["empty", "cut off", "binary", "header"])
@pytest.mark.parametrize("zipped", [False, True])
def test_files_that_the_package_skips_are_named_or_counted(
    tmp_path: Path, how: str, zipped: bool
) -> None:
    root = written(tmp_path / "data")
    for path in (*root.rglob("*Probe-1*.stm"), *root.rglob("*OTHER_C*.stm")):
        spoil(path, how)
    if zipped:
        root = Path(shutil.make_archive(str(tmp_path / "data"), "zip", root))
    with pytest.raises(InputError) as caught:
        read_locations_source(source(root), read_variables())
    assert len(caught.value.faults) == 2
    for fault, name in zip(caught.value.faults, NAMED.get(how, NAMED[""]), strict=True):
        assert name in fault.where
        assert "unreadable: leave_out" in fault.hint
    ds = read_locations_source(source(root, options={"unreadable": "leave_out"}), read_variables())
    np.testing.assert_allclose(ds["soil_moisture"][0, 0], 0.2 + 0.0115, rtol=1e-5)
    assert ds.attrs["left_out_files"] == 2


@pytest.mark.usefixtures("package")
def test_unreadable_files_of_other_sensors_do_not_matter(tmp_path: Path) -> None:
    root = written(tmp_path)
    (deep,) = root.rglob("*Probe-3*.stm")
    deep.write_text("")
    deep.with_name(deep.name.replace("_sm_0.50", "_p_0.00")).write_text("")
    good = read_locations_source(source(root), read_variables())
    assert good.attrs["left_out_files"] == 0
    with pytest.raises(InputError, match="Probe-3"):
        read_locations_source(source(root, options={"depth": [0.4, 0.6]}), read_variables())
    for path in root.rglob("OTHER*.stm"):
        path.write_text("")
    only = source(root, options={"networks": ["NET"]})
    assert read_locations_source(only, read_variables())["site"].values.tolist() == ["NET/A"]


@pytest.mark.usefixtures("package")
def test_a_second_file_of_a_sensor_is_reported(tmp_path: Path) -> None:
    (path,) = written(tmp_path).rglob("*Probe-1*.stm")
    again = path.with_name(path.name.replace("20170811", "20170812"))
    again.write_text(path.read_text())
    with pytest.raises(InputError, match="of the same sensor as another file"):
        read_locations_source(source(tmp_path), read_variables())


def test_the_missing_package_and_unknown_variables_are_reported(
    tmp_path: Path, monkeypatch
) -> None:
    rain = {"precipitation": {"name": "precipitation", "units": "mm/day"}}
    with pytest.raises(InputError, match="one of soil_moisture, soil_temperature"):
        read_locations_source(source(tmp_path, variables=rain), read_variables())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'stefaland\[ismn\]'"):
        read_locations_source(source(tmp_path), read_variables())
