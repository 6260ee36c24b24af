from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr

from pipeline.cf import write_map_zarr
from pipeline.geotiff import write_cog
from pipeline.grid import TargetGrid
from pipeline.legend import named_legend
from pipeline.stac import StacItem, times_of, write_collection
from pipeline.style import write_qml
from pipeline.verify import verify_collection, verify_product, verify_style
from tests.maps import ALBERS, GRID, NAMES, TARGET, field

LARGE = TargetGrid.from_bounds("large", "EPSG:4326", (-180, -60, 180, 84), 0.3)


def wheres(faults: list) -> list[str]:
    return [fault.where.split(": ")[1] for fault in faults]


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    items = []
    for grid in (GRID, ALBERS):
        ds = field(grid)
        files = {
            "map": write_cog(folder / f"{grid.name}.tif", ds[TARGET], grid),
            "flag": write_cog(
                folder / f"{grid.name}_flag.tif", ds["quality_flag"], grid, kind="categorical",
                legend=named_legend("quality_flag"),
            ),
            "zarr": write_map_zarr(folder / f"{grid.name}.zarr", ds[TARGET], grid),
        }  # fmt: skip
        write_qml(files["map"], named_legend("soil_moisture"))
        write_qml(files["flag"], named_legend("quality_flag"))
        items.append(StacItem(grid.name, "Map", grid, files, times_of(ds[TARGET])))
    write_collection(folder, items, id="c", title="c", description="c")
    return folder


@pytest.mark.parametrize("grid", [GRID, ALBERS], ids=lambda grid: grid.name)
def test_what_was_published_is_sound(maps: Path, grid: TargetGrid) -> None:
    ds = field(grid)
    legends = {name: named_legend(name) for name in ("soil_moisture", "quality_flag")}
    assert not verify_product(
        maps / f"{grid.name}.tif", grid, legend=legends["soil_moisture"], band_names=NAMES,
        source=ds[TARGET], land_mask=ds["quality_flag"].isin([0, 1]).values,
    )  # fmt: skip
    flag = maps / f"{grid.name}_flag.tif"
    assert not verify_product(flag, grid, legend=legends["quality_flag"], source=ds["quality_flag"])
    assert not verify_product(maps / f"{grid.name}.zarr", grid, source=ds[TARGET])
    assert not verify_collection(maps / "collection.json")


def test_another_grid_source_or_legend_is_found(maps: Path) -> None:
    tif, flag = maps / "test.tif", maps / "test_flag.tif"
    shifted = TargetGrid("s", "EPSG:4326", GRID.west + 1e-6, GRID.north, 0.5, 0.5, GRID.shape)
    assert wheres(verify_product(tif, shifted)) == ["transform"]
    assert wheres(verify_product(maps / "test.zarr", shifted)) == ["transform"]
    other = field()[TARGET].copy()
    other[3, 20, 60] += 1
    assert wheres(verify_product(tif, GRID, source=other)) == ["values"]
    assert wheres(verify_product(maps / "test.zarr", GRID, source=other)) == ["values"]
    assert wheres(verify_product(tif, GRID, band_names=NAMES[::-1])) == ["band names"]
    found = verify_product(flag, GRID, legend=named_legend("usda_texture"))
    assert {"codes", "colour table"} <= set(wheres(found))
    assert "no such file" in verify_product(maps / "none.tif", GRID)[0].found


def test_holes_are_counted(maps: Path) -> None:
    land = field()["quality_flag"].isin([0, 1, 3]).values
    (fault,) = verify_product(maps / "test.tif", GRID, land_mask=land)
    masked = int((field()["quality_flag"] == 3).sum())
    assert fault.found == f"{masked} of {land.sum()} land cells without a value"


def test_an_untagged_nodata_poisons_overviews(tmp_path: Path) -> None:
    """The fault this project was warned of: -9999 without a tag goes into the means."""
    lon, lat = LARGE.lonlat()
    values = np.where(np.abs(lat) > 10.2, np.sin(np.deg2rad(lon)), -9999).astype(np.float32)
    good = xr.DataArray(values, dims=("y", "x"), name="v").where(lambda v: v > -9999)
    path = write_cog(tmp_path / "a.tif", good, LARGE)
    assert verify_product(path, LARGE) == []
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
    found = set(wheres(verify_product(tmp_path / "bad.tif", LARGE)))
    assert {"nodata", "statistics of band 1"} <= found
    with rasterio.open(tmp_path / "bad.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as raster:
        raster.nodata = -9999
    found = wheres(verify_product(tmp_path / "bad.tif", LARGE))
    assert "overview 1 of band 1" in found


def test_averaged_classes_are_found(tmp_path: Path) -> None:
    codes = np.where(np.indices(LARGE.shape).sum(axis=0) % 2, 1, 3).astype(np.uint8)
    da = xr.DataArray(codes, dims=("y", "x"), name="texture")
    legend = named_legend("usda_texture")
    path = write_cog(tmp_path / "a.tif", da, LARGE, kind="categorical", legend=legend)
    assert verify_product(path, LARGE, legend=legend) == []
    rasterio.shutil.copy(
        path,
        tmp_path / "b.tif",
        driver="COG",
        OVERVIEW_RESAMPLING="AVERAGE",
        OVERVIEWS="IGNORE_EXISTING",
    )
    found = verify_product(tmp_path / "b.tif", LARGE, legend=legend)
    assert "codes [2]" in " ".join(fault.found for fault in found)


def test_a_style_of_another_legend_is_found(maps: Path) -> None:
    legend = named_legend("soil_moisture")
    assert verify_style(maps / "test.qml", legend) == []
    assert verify_style(maps / "test.qml", named_legend("soil_moisture_spread"))
    assert verify_style(maps / "test_flag.qml", legend)
    assert "no such" in str(verify_style(maps / "none.qml", legend)[0]).lower()


def test_faults_of_a_collection_are_told_together(maps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    shutil.copytree(maps, folder)
    (folder / "albers_flag.tif").unlink()
    (folder / "test.tif").write_bytes(b"II*\0")
    found = verify_collection(folder / "collection.json")
    assert sorted(fault.found.split(" (")[0] for fault in found) == ["no such file", "unreadable"]
    item = json.loads((folder / "test.json").read_text())
    del item["properties"]["end_datetime"]
    (folder / "test.json").write_text(json.dumps(item))
    assert "not valid" in verify_collection(folder / "collection.json")[0].found
