from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import xarray as xr
from pystac.errors import STACValidationError

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.publish.geotiff import write_cog
from pipeline.publish.qml import write_qml
from pipeline.publish.stac import StacItem, times_of, validate_collection, write_collection
from pipeline.publish.verify import verify_collection
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
        items.append(
            StacItem(id=tif.stem, title="Soil moisture", grid=grid, files=files, time=times_of(da))
        )
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


def test_an_item_describes_the_file(tmp_path: Path) -> None:
    collection = pystac.Collection.from_file(str(publish(tmp_path)))
    item = collection.get_item(f"{TARGET}_albers")
    assert item is not None
    assert item.properties["proj:code"] == "EPSG:5070"
    assert item.properties["proj:shape"] == list(ALBERS.shape)
    assert item.ext.has("proj")
    assert item.ext.proj.code == "EPSG:5070"
    assert item.ext.proj.bbox == list(ALBERS.bounds)
    assert item.datetime is None
    assert item.properties["start_datetime"] == "2001-01-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2001-12-31T23:59:59Z"
    asset = item.assets[TARGET]
    assert asset.media_type == pystac.MediaType.COG
    bands = asset.extra_fields["bands"]
    assert [band["name"] for band in bands][:2] == ["January", "February"]
    assert {(b["nodata"], b["unit"], b["data_type"]) for b in bands} == {
        ("nan", "m3 m-3", "float32")
    }
    assert 0 < bands[0]["statistics"]["mean"] < 0.5
    assert collection.extent.spatial.bboxes[0][0] <= -125


def test_the_same_maps_produce_the_same_text(tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(tmp_path / name)
    for path in (tmp_path / "a").glob("*.json"):
        assert path.read_text() == (tmp_path / "b" / path.name).read_text()


@pytest.mark.parametrize("field, value", [
    ("proj:shape", [60.5, 96]), ("proj:code", 5070), ("proj:code", None),
    ("proj:transform", [50000, 0, -2400000]), ("stac_extensions", []),
])  # fmt: skip
def test_fields_of_the_projection_extension_are_checked(
    tmp_path: Path, field: str, value: object
) -> None:
    path = publish(tmp_path)
    item = tmp_path / f"{TARGET}_albers.json"
    broken: dict[str, Any] = json.loads(item.read_text())
    (broken if field in broken else broken["properties"])[field] = value
    item.write_text(json.dumps(broken))
    if field == "stac_extensions":
        assert validate_collection(path) == 2  # then pystac takes them for fields of nobody
        return
    with pytest.raises(STACValidationError, match=r"Validation failed[^\n]*projection"):
        validate_collection(path)
    (fault,) = verify_collection(path)
    assert "Validation failed" in fault.found


def test_a_crs_without_a_code_is_written_in_full(tmp_path: Path) -> None:
    crs = "+proj=lcc +lat_1=33 +lat_2=45 +lat_0=40 +lon_0=-97 +R=6370000 +units=m"
    grid = TargetGrid.from_bounds("wrf", crs, (-500000, -500000, 500000, 500000), 50000)
    tif = write_cog(tmp_path / "wrf.tif", field(grid)[TARGET], grid)
    item = StacItem(
        id="wrf",
        title="WRF",
        grid=grid,
        files={TARGET: tif},
        time=times_of(field(grid)[TARGET]),
    )
    path = write_collection(tmp_path, [item], id="i", title="t", description="d")
    assert validate_collection(path) == 1
    properties = json.loads((tmp_path / "wrf.json").read_text())["properties"]
    assert properties["proj:code"] is None
    assert properties["proj:projjson"]["conversion"]["method"]["name"].startswith("Lambert Conic")
    assert verify_collection(path) == []


def test_times_end_with_the_last_period() -> None:
    time = np.array(["2016-01-01", "2017-01-01"], "datetime64[ns]")
    axis = xr.DataArray(time, dims="time", attrs={"period": "year"})
    da = xr.DataArray(np.zeros((2, 1, 1)), dims=("time", "y", "x"), coords={"time": axis})
    assert times_of(da).astype(str).tolist() == ["2016-01-01T00:00:00", "2017-12-31T23:59:59"]
    assert times_of(da[0].drop_vars("time")).size == 0


def test_what_is_not_stac_is_found(tmp_path: Path) -> None:
    path = publish(tmp_path)
    item = tmp_path / f"{TARGET}_test.json"
    broken: dict[str, Any] = json.loads(item.read_text())
    del broken["properties"]["start_datetime"]
    item.write_text(json.dumps(broken))
    with pytest.raises(STACValidationError, match="start_datetime"):
        validate_collection(path)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    item = StacItem(id="a", title="A", grid=GRID, files={"data": tmp_path / "a.tif"})
    with pytest.raises(InputError, match="no such file") as error:
        write_collection(tmp_path, [item], id="i", title="t", description="d")
    assert "item a: found no time" in str(error.value)
    with pytest.raises(InputError, match="at least one item"):
        write_collection(tmp_path, [], id="i", title="t", description="d")
