"""Soil profiles in the format of WoSIS: means over a depth interval, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Faults, InputError
from pipeline.entries.source import Source
from pipeline.sources.locations import read_locations_source
from pipeline.sources.open import check_source

HEADER = "profile_id,profile_layer_id,latitude,longitude,upper_depth,lower_depth,sand,silt,clay\n"
LAYERS = """71,1,10.5,20.25,0,10,60,30,10
71,2,10.5,20.25,10,50,30,40,30
90,3,-5.0,-60.0,0,20,50,30,20
90,4,-5.0,-60.0,20,30,,,40
12,5,40.0,5.0,0,10,20,60,20
13,6,41.0,6.0,60,90,20,60,20
"""


def source(path: Path, **changes: object) -> Source:
    fractions = {name: {"name": name, "units": "%"} for name in ("sand", "silt", "clay")}
    return Source.model_validate(
        {"name": "p", "uri": str(path), "driver": "profiles", "lat": "latitude",
         "lon": "longitude", "cell": "profile_id", "variables": fractions, **changes}
    )  # fmt: skip


def written(folder: Path, layers: str = LAYERS, sep: str = ",") -> Path:
    path = folder / "layers.csv"
    path.write_text((HEADER + layers).replace(",", sep))
    return path


@pytest.mark.parametrize("sep", [",", "\t", ";"])
def test_layers_become_thickness_weighted_means(tmp_path: Path, sep: str) -> None:
    entry, faults = source(written(tmp_path, sep=sep)), Faults()
    check_source(entry, faults, read_variables())
    assert not faults.faults
    ds = read_locations_source(entry, read_variables())
    # 12 is known over a third of the interval, 13 lies below it.
    assert ds["site"].values.tolist() == ["71", "90"]
    assert ds.attrs["left_out_profiles"] == 2
    np.testing.assert_allclose(ds["sand"], [(60 * 10 + 30 * 20) / 3000, 0.5], rtol=1e-6)
    np.testing.assert_allclose(ds["clay"], [(10 * 10 + 30 * 20) / 3000, 0.8 / 3], rtol=1e-6)
    np.testing.assert_array_equal(ds["lat"], [10.5, -5.0])
    np.testing.assert_array_equal(ds["lon"], [20.25, -60.0])


def test_depth_and_share_are_chosen(tmp_path: Path) -> None:
    options = {"depth": [0, 100], "min_share": 0.1}
    ds = read_locations_source(source(written(tmp_path), options=options), read_variables())
    assert ds["cell"].values.tolist() == [71, 90, 12, 13]
    np.testing.assert_allclose(ds["silt"], [(300 + 1600) / 5000, 0.3, 0.6, 0.6], rtol=1e-6)


def test_fractions_that_do_not_sum_to_one_are_reported_with_their_profiles(tmp_path: Path) -> None:
    path = written(tmp_path, LAYERS.replace("60,30,10", "60,30,30").replace("20,60,20", "10,60,20"))
    with pytest.raises(InputError) as caught:
        read_locations_source(source(path), read_variables())
    assert [fault.found for fault in caught.value.faults] == [
        "sand + silt + clay from 90 to 120 % in 3 layers of profiles, 3 (71, 12, 13)"
    ]
    tolerant = source(path, options={"texture_tolerance": 21})
    assert read_locations_source(tolerant, read_variables()).sizes["cell"] == 2


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("90,3,-5.0", "90,3,-5.5", r"profiles with several coordinates, 1 \(90\)"),
        (
            "71,2,10.5,20.25,10,50",
            "71,2,10.5,20.25,5,50",
            r"overlapping or duplicate layers.*1 \(71\)",
        ),
        (
            "71,2,10.5,20.25,10,50",
            "71,2,10.5,20.25,0,10",
            r"overlapping or duplicate layers.*1 \(71\)",
        ),
        ("12,5,40.0,5.0,0,10", "12,5,40.0,5.0,10,0", r"do not go down in profiles, 1 \(12\)"),
        (",-5.0,", ",-95.0,", r"lat: found no degrees at sites, 1 \(90\)"),
        ("60,30,10", "60,much,10", 'text in 1 rows, such as "much"'),
        ("60,30,10", "-10,100,10", r"1 of them outside at sites, 1 \(71\)"),
        (",sand,", ",snad,", 'a column "sand". Did you mean "snad"'),
    ],
)
def test_bad_layers_get_one_clear_error(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (HEADER + LAYERS).replace(old, new)
    assert text != HEADER + LAYERS
    path = written(tmp_path)
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_locations_source(source(path, options={"depth": [0, 10]}), read_variables())


def test_bad_entries(tmp_path: Path) -> None:
    percent = {name: {"name": name, "units": "1"} for name in ("sand", "silt", "clay")}
    for changes, message in (
        ({"variables": percent}, r"sand \+ silt \+ clay from 10000 to 10000 %"),
        ({"options": {"upper": "top"}}, 'a column "top"'),
        ({"options": {"depth": [30, 0]}}, "not downwards"),
    ):
        with pytest.raises(InputError, match=message):
            read_locations_source(source(written(tmp_path), **changes), read_variables())


def test_properties_of_several_tables_are_joined(tmp_path: Path) -> None:
    columns = "profile_id\tlatitude\tlongitude\tupper_depth\tlower_depth\tvalue\tvalue_avg\n"
    for name, value in (("sand", 60), ("silt", 30), ("clay", 10)):
        rows = f'71\t10.5\t20.25\t0\t30\t"{{{value},{value}}}"\t{value}\n'
        (tmp_path / f"w_{name}.tsv").write_text(columns + rows)
    entry = source(tmp_path / "w_*.tsv", options={"value": "value_avg"})
    found = read_locations_source(entry, read_variables())
    np.testing.assert_allclose(found["silt"], [0.3], rtol=1e-6)
    with pytest.raises(InputError, match="3 files without"):
        read_locations_source(source(tmp_path / "w_*.tsv"), read_variables())
    (tmp_path / "w_silt.tsv").rename(tmp_path / "w_loam.tsv")
    with pytest.raises(InputError, match="0 files of silt among"):
        read_locations_source(entry, read_variables())


def test_faulty_profiles_may_be_left_out(tmp_path: Path) -> None:
    faulty = LAYERS + (
        "80,7,1.0,1.0,5,0,1,1,1\n80,8,1.0,1.0,0,30,60,30,10\n"  # litter above the soil
        "81,9,1.0,1.0,0,30,60,30,40\n82,10,1.0,1.0,0,20,60,30,10\n82,11,1.0,2.0,20,30,60,30,10\n"
        "83,12,1.0,1.0,0,20,60,30,10\n83,13,1.0,1.0,10,30,60,30,10\n"
    )
    path = written(tmp_path, faulty)
    with pytest.raises(InputError, match="several coordinates"):
        read_locations_source(source(path), read_variables())
    found = read_locations_source(source(path, options={"faulty": "leave_out"}), read_variables())
    assert found["site"].values.tolist() == ["71", "90", "80"]
    assert found.attrs["left_out_faulty"] == 3
