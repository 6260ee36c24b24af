from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pystac
import pytest
from pystac.errors import STACError

from pipeline.geotiff import write_cog
from pipeline.grid import TargetGrid
from pipeline.legend import named_legend
from pipeline.stac import StacItem, footprint, times_of, validate_collection, write_collection
from pipeline.style import write_qml
from stefaland.errors import InputError
from tests.maps import ALBERS, GRID, TARGET, field


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked(*_args: object) -> None:
        raise AssertionError("STAC must be valid without a network")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)


def publish(folder: Path) -> Path:
    items = []
    for grid in (GRID, ALBERS):
        da = field(grid)[TARGET]
        tif = write_cog(folder / f"{TARGET}_{grid.name}.tif", da, grid)
        qml = write_qml(tif, named_legend("soil_moisture"))
        files = {TARGET: tif, f"{TARGET}_style": qml}
        items.append(StacItem(tif.stem, "Soil moisture", grid, files, times_of(da)))
    return write_collection(
        folder, items, id="demo", title="Demo", description="Maps", licence="CC-BY-4.0",
        keywords=["soil"],
    )  # fmt: skip


def test_the_collection_is_valid_and_may_be_moved(tmp_path: Path) -> None:
    path = publish(tmp_path / "maps")
    assert validate_collection(path) == 2
    shutil.move(tmp_path / "maps", tmp_path / "elsewhere")
    collection = pystac.Collection.from_file(str(tmp_path / "elsewhere" / "collection.json"))
    assert validate_collection(tmp_path / "elsewhere" / "collection.json") == 2
    for item in collection.get_items():
        for asset in item.get_assets().values():
            assert Path(asset.get_absolute_href() or "").exists()
    assert str(tmp_path) not in "".join(p.read_text() for p in tmp_path.rglob("*.json"))


def test_an_item_says_what_the_file_is(tmp_path: Path) -> None:
    collection = pystac.Collection.from_file(str(publish(tmp_path)))
    item = collection.get_item(f"{TARGET}_albers")
    assert item is not None
    assert item.properties["proj:code"] == "EPSG:5070"
    assert item.properties["proj:shape"] == list(ALBERS.shape)
    assert item.properties["start_datetime"] == "2001-01-16T00:00:00Z"
    asset = item.assets[TARGET]
    assert asset.media_type == pystac.MediaType.COG
    bands = asset.extra_fields["bands"]
    assert [band["name"] for band in bands][:2] == ["January", "February"]
    assert {(b["nodata"], b["unit"], b["data_type"]) for b in bands} == {
        ("nan", "m3 m-3", "float32")
    }
    assert 0 < bands[0]["statistics"]["mean"] < 0.5
    assert collection.extent.spatial.bboxes[0][0] <= -125


def test_the_same_maps_give_the_same_text(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path / name)
    for path in (tmp_path / "a").glob("*.json"):
        assert path.read_text() == (tmp_path / "b" / path.name).read_text()


def test_the_outline_follows_the_projection() -> None:
    geometry, box = footprint(ALBERS)
    ring = geometry["coordinates"][0]
    assert ring[0] == ring[-1]
    assert len(ring) == 65
    assert box[0] < -125 < -66 < box[2]
    assert footprint(TargetGrid.from_bounds("g", "EPSG:4326", (-180, -60, 180, 84), 1))[1] == [
        -180, -60, 180, 84,
    ]  # fmt: skip


def test_what_is_not_stac_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path)
    item = tmp_path / f"{TARGET}_test.json"
    broken: dict[str, Any] = json.loads(item.read_text())
    del broken["properties"]["start_datetime"]
    item.write_text(json.dumps(broken))
    with pytest.raises(STACError):
        validate_collection(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    item = StacItem("a", "A", GRID, {"data": tmp_path / "a.tif"})
    with pytest.raises(InputError, match="no such file"):
        write_collection(tmp_path, [item], id="i", title="t", description="d")
    with pytest.raises(InputError, match="at least one item"):
        write_collection(tmp_path, [], id="i", title="t", description="d")
