from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr
import zarr
from rasterio.enums import Resampling

from pipeline.core.errors import InputError
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import named_legend
from pipeline.publish.geopackage import sites_frame, verify_sites, write_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.qgis import project_element, verify_project, write_project
from pipeline.publish.qgis_layers import LayerGroup, map_group
from pipeline.publish.qml import write_qml
from pipeline.publish.stac import StacItem, collection_documents, times_of, write_collection
from pipeline.publish.verify import verify_collection, verify_picture, verify_product, verify_style
from pipeline.publish.zarr import write_map_zarr
from tests.maps import ALBERS, GRID, TARGET, field

LARGE = TargetGrid.from_bounds("large", "EPSG:4326", (-180, -60, 180, 84), 0.3)


def wheres(faults: list) -> list[str]:
    return [fault.where.partition(": ")[2] for fault in faults]


DETAILS = {"id": "c", "title": "c", "description": "c"}
TAGS = {"title": "A run"}
SOIL, FLAGS = named_legend("soil_moisture"), named_legend("quality_flag")


def large() -> xr.DataArray:
    """A map with overviews: two bands of noise, a third of the cells missing."""
    rng = np.random.default_rng(0)
    values = rng.random((2, *LARGE.shape)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    return xr.DataArray(
        values, dims=("time", "y", "x"), name="v", attrs={"units": "m3 m-3"},
        coords={**LARGE.coords(), "time": np.array(["2001-01-16", "2001-02-16"], "datetime64[ns]")},
    )  # fmt: skip


def large_codes() -> xr.DataArray:
    codes = np.random.default_rng(1).choice([0, 1, 3, 255], LARGE.shape).astype(np.uint8)
    return xr.DataArray(codes, dims=("y", "x"), name="quality_flag", coords=LARGE.coords())


def items(folder: Path) -> list[StacItem]:
    """The two products of the folder `maps`."""
    made = []
    for grid in (GRID, ALBERS):
        kinds = {"map": ".tif", "flag": "_flag.tif", "zarr": ".zarr"}
        files = {key: folder / f"{grid.name}{ending}" for key, ending in kinds.items()}
        made.append(
            StacItem(
                id=grid.name,
                title="Map",
                grid=grid,
                files=files,
                time=times_of(field(grid)[TARGET]),
            )
        )
    return made


def project_groups(folder: Path) -> list[LayerGroup]:
    return [map_group("test", [("Soil moisture", folder / "test.tif", SOIL)])]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    for grid in (GRID, ALBERS):
        ds = field(grid)
        tif, flag = folder / f"{grid.name}.tif", folder / f"{grid.name}_flag.tif"
        write_cog(tif, ds[TARGET], grid, metadata=TAGS)
        write_cog(flag, ds["quality_flag"], grid, kind="categorical", legend=FLAGS, metadata=TAGS)
        write_map_zarr(folder / f"{grid.name}.zarr", ds[TARGET], grid, attrs=TAGS)
        write_qml(tif, SOIL)
        write_qml(flag, FLAGS)
    write_collection(folder, items(folder), **DETAILS)
    write_project(folder / "run.qgz", project_groups(folder), title="A run")
    write_cog(folder / "large.tif", large(), LARGE, metadata=TAGS)
    write_cog(folder / "large_flag.tif", large_codes(), LARGE, kind="categorical", legend=FLAGS)
    write_map_zarr(folder / "large.zarr", large(), LARGE, attrs=TAGS)
    return folder


@pytest.fixture
def copied(maps: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(maps, tmp_path / "maps"))


@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_what_was_published_is_sound(maps: Path, grid: TargetGrid) -> None:
    ds = field(grid)
    for ending in ("tif", "zarr"):
        path = maps / f"{grid.name}.{ending}"
        assert verify_product(path, grid, ds[TARGET], SOIL, TAGS) == []
    flag = maps / f"{grid.name}_flag.tif"
    assert verify_product(flag, grid, ds["quality_flag"], FLAGS) == []
    assert verify_style(flag.with_suffix(".qml"), FLAGS) == []


def test_sound_overviews_listings_and_later_tags(maps: Path) -> None:
    for name in ("large.tif", "large.zarr"):
        assert verify_product(maps / name, LARGE, large(), SOIL, TAGS) == []
    assert verify_product(maps / "large_flag.tif", LARGE, large_codes(), FLAGS) == []
    documents = collection_documents(maps, items(maps), **DETAILS)
    assert verify_collection(maps / "collection.json", documents) == []
    assert verify_project(maps / "run.qgz", expected_project(maps)) == []
    # Provenance, which `TAGS` leaves out, is not compared; another title is.
    (fault,) = verify_product(maps / "test.tif", GRID, field()[TARGET], SOIL, {"title": "Another"})
    assert (fault.where, fault.found) == ("test.tif: tags/title", "'A run'")
    assert "differs from what this version publishes" in fault.hint


def expected_project(folder: Path) -> ET.Element:
    return project_element(folder / "run.qgz", project_groups(folder), title="A run")


def rewrite(path: Path, change: Callable[[Any], None] = bool, how: str = "average") -> None:
    """Write a COG again from a plain file with a change; its layout stays strict."""
    with rasterio.open(path) as raster:
        profile, values, factors = dict(raster.profile), raster.read(), raster.overviews(1)
        bands = [(raster.descriptions[i - 1], raster.units[i - 1], raster.tags(i))
                 for i in raster.indexes]  # fmt: skip
        tags, is_codes = raster.tags(), raster.dtypes[0] == "uint8"
        colours = raster.colormap(1) if is_codes else None
    profile.update(driver="GTiff", interleave="band")
    profile.pop("predictor", None)
    plain = path.with_name("plain.tif")
    with rasterio.open(plain, "w+", **profile) as raster:
        raster.write(values)
        raster.update_tags(**tags)
        for number, (name, unit, of_band) in enumerate(bands, start=1):
            raster.set_band_description(number, name)
            raster.set_band_unit(number, unit)
            raster.update_tags(number, **of_band)
        if colours:
            raster.write_colormap(1, colours)
        change(raster)
        raster.build_overviews(factors, Resampling[how])
    rasterio.shutil.copy(plain, path, driver="COG", BLOCKSIZE=profile["blockxsize"])
    plain.unlink()


def _units(raster: Any) -> None:
    raster.units = ["K"] * raster.count


def _scales(raster: Any) -> None:
    raster.scales = [0.01] * raster.count


def _dates(raster: Any) -> None:
    for band in raster.indexes:
        raster.update_tags(band, time="1999-01-01T00:00:00")


def _statistics(raster: Any) -> None:
    raster.update_tags(1, STATISTICS_STDDEV="99", STATISTICS_VALID_PERCENT="3")


def _colours(raster: Any) -> None:
    raster.write_colormap(1, {**raster.colormap(1), 0: (255, 0, 255, 255)})


@pytest.mark.parametrize(
    ("name", "change", "how", "where", "found"),
    [
        ("large", _units, "average", "bands[0]/unit", "'K'"),
        ("large", _scales, "average", "bands[0]/scale", "0.01"),
        ("large", _dates, "average", "bands[0]/tags/time", "'1999-01-01T00:00:00'"),
        ("large", _statistics, "average", "bands[0]/tags/STATISTICS_STDDEV", "'99'"),
        ("large", bool, "nearest", "overview 1", "other values"),
        ("large_flag", bool, "nearest", "overview 1", "other values"),
        ("large_flag", _colours, "mode", "colours/0", "(255, 0, 255, 255)"),
    ],
)
def test_a_strict_rewrite_with_a_change_is_found(
    copied: Path, name: str, change: Callable[[Any], None], how: str, where: str, found: str
) -> None:
    path, is_codes = copied / f"{name}.tif", name == "large_flag"
    source, legend = (large_codes(), FLAGS) if is_codes else (large(), SOIL)
    rewrite(path, how="mode" if is_codes else "average")
    assert verify_product(path, LARGE, source, legend) == []
    rewrite(path, change, how)
    faults = verify_product(path, LARGE, source, legend)
    assert faults[0].where == f"{name}.tif: {where}"
    assert found in faults[0].found


@pytest.mark.parametrize(
    ("name", "change"), [("large", lambda v: v * np.nan), ("large_flag", lambda v: v | (v == 0))]
)
def test_overviews_of_other_values_are_found(
    copied: Path, name: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = copied / f"{name}.tif"
    with rasterio.open(path, "r+", overview_level=0, IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        raster.write(change(raster.read()).astype(raster.dtypes[0]))
    source, legend = (large(), SOIL) if name == "large" else (large_codes(), FLAGS)
    found = verify_product(path, LARGE, source, legend)
    assert "overview 1" in wheres(found)
    assert "x 2 cells" in " ".join(fault.expected for fault in found)


def _set(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = zarr.open_array(str(path), mode="r+")
    array[...] = change(np.asarray(array[...]))


def _edit(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in pairs:
        assert re.search(old, text)
        text = re.sub(old, new, text)
    path.write_text(text)


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda s: _set(s / "overviews/2/v", lambda v: v[:, ::-1]), "/overviews/2: values"),
        (lambda s: _set(s / "overviews/2/x", lambda v: v + 1e6), "/overviews/2: x"),
        (lambda s: _set(s / "time", lambda v: v + 400), ": time"),
        (lambda s: _set(s / "v", lambda v: v + 1), ": values"),
        (lambda s: _edit(s / ".zmetadata", ("m3 m-3", "K")),
         ": consolidated metadata: v/.zattrs/units"),
        (lambda s: _edit(s / "v/.zattrs", ("m3 m-3", "K")), ": metadata: v/.zattrs/units"),
        (lambda s: (s / "overviews/2/v/.zarray").unlink(), "/overviews/2: metadata: v/.zarray"),
    ],
    ids=["mirrored", "shifted", "time", "values", "units", "units of a file", "no metadata"],
)  # fmt: skip
def test_a_damaged_store_is_found(copied: Path, damage: Callable[[Path], None], where: str) -> None:
    damage(copied / "large.zarr")
    faults = verify_product(copied / "large.zarr", LARGE, large(), SOIL, TAGS)
    assert f"large.zarr{where}" in [fault.where for fault in faults]


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('band="1"', 'band="7"', "pipe/rasterrenderer/@band"),
        ('opacity="1"', 'opacity="0"', "pipe/rasterrenderer/@opacity"),
        ('alpha="255"', 'alpha="0"', "colorrampshader/item[0]/@alpha"),
        ("INTERPOLATED", "DISCRETE", "colorrampshader/@colorRampType"),
        ('minimumValue="[^"]*"', 'minimumValue="0.4"', "colorrampshader/@minimumValue"),
        ('classificationMax="[^"]*"', 'classificationMax="9"', "@classificationMax"),
        ('(color="#)......', r"\1ff00ff", "colorrampshader/item[0]/@color"),
    ],
)
def test_a_changed_style_is_found(copied: Path, old: str, new: str, where: str) -> None:
    _edit(copied / "test.qml", (old, new))
    fault = verify_style(copied / "test.qml", SOIL)[0]
    assert fault.where.startswith("test.qml: ")
    assert fault.where.endswith(where)
    assert "run `stefaland publish CONFIG --restart`" in fault.hint


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ('color="#[0-9a-f]{6}"', 'color="#ff00ff"', "item[0]/@color"),
        ("<start>2001", "<start>1901", "temporal/fixedRange/start/text"),
        ('band="2"', 'band="99"', "projectlayers/maplayer[1]/pipe/rasterrenderer/@band"),
    ],
)
def test_a_changed_project_is_found(copied: Path, old: str, new: str, where: str) -> None:
    path = copied / "run.qgz"
    with zipfile.ZipFile(path) as archive:
        text = archive.read("run.qgs").decode()
    assert re.search(old, text)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("run.qgs", re.sub(old, new, text))
    fault = verify_project(path, expected_project(copied))[0]
    assert fault.where.startswith("run.qgz: ")
    assert fault.where.endswith(where)
    path.write_bytes(b"no zip")
    assert "a QGIS project" in str(verify_project(path, expected_project(copied))[0])


def _item(change: Callable[[dict[str, Any]], Any], name: str = "test.json") -> Any:
    def damage(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        change(document)
        (folder / name).write_text(json.dumps(document))

    return damage


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (_item(lambda d: d["geometry"]["coordinates"][0].reverse()), "test.json: geometry/"),
        (_item(lambda d: d["properties"].update(start_datetime="1990-01-01T00:00:00Z")),
         "test.json: properties/start_datetime"),
        (_item(lambda d: d["assets"]["map"]["bands"][0].update(unit="K")),
         "test.json: assets/map/bands[0]/unit"),
        (_item(lambda d: d["assets"]["map"].update(roles=["metadata"])),
         "test.json: assets/map/roles"),
        (_item(lambda d: d["assets"].pop("map")), "test.json: assets/map"),
        (_item(lambda d: d["properties"].pop("proj:transform")),
         "test.json: properties/proj:transform"),
        (_item(lambda d: d.update(links=d["links"][:-1]), "collection.json"),
         "collection.json: links: length"),
        (_item(lambda d: d["extent"]["spatial"].update(bbox=[[0, 0, 1, 1]]), "collection.json"),
         "collection.json: extent/spatial/bbox[0]"),
        (_item(lambda d: d.pop("extent"), "collection.json"), "collection.json: extent"),
    ],
    ids=["geometry", "dates", "unit", "roles", "asset", "transform", "link", "bbox", "extent"],
)  # fmt: skip
def test_a_changed_collection_is_found(
    copied: Path, damage: Callable[[Path], None], where: str
) -> None:
    damage(copied)
    documents = collection_documents(copied, items(copied), **DETAILS)
    faults = verify_collection(copied / "collection.json", documents)
    assert any(fault.where.startswith(where) for fault in faults)


def test_a_collection_is_validated_as_it_lies_on_disk(copied: Path) -> None:
    _item(lambda d: d.pop("extent"), "collection.json")(copied)
    (fault,) = verify_collection(copied / "collection.json")
    assert "not valid" in fault.found
    assert "'extent' is a required property" in fault.found


def test_garbage_in_pictures_and_sites_is_found(tmp_path: Path) -> None:
    da, png = field()[TARGET], tmp_path / "a.png"
    write_preview(png, da, SOIL, "A map")
    assert verify_picture(png) == []
    whole = png.read_bytes()
    for damaged in (b"garbage", whole[: len(whole) // 2]):
        png.write_bytes(damaged)
        assert "unreadable" in verify_picture(png)[0].found
    degrees = np.arange(2000) % 80.0
    frame = sites_frame(degrees, degrees, {"NSE": degrees})
    sites = write_sites(tmp_path / "s.gpkg", {"sites": frame})
    assert verify_sites(sites) == []
    whole = sites.read_bytes()
    for damaged in (b"garbage", whole[: len(whole) // 2] + b"x" * 4096 + whole[-4096:]):
        sites.write_bytes(damaged)
        assert "a sound GeoPackage" in str(verify_sites(sites)[0]) or "unreadable" in str(
            verify_sites(sites)[0]
        )


def test_another_grid_source_or_legend_is_found(maps: Path) -> None:
    tif, flag, da = maps / "test.tif", maps / "test_flag.tif", field()[TARGET]
    shifted = TargetGrid(
        name="s",
        crs="EPSG:4326",
        west=GRID.west + 1e-6,
        north=GRID.north,
        dx=0.5,
        dy=0.5,
        shape=GRID.shape,
    )
    moved = da.assign_coords(shifted.coords())
    assert wheres(verify_product(tif, shifted, moved, SOIL)) == ["transform"]
    assert wheres(verify_product(maps / "test.zarr", shifted, moved, SOIL)) == ["transform"]
    other = da.copy()
    other[3, 20, 60] += np.float32(1)
    assert "values" in wheres(verify_product(tif, GRID, other, SOIL))
    assert wheres(verify_product(maps / "test.zarr", GRID, other, SOIL)) == ["values"]
    found = verify_product(flag, GRID, field()["quality_flag"], named_legend("usda_texture"))
    assert {"codes", "colours/0"} <= set(wheres(found))
    assert "no such file" in verify_product(maps / "none.tif", GRID, da, SOIL)[0].found


def test_an_untagged_nodata_poisons_overviews(tmp_path: Path) -> None:
    """A nodata value of -9999 without a tag would enter the means."""
    lon, lat = LARGE.lonlat()
    values = np.where(np.abs(lat) > 10.2, np.sin(np.deg2rad(lon)), -9999).astype(np.float32)
    good = xr.DataArray(values, dims=("y", "x"), name="v").where(lambda v: v > -9999)
    path = write_cog(tmp_path / "a.tif", good, LARGE)
    assert verify_product(path, LARGE, good, SOIL) == []
    with rasterio.open(path) as raster:
        profile, tags = raster.profile, raster.tags(1)
    plain = {**profile, "driver": "GTiff", "nodata": None, "interleave": "band"}
    with rasterio.open(tmp_path / "plain.tif", "w", **plain) as raster:
        raster.write(values, 1)
        raster.set_band_description(1, "v")
        raster.update_tags(1, **tags)
    rasterio.shutil.copy(
        tmp_path / "plain.tif", tmp_path / "bad.tif", driver="COG", OVERVIEW_RESAMPLING="AVERAGE"
    )
    found = wheres(verify_product(tmp_path / "bad.tif", LARGE, good, SOIL))
    assert {"nodata", "values", "overview 1"} <= set(found)


def test_a_style_of_another_legend_is_found(maps: Path) -> None:
    assert verify_style(maps / "test.qml", SOIL) == []
    assert verify_style(maps / "test.qml", named_legend("soil_moisture_spread"))
    assert verify_style(maps / "test_flag.qml", SOIL)
    assert "no such" in str(verify_style(maps / "none.qml", SOIL)[0]).lower()


def test_an_unreadable_map_of_a_collection_is_named(copied: Path) -> None:
    (copied / "test.tif").write_bytes(b"II*\0")
    with pytest.raises(InputError, match=r"test\.tif: found unreadable"):
        collection_documents(copied, items(copied), **DETAILS)
