"""Damaged published files: each is one fault of one line, and none ends the verification."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.shutil import copy

from pipeline.core.errors import Fault
from pipeline.maps.legend import named_legend
from pipeline.publish.geopackage import sites_frame, verify_sites, write_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.verify import verify_collection, verify_picture, verify_product
from pipeline.publish.zarr import write_map_zarr
from tests.maps import GRID, TARGET, field

MOISTURE, FLAG = field()[TARGET], field()["quality_flag"]
SOIL, FLAGS = named_legend("soil_moisture"), named_legend("quality_flag")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    write_cog(folder / "a.tif", MOISTURE, GRID, legend=SOIL)
    write_cog(folder / "flag.tif", FLAG, GRID, kind="categorical", legend=FLAGS)
    write_map_zarr(folder / "a.zarr", MOISTURE.to_dataset(), GRID)
    write_preview(folder / "a.png", MOISTURE, SOIL, "a title")
    lon, lat = np.arange(400.0) % 170, np.arange(400.0) % 80
    write_sites(folder / "sites.gpkg", {"sites": sites_frame(lon, lat, {"score": lon})})
    return folder


@pytest.fixture
def maps(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "maps")
    return tmp_path / "maps"


def _chunk(maps: Path) -> Path:
    return sorted((maps / "a.zarr" / TARGET).glob("[0-9]*"))[0]


def _cut(path: Path, part: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def _flip(path: Path, begin: int = 16) -> None:
    content = bytearray(path.read_bytes())
    content[begin:] = bytes(byte ^ 0xFF for byte in content[begin:])
    path.write_bytes(content)


def _without_nodata(maps: Path) -> None:
    with rasterio.open(maps / "flag.tif") as raster:
        values, profile = raster.read(), {**raster.profile, "nodata": None, "driver": "GTiff"}
    with rasterio.open(maps / "plain.tif", "w", **profile) as raster:
        raster.write(values)
    copy(maps / "plain.tif", maps / "flag.tif", driver="COG", BLOCKSIZE=profile["blockxsize"])


def _map(maps: Path) -> list[Fault]:
    return verify_product(maps / "a.tif", GRID, MOISTURE, SOIL)


def _flags(maps: Path) -> list[Fault]:
    return verify_product(maps / "flag.tif", GRID, FLAG, FLAGS)


def _store(maps: Path) -> list[Fault]:
    return verify_product(maps / "a.zarr", GRID, MOISTURE, SOIL)


def _points(maps: Path) -> list[Fault]:
    return verify_sites(maps / "sites.gpkg")


DAMAGE: dict[str, tuple[Callable[[Path], object], Callable[[Path], list[Fault]]]] = {
    "a broken Blosc chunk": (lambda maps: _flip(_chunk(maps)), _store),
    "a broken Blosc header": (lambda maps: _flip(_chunk(maps), 0), _store),
    "a truncated chunk": (lambda maps: _cut(_chunk(maps)), _store),
    "an empty chunk": (lambda maps: _chunk(maps).write_bytes(b""), _store),
    "a list as metadata": (lambda maps: (maps / "a.zarr" / ".zmetadata").write_text("[]"), _store),
    "null as attributes": (lambda maps: (maps / "a.zarr" / ".zattrs").write_text("null"), _store),
    "a truncated map": (lambda maps: _cut(maps / "a.tif"), _map),
    "a map of its header": (lambda maps: _cut(maps / "a.tif", 0.01), _map),
    "an empty map": (lambda maps: (maps / "a.tif").write_bytes(b""), _map),
    "blocks of noise": (lambda maps: _flip(maps / "a.tif", 20_000), _map),
    "classes without nodata": (_without_nodata, _flags),
    "a truncated GeoPackage": (lambda maps: _cut(maps / "sites.gpkg"), _points),
    "a page of noise": (lambda maps: _flip(maps / "sites.gpkg", 40_000), _points),
    "no GeoPackage": (lambda maps: (maps / "sites.gpkg").write_bytes(b"x" * 999), _points),
    "a truncated picture": (
        lambda maps: _cut(maps / "a.png"), lambda maps: verify_picture(maps / "a.png")
    ),
    "a picture of noise": (
        lambda maps: _flip(maps / "a.png", 40), lambda maps: verify_picture(maps / "a.png")
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_fault_of_one_line(maps: Path, damage: str) -> None:
    break_it, verify = DAMAGE[damage]
    break_it(maps)
    faults = verify(maps)
    assert faults
    assert all("\n" not in str(fault) and fault.found and fault.expected for fault in faults)


@pytest.mark.parametrize("content", ["[]", "null", "7", '{"type": "Colle', "\0\1\2", "[" * 9999])
def test_a_collection_of_anything_else_is_a_fault(tmp_path: Path, content: str) -> None:
    (tmp_path / "collection.json").write_text(content)
    faults = verify_collection(tmp_path / "collection.json", {"collection.json": {"id": "a"}})
    assert faults
    assert all("\n" not in str(fault) for fault in faults)


def test_undamaged_files_have_no_fault(maps: Path) -> None:
    assert [*_map(maps), *_flags(maps), *_store(maps), *_points(maps)] == []
    assert verify_picture(maps / "a.png") == []
    assert json.loads((maps / "a.zarr" / ".zmetadata").read_text())
