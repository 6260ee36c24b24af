"""Values of the keys of templates: steps of a period, tiles, variables and further keys."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipeline.catalog.downloads import Tiles
from pipeline.core.errors import InputError
from pipeline.fetch.listing import remote_files
from pipeline.fetch.templates import moments, tile_values
from tests.pipeline.fetch.products import fast, ordered

PERIOD = (date(2000, 2, 28), date(2000, 3, 1))


def addresses(folder: Path, get: dict[str, Any], **wanted: Any) -> list[str]:
    files = remote_files(ordered(folder, get, **wanted), fast())
    return sorted(file.address.removeprefix("http://x/") for file in files)


def test_the_finest_key_decides_the_step() -> None:
    assert moments({"year"}, PERIOD) == [{"year": 2000}]
    assert moments({"year", "month"}, PERIOD) == [
        {"year": 2000, "month": 2}, {"year": 2000, "month": 3}
    ]  # fmt: skip
    days = moments({"year", "doy"}, PERIOD)
    assert [(day["day"], day["doy"]) for day in days] == [(28, 59), (29, 60), (1, 61)]
    assert len(moments({"hour"}, PERIOD)) == 72
    assert moments({"depth"}, PERIOD) == [{}]
    assert moments({"year"}, None) == [{}]


def test_tiles_are_named_by_their_corner() -> None:
    southwest = tile_values(Tiles(size=(1, 1)), (-1.5, -0.5, 0.5, 0.5))
    names = [f"{t['NS']}{t['lat']:02d}{t['ew']}{t['lon']:03d}" for t in southwest]
    assert names == ["S01w002", "S01w001", "S01e000", "N00w002", "N00w001", "N00e000"]
    northwest = tile_values(Tiles(size=(10, 10), corner="northwest"), (5, 41, 6, 42))
    assert [(t["lat"], t["lon"]) for t in northwest] == [(50, 0)]
    # A tile that only touches the bounds is not needed.
    assert len(tile_values(Tiles(size=(1, 1)), (0, 0, 1, 1))) == 1


def test_tiles_may_begin_elsewhere_and_are_named_by_their_edges_too() -> None:
    rows = tile_values(Tiles(size=(30, 20), origin=(0, 10)), (-1, -11, 1, 12))
    assert [f"{t['lat']:02d}{t['NS']}{t['lon']:03d}{t['EW']}" for t in rows] == [
        "30S030W", "30S000E", "10S030W", "10S000E", "10N030W", "10N000E"
    ]  # fmt: skip
    (tile,) = tile_values(Tiles(size=(1, 1)), (-80.5, 35.2, -80.1, 35.8))
    assert "lat{bottom}{top}_lon{left}{right}".format(**tile) == "lat3536_lon-81-80"


def test_one_file_for_each_combination(tmp_path: Path) -> None:
    get = {
        "kind": "http", "files": "http://x/{variable}/{depth}.tif", "to": "rain/{variable}_{depth}",
        "variables": {"sand": "SND", "clay": "CLY"}, "each": {"depth": ["0-5", "5-15"]},
    }  # fmt: skip
    entry = {"variables": {"sand": {"name": "a"}, "clay": {"name": "b"}}}
    found = addresses(tmp_path, get, static=True, entry=entry)
    assert found == ["CLY/0-5.tif", "CLY/5-15.tif", "SND/0-5.tif", "SND/5-15.tif"]
    chosen = addresses(tmp_path, get, static=True, entry=entry, variables=["clay"])
    assert chosen == ["CLY/0-5.tif", "CLY/5-15.tif"]


def test_bounds_are_part_of_addresses_of_services_that_cut(tmp_path: Path) -> None:
    get = {"kind": "http", "files": "http://x/cut?box={west},{south},{east},{north}",
           "to": "rain/rain.nc"}  # fmt: skip
    found = addresses(tmp_path, get, static=True, bounds=(-90.5, 30.0, -70.0, 45.0))
    assert found == ["cut?box=-90.5,30.0,-70.0,45.0"]


def test_two_addresses_for_one_path_are_refused(tmp_path: Path) -> None:
    get = {"kind": "http", "files": "http://x/{year}/{month}.nc", "to": "rain/{year}.nc"}
    with pytest.raises(InputError, match="a path for each file"):
        addresses(tmp_path, get)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"period": None}, "--period: found nothing"),
        ({"period": (date(1999, 1, 1), date(2001, 1, 1))}, "days from 2000-01-01 to now"),
        ({"period": (date(2002, 1, 1), date(2001, 1, 1))}, "an ascending period"),
        ({"bounds": (10.0, 0.0, 5.0, 1.0)}, "ascending"),
        ({"variables": ["precipitatoin"]}, 'Did you mean "precipitation"?'),
    ],
)
def test_orders_that_cannot_be_met_are_refused(
    wanted: dict[str, Any], found: str, tmp_path: Path
) -> None:
    get = {"kind": "http", "files": "http://x/{year}.nc"}
    with pytest.raises(InputError) as caught:
        ordered(tmp_path, get, **wanted)
    assert found in str(caught.value)
