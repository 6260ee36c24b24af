"""What a killed writer left is removed by the next one there, whatever it writes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline.core import cache_room, files
from pipeline.cube.cost import probe
from pipeline.fetch.run import fetch
from pipeline.publish.qgis import write_project
from pipeline.publish.qgis_layers import RasterLayer
from pipeline.publish.stac import StacItem, write_collection
from tests.cubes import template
from tests.faults.test_full_disk import LEGEND, WRITERS
from tests.maps import GRID
from tests.pipeline.fetch.products import fast, ordered
from tests.providers import File, provider

TIME = np.array(["2001-01-01", "2001-12-31"], "datetime64[s]")


def _collection(folder: Path) -> None:
    (folder / "a.qml").write_text("<qgis/>")
    item = StacItem(id="a", title="A map", grid=GRID, files={"style": folder / "a.qml"}, time=TIME)
    write_collection(folder, [item], id="maps", title="Maps", description="Maps of a test")


def _project(folder: Path) -> None:
    profile = {"driver": "GTiff", "width": 2, "height": 2, "count": 1, "dtype": "float32"}
    with rasterio.open(folder / "a.tif", "w", crs=GRID.crs, transform=GRID.transform, **profile):
        pass
    layer = RasterLayer(name="a", path=folder / "a.tif", legend=LEGEND)
    write_project(folder / "a.qgz", [layer], title="A project")


MORE: dict[str, Callable[[Path], object]] = {
    "collection": _collection,
    "project": _project,
    "rates": lambda folder: probe(template((10, 10)), folder),
}
TARGETS = {
    "cog": "a.tif", "zarr": "a.zarr", "png": "a.png", "geopackage": "sites.gpkg",
    "state": "state.safetensors", "checkpoint": "model/config.json", "heldout": "heldout.zarr",
    "locations": "sites.zarr", "report": "report.json", "collection": "a.json",
    "project": "a.qgz", "rates": "probe",
}  # fmt: skip


def _left_by_a_killed(path: Path) -> Path:
    """A folder with a file, as a process that lives no more left it beside its target."""
    partial = files.partial_path(path)
    dead = partial.with_name(partial.name.replace(f".{os.getpid()}.", ".999999999."))
    dead.mkdir(parents=True)
    (dead / path.name).write_bytes(b"half")
    return dead


@pytest.mark.parametrize("writer", TARGETS)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path, writer: str) -> None:
    target = tmp_path / TARGETS[writer]
    dead, living = _left_by_a_killed(target), files.partial_path(target)
    living.write_bytes(b"half")
    {**WRITERS, **MORE}[writer](tmp_path)
    assert not dead.exists()
    assert living.exists()


def test_a_fetch_continues_what_it_began_and_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    content = bytes(range(256)) * (1 << 11)
    with provider() as server:
        server.routes["/rain.nc"] = File(content)
        get = {"kind": "http", "files": f"{server.url}/rain.nc", "to": "rain/rain.nc"}
        order, folder = ordered(tmp_path, get, static=True), tmp_path / "data" / "rain"
        dead = _left_by_a_killed(folder / ".rain.nc.note")
        (folder / ".rain.nc.fetching").write_bytes(content[:1000])
        fetch(order, fast())
        assert not dead.exists()
        assert (folder / "rain.nc").read_bytes() == content
        # A process that fetches nothing removes it too.
        dead = _left_by_a_killed(folder / "rain_2.nc")
        files._TIDIED.clear()
        assert fetch(order, fast()) == []
        assert not dead.exists()


def test_a_cache_that_needs_room_removes_what_killed_processes_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    dead = _left_by_a_killed(cache_room.cache_folder() / "0123" / "rain.nc")
    cache_room.make_room(10, "snow.nc", "4567")
    assert not dead.exists()
