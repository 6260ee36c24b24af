"""Published files hold any text of a config or of data, and stay well-formed and equal to it."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.settings import validated
from pipeline.grid.target_grid import TargetGrid
from pipeline.maps.legend import Legend
from pipeline.publish.geopackage import renderer_element, sites_frame, verify_sites, write_sites
from pipeline.publish.geotiff import write_cog
from pipeline.publish.png import write_preview
from pipeline.publish.qgis import project_element, read_project, verify_project, write_project
from pipeline.publish.qgis_layers import LayerGroup, SiteLayer, map_group
from pipeline.publish.qml import read_qml, write_qml
from pipeline.publish.stac import StacItem, collection_documents, write_collection
from pipeline.publish.verify import (
    verify_collection,
    verify_picture,
    verify_product,
    verify_style,
)
from pipeline.publish.zarr import open_map_zarr, write_map_zarr
from tests.hostile import HOSTILE

GRID = TargetGrid.from_bounds("hostile", "EPSG:4326", (0, 0, 6, 4), 1.0)
COUNT = len(HOSTILE)
TITLE = "".join(text for text in HOSTILE if len(text) < 1000)
"""Nearly all of the texts in one."""
CONTROL = "flow\x07\x1b[31m\x00."


def legend(kind: str = "continuous", text: str = TITLE) -> Legend:
    stops = [
        {"value": i, "colour": f"#{i:02x}0000", "label": label} for i, label in enumerate(HOSTILE)
    ]
    return Legend.model_validate(
        {"name": "hostile", "title": text, "kind": kind, "units": text, "stops": stops}
    )


def hostile_map() -> xr.DataArray:
    """One band for each text, which is its name."""
    values = np.arange(COUNT * 24, dtype=np.float32).reshape(COUNT, *GRID.shape) / 100
    coords = {**GRID.coords(), "band": list(HOSTILE)}
    attrs = {"long_name": TITLE, "units": TITLE[:200], "standard_name": TITLE}
    return xr.DataArray(values, coords, ("band", "y", "x"), "clay", attrs)


@pytest.fixture(scope="module")
def tif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    metadata = {f"text_{i}": text.strip() for i, text in enumerate(HOSTILE)}
    path = tmp_path_factory.mktemp("hostile") / "clay.tif"
    return write_cog(path, hostile_map(), GRID, metadata=metadata)


def test_a_geotiff_has_them_as_names_and_tags(tif: Path) -> None:
    metadata = {f"text_{i}": text.strip() for i, text in enumerate(HOSTILE)}
    assert not verify_product(tif, GRID, hostile_map(), legend(), metadata=metadata)
    with rasterio.open(tif) as raster:
        assert list(raster.descriptions) == [text.strip() for text in HOSTILE]
        tags = raster.tags()
    assert {key: tags[key] for key in metadata} == metadata


def test_a_zarr_store_has_them_as_names_and_attributes(tmp_path: Path) -> None:
    attrs = {"title": TITLE, **{f"text_{i}": text for i, text in enumerate(HOSTILE)}}
    path = write_map_zarr(tmp_path / "clay.zarr", hostile_map(), GRID, attrs=attrs)
    assert not verify_product(path, GRID, hostile_map(), legend(), metadata=attrs)
    assert open_map_zarr(path)["band"].values.tolist() == list(HOSTILE)
    for file in path.rglob(".z*"):
        json.loads(file.read_text())


@pytest.mark.parametrize("kind", ["continuous", "categorical"])
def test_a_style_has_them_as_labels(tmp_path: Path, kind: str) -> None:
    path = write_qml(tmp_path / "clay.qml", legend(kind))
    assert not verify_style(path, legend(kind))
    assert [label for _, label in read_qml(path)[1].values()] == list(HOSTILE)


@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_picture_draws_them(tmp_path: Path) -> None:
    da = hostile_map()
    for i, text in enumerate(["$x_{", "a" * 5000, TITLE]):
        few = da[[HOSTILE.index("$x_{"), 0, i]]
        path = write_preview(tmp_path / f"{i}.png", few, legend("continuous", text), text)
        assert not verify_picture(path)
    codes = xr.zeros_like(da[0], np.uint8)
    assert not verify_picture(write_preview(tmp_path / "c.png", codes, legend("categorical"), "$"))


def test_a_project_and_a_geopackage_have_them(tif: Path) -> None:
    texts = np.array(HOSTILE)
    frame = sites_frame(np.arange(COUNT), np.arange(COUNT), {"site": texts, "region": texts})
    gpkg, style = tif.with_name("sites.gpkg"), renderer_element("point", legend(), "site")
    write_sites(gpkg, {"sites": frame}, {"sites": style})
    assert not verify_sites(gpkg)
    assert geopandas.read_file(gpkg, layer="sites")["region"].tolist() == list(HOSTILE)
    with closing(sqlite3.connect(gpkg)) as file:
        assert file.execute("SELECT count(*) FROM layer_styles").fetchone() == (1,)
    layers = SiteLayer(name=TITLE, path=gpkg, table="sites", legend=legend(), column="site")
    groups = [LayerGroup(TITLE, (layers,)), map_group(TITLE, [(TITLE, tif, legend())])]
    path = write_project(tif.with_name("all.qgz"), groups, title=TITLE)
    assert not verify_project(path, project_element(path, groups, title=TITLE))
    root = read_project(path)
    assert root.findtext("title") == TITLE
    names = [element.text for element in root.iterfind("projectlayers/maplayer/layername")]
    assert names == [TITLE, *(text.strip() for text in HOSTILE)]


def test_a_stac_collection_has_them(tif: Path) -> None:
    time = np.array(["2001-01-01", "2001-12-31"], "datetime64[s]")
    items = [
        StacItem(id=f"item{i}", title=text, grid=GRID, files={"map": tif}, time=time,
                 description=text)
        for i, text in enumerate([TITLE, HOSTILE[0], "a" * 5000])
    ]  # fmt: skip
    texts = {"title": TITLE, "description": TITLE, "keywords": list(HOSTILE)}
    path = write_collection(tif.parent, items, id="hostile", **texts)
    documents = collection_documents(tif.parent, items, id="hostile", **texts)
    assert not verify_collection(path, documents)
    assert json.loads(path.read_text())["keywords"] == list(HOSTILE)


def test_control_characters_of_a_legend_are_refused_and_those_of_data_replaced(
    tmp_path: Path,
) -> None:
    entry = {"name": "x", "title": CONTROL, "kind": "continuous"}
    stops = [{"value": i, "colour": "#000000", "label": CONTROL} for i in range(2)]
    with pytest.raises(InputError) as caught:
        validated(Legend, {**entry, "stops": stops}, "x.yml")
    assert [fault.where for fault in caught.value.faults] == [
        "x.yml: title", "x.yml: stops.0.label", "x.yml: stops.1.label"
    ]  # fmt: skip
    assert "U+0007, U+001B, U+0000" in caught.value.faults[0].found
    da = hostile_map()[:2].assign_coords(band=[CONTROL, "\ud800"])
    path = write_cog(tmp_path / "clay.tif", da, GRID)
    with rasterio.open(path) as raster:
        assert raster.descriptions == ("flow\ufffd\ufffd[31m\ufffd.", "\ufffd")
    frame = sites_frame(np.zeros(2), np.zeros(2), {"site": np.array([CONTROL, "\ud800"])})
    write_sites(tmp_path / "sites.gpkg", {"sites": frame})
    assert not verify_sites(tmp_path / "sites.gpkg")
