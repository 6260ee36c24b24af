"""Files of others that would read other files of this disk, ask servers or run code."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
import xarray as xr
import zarr
from shapely import box

from pipeline.core import transfers
from pipeline.core.errors import InputError
from pipeline.core.untrusted.hosts import is_private
from pipeline.core.web import redirected, web_head
from pipeline.entries.source import Source
from pipeline.readers.guards.hdf5 import check_hdf5
from pipeline.readers.guards.vectors import check_vector
from pipeline.readers.registry import read_files
from tests.loopback import serving

SECRET = b"secret" * 100


def source(uri: Path | str, driver: str, name: str = "band_1", **more: Any) -> Source:
    variables = {"x": {"name": name, "units": "1"}}
    return Source.model_validate(
        {"name": "hostile", "uri": str(uri), "driver": driver, "variables": variables, **more}
    )


def read(entry: Source) -> xr.Dataset:
    ds: xr.Dataset = read_files(entry)
    return ds.load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of data beside a secret file."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def tiff(path: Path) -> Path:
    transform = rasterio.transform.from_origin(0, 2, 1, 1)
    with rasterio.open(
        path, "w", driver="GTiff", height=2, width=3, count=1, dtype="uint8", crs="EPSG:4326",
        transform=transform,
    ) as file:  # fmt: skip
        file.write(np.arange(6, dtype="uint8").reshape(1, 2, 3))
    return path


def vrt(band: str, kind: str = "", beneath: str = "") -> str:
    return (
        '<VRTDataset rasterXSize="3" rasterYSize="2"><SRS>EPSG:4326</SRS>'
        "<GeoTransform>0,1,0,2,0,-1</GeoTransform><Metadata><MDI key='doi'>https://doi.org/1</MDI>"
        f'</Metadata><VRTRasterBand dataType="Byte" band="1"{kind}>{band}</VRTRasterBand>{beneath}'
        "</VRTDataset>"
    )


def simple(name: str, relative: int = 1) -> str:
    return (
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource>"
    )


RAW = ' subClass="VRTRawRasterBand"'
OFFSETS = "<ImageOffset>0</ImageOffset><PixelOffset>1</PixelOffset><LineOffset>3</LineOffset>"
HOSTILE_VRTS = {
    "raw bytes of a file": vrt(
        f'<SourceFilename relativeToVRT="0">{{root}}/secret</SourceFilename>{OFFSETS}', RAW),
    "raw bytes above": vrt(
        f'<SourceFilename relativeToVRT="1">../secret</SourceFilename>{OFFSETS}', RAW),
    "an absolute path": vrt(simple("{root}/other.tif", 0)),
    "a path above": vrt(simple("../other.tif")),
    "a path of the working folder": vrt(simple("other.tif", 0)),
    "a server": vrt(simple("/vsicurl/http://127.0.0.1:9/a.tif", 0)),
    "a server by its url": vrt(simple("http://127.0.0.1:9/a.tif", 0)),
    "a file in an archive": vrt(simple("/vsizip/{root}/a.zip/a.tif", 0)),
    "a file within a text": vrt(simple("/vsisubfile/0_9,{root}/secret", 1)),
    "a VRT in a text": vrt(simple("&lt;VRTDataset/&gt;")),
    "a part of another file": vrt(simple('HDF5:"{root}/a.h5"://x', 0)),
    "a driver": vrt(simple("STACIT:http://127.0.0.1:9/a.json")),
    "a mask": vrt(simple("own.tif"), "", f"<MaskBand><VRTRasterBand dataType='Byte'>"
                  f"{simple('{root}/other.tif', 0)}</VRTRasterBand></MaskBand>"),
    "overviews": vrt(simple("own.tif") + "<Overview><SourceFilename>{root}/other.tif"
                     "</SourceFilename></Overview>"),
    "an entity": '<!DOCTYPE a [<!ENTITY b SYSTEM "file://{root}/secret">]>' + vrt("&b;"),
    "itself": vrt(simple("{name}")),
    "a symbolic link": vrt(simple("linked.tif")),
    "another VRT": vrt(simple("nested.tif")),
    "another format of text": vrt(simple("service.tif")),
}  # fmt: skip


@pytest.mark.parametrize("name", ["a.vrt", "a.tif"])
@pytest.mark.parametrize("kind", HOSTILE_VRTS)
def test_a_vrt_reads_no_file_beyond_its_folder(kind: str, name: str, folder: Path) -> None:
    root = folder.parent
    tiff(root / "other.tif")
    tiff(folder / "own.tif")
    (folder / "linked.tif").symlink_to(root / "other.tif")
    (folder / "nested.tif").write_text(vrt(simple("../other.tif")))
    (folder / "service.tif").write_text("<GDAL_WMS><Service name='TMS'/></GDAL_WMS>\n")
    (folder / name).write_text(
        HOSTILE_VRTS[kind].replace("{root}", str(root)).replace("{name}", name)
    )
    with pytest.raises(InputError, match=r"its own folder alone\..*trust: true"):
        read(source(folder / name, "raster"))


def test_a_vrt_of_files_in_its_folder_is_read_and_any_with_trust(folder: Path) -> None:
    expected = read(source(tiff(folder / "own.tif"), "raster")).band_1.values
    (folder / "tiles").mkdir()
    tiff(folder / "tiles" / "a.tif")
    tiff(folder.parent / "other.tif")
    for text in (simple("own.tif"), simple("tiles/a.tif"), simple(f"{folder}/own.tif", 0)):
        (folder / "a.vrt").write_text(vrt(text))
        found = read(source(folder / "a.vrt", "raster"))
        np.testing.assert_array_equal(found.band_1.values, expected)
    (folder / "a.vrt").write_text(vrt(simple("../other.tif")))
    found = read(source(folder / "a.vrt", "raster", options={"trust": True}))
    np.testing.assert_array_equal(found.band_1.values, expected)


@pytest.mark.parametrize("options", [{}, {"trust": True}])
def test_code_of_a_vrt_never_runs(
    folder: Path, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiff(folder / "own.tif")
    code = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
        "</PixelFunctionLanguage><PixelFunctionCode>def f(i, out, *a, **k): open("
        f"'{folder}/ran', 'w')</PixelFunctionCode>"
    )
    derived = ' subClass="VRTDerivedRasterBand"'
    (folder / "a.vrt").write_text(vrt(code + simple("own.tif"), derived))
    assert os.environ["GDAL_VRT_ENABLE_PYTHON"] == "NO"
    with pytest.raises(InputError, match="never run"):
        read(source(folder / "a.vrt", "raster", options=options))
    with pytest.raises(rasterio.RasterioIOError), rasterio.open(folder / "a.vrt") as file:
        file.read()
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("text", [
    "<GDAL_WMS><Service name='TMS'><ServerUrl>http://127.0.0.1:9</ServerUrl></Service></GDAL_WMS>",
    "<GDALTileIndexDataset><IndexDataset>a.gpkg</IndexDataset></GDALTileIndexDataset>",
    '{"type": "FeatureCollection", "stac_version": "1.0.0", "features": [{"assets": {}}]}',
    "DatasetHeader Begin\n DataFile = \"../secret\"\n",
    "PDS_VERSION_ID = PDS3\n^IMAGE = \"../secret\"\n",
])  # fmt: skip
def test_rasters_of_text_that_name_files_or_servers_are_refused(text: str, folder: Path) -> None:
    (folder / "a.tif").write_text(text + "\n" * 3)
    with pytest.raises(InputError, match=r"trust: true|It is a STAC document"):
        read(source(folder / "a.tif", "raster"))


@pytest.mark.parametrize("ending, text", [
    (".msk", vrt(simple("../other.tif"))), (".ovr", vrt(simple("../other.tif"))),
    (".aux.xml", "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/etc/hostname"
     "</MDI></Metadata></PAMDataset>"),
    (".aux.xml", '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><PAMDataset/>'),
])  # fmt: skip
def test_files_beside_a_raster_lead_nowhere(ending: str, text: str, folder: Path) -> None:
    path = tiff(folder / "a.tif")
    path.with_name(path.name + ending).write_text(text)
    with pytest.raises(InputError, match=f"named by a.tif{ending} beside it"):
        read(source(path, "raster"))


def test_a_vrt_at_an_address_needs_trust(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    (folder / "a.vrt").write_text(vrt(simple("/etc/hostname", 0)))
    with serving(folder) as web, pytest.raises(InputError, match="a VRT at an address"):
        read(source(web.to("a.vrt"), "raster"))


def _external_link(file: h5py.File, root: Path) -> None:
    with h5py.File(root / "other.h5", "w") as other:
        other["x"] = np.arange(6.0)
    file["x"] = h5py.ExternalLink(str(root / "other.h5"), "x")


def _link_above(file: h5py.File, root: Path) -> None:
    _external_link(file, root)
    del file["x"]
    file["a/b/x"] = h5py.ExternalLink("../other.h5", "x")


def _external_storage(file: h5py.File, root: Path) -> None:
    file.create_dataset("x", (6,), "u1", external=[(str(root / "secret"), 0, 6)])


def _virtual(file: h5py.File, root: Path) -> None:
    _external_link(file, root)
    del file["x"]
    layout = h5py.VirtualLayout((6,), "f8")
    layout[:] = h5py.VirtualSource(str(root / "other.h5"), "x", (6,))
    file.create_virtual_dataset("x", layout)


@pytest.mark.parametrize("make", [_external_link, _link_above, _external_storage, _virtual])
@pytest.mark.parametrize("block", [0, 512])
def test_an_hdf5_file_reads_no_file_beyond_its_folder(
    make: Callable[[h5py.File, Path], None], block: int, folder: Path
) -> None:
    for ending, driver in (("nc", "netcdf"), ("h5", "netcdf"), ("h5", "raster")):
        path = folder / f"{driver}.{ending}"
        with h5py.File(path, "w", userblock_size=block) as file:
            make(file, folder.parent)
            file["y"] = np.arange(6.0)
        with pytest.raises(InputError, match="its own folder alone"):
            read(source(path, driver, "x"))
        with pytest.raises(InputError, match="its own folder alone"):
            read(source(path, driver, "y"))


def test_an_hdf5_file_may_have_parts_in_its_folder(folder: Path) -> None:
    with h5py.File(folder / "part.h5", "w") as part:
        part["x"] = np.arange(6.0)
    with h5py.File(folder / "a.h5", "w") as file:
        layout = h5py.VirtualLayout((6,), "f8")
        layout[:] = h5py.VirtualSource("part.h5", "x", (6,))
        file.create_virtual_dataset("x", layout)
    check_hdf5(folder / "a.h5", "a.h5", trust=False)


class Spy:
    """An object whose pickle writes a file where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickles_in_arrays_of_numpy_do_not_run(folder: Path) -> None:
    np.savez(folder / "a.npz", x=np.array([Spy(folder / "ran")], object), lat=[1.0], lon=[1.0])
    with pytest.raises(InputError, match="cannot be read"):
        read(source(folder / "a.npz", "npz", "x", lat="lat", lon="lon"))
    assert not (folder / "ran").exists()


def test_pickles_in_zarr_do_not_run(folder: Path) -> None:
    store = folder / "a.zarr"
    root = zarr.open_group(store, mode="w", zarr_format=2)
    root.create_array("x", shape=(1,), chunks=(1,), dtype="f8", attributes={
        "_ARRAY_DIMENSIONS": ["time"]})  # fmt: skip
    meta = json.loads((store / "x" / ".zarray").read_text())
    filters = [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}]
    meta |= {"dtype": "|O", "filters": filters, "compressor": None, "fill_value": None}
    (store / "x" / ".zarray").write_text(json.dumps(meta))
    (store / "x" / "0").write_bytes(pickle.dumps(Spy(folder / "ran")))
    for options in ({}, {"trust": True}):
        with pytest.raises(InputError, match="array of pickles"):
            read(source(store, "zarr", "x", options=options))
    assert not (folder / "ran").exists()


def test_a_zarr_store_has_no_links_that_lead_out(folder: Path) -> None:
    store, other = folder / "a.zarr", folder.parent / "other.zarr"
    data = xr.Dataset({"x": ("time", np.arange(6.0)), "y": ("time", np.arange(6.0))})
    for path in (store, other):
        data.to_zarr(path, zarr_format=2, consolidated=False)
    (store / "x" / "0").unlink()
    (store / "x" / "0").symlink_to(other / "x" / "0")
    with pytest.raises(InputError, match="a symbolic link to"):
        read(source(store, "zarr", "x"))
    found = read(source(store, "zarr", "x", options={"trust": True}))
    assert found.x.values.tolist() == list(range(6))
    (folder / "linked.zarr").symlink_to(other)
    assert read(source(folder / "linked.zarr", "zarr", "x")).x.size == 6


REFERENCES: dict[str, Any] = {
    ".zgroup": '{"zarr_format": 2}',
    "x/.zarray": '{"zarr_format": 2, "shape": [6], "chunks": [6], "dtype": "|u1", "compressor": '
    'null, "filters": null, "order": "C", "fill_value": 0}',
    "x/.zattrs": '{"_ARRAY_DIMENSIONS": ["time"]}',
}


@pytest.mark.parametrize("target", [
    "{root}/secret", "../secret", "file://{root}/secret", "linked", "{web}/secret",
    "/vsicurl/{web}/secret", "http://localhost:9/x", "http://2130706433/x", "http://[::1]/x",
    "http://169.254.169.254/latest/meta-data", "http://metadata.google.internal/x",
])  # fmt: skip
@pytest.mark.parametrize("kind", ["references", "stac"])
def test_documents_name_no_file_and_no_server_of_this_machine(
    target: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "FIRST_PAUSE", 0.001)
    (folder / "linked").symlink_to(folder.parent / "secret")
    with serving(folder.parent) as web:
        href = target.format(root=folder.parent, web=web.url)
        if kind == "references":
            document: Any = {**REFERENCES, "x/0": [href, 0, 6]}
            entry = source(folder / "a.json", "zarr", "x")
        else:
            document = {
                "type": "Feature", "stac_version": "1.0.0", "id": "i", "links": [],
                "properties": {"datetime": "2001-01-01T00:00:00Z"}, "geometry": None,
                "bbox": [0, 0, 1, 1], "assets": {"x": {"href": href}},
            }  # fmt: skip
            entry = source(folder / "a.json", "raster", options={"asset": "x"})
        (folder / "a.json").write_text(json.dumps(document))
        with pytest.raises(InputError, match="trust: true"):
            read(entry)
        assert not web.requests


@pytest.mark.parametrize("target", [
    "http://server.org/x", "file:///etc/passwd", "https://127.0.0.1/x", "https://localhost/x",
    "ftp://server.org/x", "https://10.1.2.3/x", "https://[::ffff:127.0.0.1]/x", "gopher://a.org",
])  # fmt: skip
def test_redirects_lead_to_no_other_kind_of_address(target: str) -> None:
    with pytest.raises(InputError, match="a redirect to"):
        redirected("https://provider.org/x", target)


@pytest.mark.parametrize("target", [
    "http://169.254.169.254/latest", "http://[fe80::1%25eth0]/x", "http://[::ffff:a9fe:a9fe]/x",
])  # fmt: skip
def test_redirects_within_a_network_do_not_lead_to_metadata(target: str) -> None:
    with pytest.raises(InputError, match="a redirect to"):
        redirected("http://127.0.0.1:8000/x", target)


def test_redirects_to_other_servers_are_followed() -> None:
    target = "https://login.provider.org/x?sign=1"
    assert redirected("https://provider.org/x", target) == target
    assert redirected("http://10.1.2.3/x", "http://login.intranet/x") == "http://login.intranet/x"


def test_both_clients_check_redirects(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from pipeline.core.web import SafeSession
    from pipeline.fetch import client

    asked = []
    monkeypatch.setattr("pipeline.core.web.check_link", lambda *found, **how: asked.append(found))
    import requests

    answer = requests.Response()
    answer.status_code, answer.url = 302, "https://provider.org/x"
    answer.headers["Location"] = "/y"
    assert SafeSession().get_redirect_target(answer) == "/y"
    assert asked == [("https://provider.org/y", "https://provider.org/x")]
    assert client.redirected is redirected
    with serving(folder) as web:
        (folder / "x").write_bytes(b"12")
        assert web_head(web.to("x")).size == 2


@pytest.mark.parametrize("host, private", [
    ("127.0.0.1", True), ("0.0.0.0", True), ("::1", True), ("fe80::1%eth0", True),
    ("172.16.0.1", True), ("0x7f.1", True), ("017700000001", True), ("printer", True),
    ("LOCALHOST.", True), ("a.internal", True), ("8.8.8.8", False), ("files.isric.org", False),
    ("2001:4860:4860::8888", False),
])  # fmt: skip
def test_hosts_of_this_network(host: str, private: bool) -> None:
    assert is_private(host) is private


@pytest.mark.parametrize("text", [
    '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>../other.gpkg</SrcDataSource>'
    "<SrcSQL>SELECT 1</SrcSQL></OGRVRTLayer></OGRVRTDataSource>",
    '<?xml version="1.0"?><!DOCTYPE kml [<!ENTITY x SYSTEM "file:///etc/passwd">]><kml>&x;</kml>',
    '<!-- <kml> --><OGRWFSDataSource><URL>http://127.0.0.1:9</URL></OGRWFSDataSource>',
    '{"type": "gdal_streamed_alg", "command_line": "gdal vector read /etc/passwd"}',
    '<?xml version="1.0"?><a><!ENTITY x "y"></a>',
])  # fmt: skip
def test_vector_files_that_name_others_are_refused(text: str, folder: Path) -> None:
    for name in ("a.vrt", "a.geojson", "a.gpkg"):
        (folder / name).write_text(text)
        with pytest.raises(InputError, match="trust: true"):
            read_files(source(folder / name, "vector", "value"))


def test_tables_of_a_geopackage_are_its_own(folder: Path) -> None:
    frame = geopandas.GeoDataFrame({"value": [1]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:4326")
    frame.to_file(folder / "a.gpkg")
    assert len(read_files(source(folder / "a.gpkg", "vector", "value"))) == 1
    with sqlite3.connect(folder / "a.gpkg") as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "INSERT INTO sqlite_master VALUES ('table', 'evil', 'evil', 0, "
            "'CREATE VIRTUAL TABLE evil USING VirtualOGR(''/etc/passwd'')')"
        )
    os.utime(folder / "a.gpkg", (1, 1))
    with pytest.raises(InputError, match="the module VirtualOGR"):
        read_files(source(folder / "a.gpkg", "vector", "value"))


def test_a_lookup_in_a_database_reads_tables_of_its_own(folder: Path) -> None:
    from pipeline.readers.guards.vectors import check_database

    with sqlite3.connect(folder / "a.db") as database:
        database.execute("CREATE VIEW v AS SELECT load_extension('/tmp/evil.so') AS x")
    with pytest.raises(InputError, match="reads other files"):
        check_database(folder / "a.db", "lookup")


def test_extension_types_of_parquet_run_no_code(folder: Path) -> None:
    field = pa.field("rain", pa.float64(), metadata={
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Spy(folder / "ran")),
    })  # fmt: skip
    columns = [pa.array([1.0]), pa.array([50.0]), pa.array([7.0])]
    schema = pa.schema([field, pa.field("lat", pa.float64()), pa.field("lon", pa.float64())])
    pq.write_table(pa.table(columns, schema=schema), folder / "a.parquet")
    assert pd.read_parquet(folder / "a.parquet").shape == (1, 3)
    read(source(folder / "a.parquet", "table", "rain", lat="lat", lon="lon"))
    assert not (folder / "ran").exists()


def test_the_attribute_table_beside_a_raster_has_no_entities(folder: Path) -> None:
    from pipeline.sources.computed.lookups import attribute_table

    laughs = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><PAMDataset>&y;</PAMDataset>'
    (folder / "a.tif.aux.xml").write_text(laughs)
    with pytest.raises(ValueError, match="entities"):
        attribute_table(folder / "a.tif.aux.xml")


def test_a_database_with_texts_that_are_no_utf8_is_searched_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    geopandas.GeoDataFrame({"v": [1.0]}, geometry=[box(0, 0, 1, 1)], crs=4326).to_file(path)
    with sqlite3.connect(path) as database:
        database.execute("CREATE VIEW other AS SELECT load_extension('ZZ') AS v")
    path.write_bytes(path.read_bytes().replace(b"'ZZ'", b"'\xff\xfe'"))
    with pytest.raises(InputError, match="a function that reads other files"):
        check_vector(path, "rocks", False)
