"""Files of another format than their name or driver: the hint says what the file is and what to do.

Each file is tried with each reader; no reader may crash, guess by the name, or call a whole file
truncated.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zipfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from shapely.geometry import box

from pipeline.catalog.catalog import read_variables
from pipeline.core.errors import Fault, Faults
from pipeline.entries.source import Source
from pipeline.sources.open import check_source
from tests.products.grib import grid, make_grib

READERS = ["netcdf", "raster", "zarr", "table", "vector", "npz", "stations"]
READERS += ["grib"] if find_spec("cfgrib") else []
VARIABLES = read_variables()
NAMES = {"raster": "band_1", "vector": "value"}
PAGE = b"<!DOCTYPE html><html><title>Log in</title></html>"
CSV = b"lat,lon,v\n1,2,3\n2,3,4\n"
ASCII_GRID = b"ncols 4\nnrows 2\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2 3 4\n5 6 7 8\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    file, member = io.BytesIO(), tarfile.TarInfo(name)
    member.size = len(content)
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def rain() -> xr.Dataset:
    days = pd.date_range("2001-01-01", periods=2)
    values = np.ones((2, 3, 4), np.float32)
    return xr.Dataset(
        {"v": (("time", "lat", "lon"), values, {"units": "mm/day"})},
        {"time": days, "lat": [3.5, 2.5, 1.5], "lon": [0.5, 1.5, 2.5, 3.5]},
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns the bytes of a sound file of a format."""
    folder = tmp_path_factory.mktemp("sound")

    def raster(path: Path, driver: str, dtype: str) -> None:
        bands = np.random.default_rng(0).integers(0, 255, (1, 30, 40)).astype(dtype)
        place = rasterio.transform.from_origin(0, 4, 0.1, 0.1)
        crs = None if driver in ("PNG", "JPEG") else "EPSG:4326"
        with rasterio.open(path, "w", driver, 40, 30, 1, crs, place, dtype) as file:
            file.write(bands)

    def polygons(path: Path, driver: str) -> None:
        frame = geopandas.GeoDataFrame({"value": [1.0]}, geometry=[box(0, 0, 2, 2)], crs=4326)
        frame.to_file(path, driver=driver)

    table = pd.DataFrame({"lat": [1.0], "lon": [2.0], "v": [3.0]})
    write = {
        "nc": lambda p: rain().to_netcdf(p),
        "two": lambda p: rain().assign(w=rain().v).to_netcdf(p),
        "classic": lambda p: rain().to_netcdf(p, format="NETCDF3_CLASSIC"),
        "tif": lambda p: raster(p, "GTiff", "float32"),
        "png": lambda p: raster(p, "PNG", "uint8"),
        "jpg": lambda p: raster(p, "JPEG", "uint8"),
        "jp2": lambda p: raster(p, "JP2OpenJPEG", "uint16"),
        "grib": lambda p: make_grib(p, [(grid(3.5, 0.5, 1, 3, 4), np.ones((3, 4)))], 2),
        "gpkg": lambda p: polygons(p, "GPKG"),
        "geojson": lambda p: polygons(p, "GeoJSON"),
        "kml": lambda p: polygons(p, "KML"),
        "shp": lambda p: polygons(p, "ESRI Shapefile"),
        "parquet": table.to_parquet,
        "feather": table.to_feather,
        "npy": lambda p: np.save(p, np.ones((3, 4))),
        "npz": lambda p: np.savez(p, v=np.ones((3, 4)), lat=np.arange(3.0), lon=np.arange(4.0)),
    }

    @cache
    def content(kind: str) -> bytes:
        path = folder / f"sound.{kind}"
        write[kind](path)
        return path.read_bytes()

    return content


@pytest.fixture(autouse=True)
def _own_copies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))


def faults_of(path: Path, driver: str) -> list[Fault]:
    entry = {
        "name": "wrong",
        "uri": str(path),
        "driver": driver,
        "lat": "lat",
        "lon": "lon",
        "variables": {"precipitation": {"name": NAMES.get(driver, "v"), "units": "mm/day"}},
    }
    if driver in ("netcdf", "raster", "grib", "zarr", "vector"):
        del entry["lat"], entry["lon"]
    if driver == "vector":
        entry["method"] = "mean"
    faults = Faults()
    check_source(Source.model_validate(entry), faults, VARIABLES)
    return faults.faults


FILES: list[tuple[str, Any, str, set[str]]] = [
    # name, content (or the format of a sound file), the hint, and the drivers that have another.
    ("login.nc", PAGE, "is an HTML page", set()),
    ("login.tif", PAGE, "is an HTML page", set()),
    ("login.json", PAGE, "is an HTML page", set()),
    ("login.csv", b"\xff\xfe" + PAGE.decode().encode("utf-16-le"), "is an HTML page", set()),
    ("denied.nc", b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>',
     "an XML file, a server's error AccessDenied. Correct its address, or sign in", set()),
    ("quota.tif", b'{"message": "quota"}', "A server may have sent a message", set()),
    ("item.json", b'{"type": "Feature", "stac_version": "1.0.0", "id": "a"}',
     "options: {asset: …}", set()),
    ("refs.nc", b'{"version": 1, "refs": {".zgroup": "{}"}}', "`driver: zarr`, and let its name",
     set()),
    ("polygons.nc", "geojson", "set `driver: vector`", {"vector"}),
    ("polygons.json", "geojson", "set `driver: vector`", {"vector"}),
    ("polygons.tif", "gpkg", "set `driver: vector`", {"vector"}),
    ("outlines.nc", "kml", "set `driver: vector`", {"vector"}),
    ("rain.nc", "grib", "set `driver: grib`", {"grib", "raster"}),
    ("rain.grib", "nc", "set `driver: netcdf`", {"netcdf", "stations"}),
    ("rain.tif", "two", "et `driver: netcdf`", {"netcdf", "stations"}),
    ("rain.h5", "classic", "et `driver: netcdf`", {"netcdf", "stations"}),
    ("map.nc", "tif", "set `driver: raster`", {"raster"}),
    ("packed.nc", ("zip", "tif"), "driver: raster|Unpack it", {"raster"}),
    ("page.nc", zipped(a__nc=PAGE), "is an HTML page|Unpack it", set()),
    ("packed.tif.gz", gzip.compress(PAGE, mtime=0), "is an HTML page|Unpack it", set()),
    ("rain.grib.bz2", ("bz2", "nc"), "driver: netcdf|Unpack it|Set", {"netcdf", "stations"}),
    ("packed.xz", lzma.compress(CSV), "driver: table|Unpack it", set()),
    ("packed.tar", tarred("a.nc", CSV), "driver: table|Unpack it", set()),
    ("rain.Z", b"\x1f\x9d\x90abc", "compress archive (.Z). Unpack it", set()),
    ("sheet.csv", zipped(**{"[Content_Types]__xml": b"x"}), "Save the sheet as CSV", set()),
    ("table.nc", CSV, "set `driver: table`", {"table"}),
    ("table.tif", CSV.decode().encode("utf-16"), "set `driver: table`", {"table"}),
    ("radiation.nc", b"PAR1,PAR2\n1,2\n3,4\n", "set `driver: table`", {"table"}),
    ("grid.nc", ASCII_GRID, "set `driver: raster`", {"raster"}),
    ("grid.csv", ASCII_GRID, "set `driver: raster`", {"raster", "vector"}),
    ("picture.tif", "png", "PNG picture. It has colours", set()),
    ("picture.nc", "jpg", "JPEG picture. It has colours", set()),
    ("old.hdf", b"\x0e\x03\x13\x01" + bytes(600), "an HDF4 file. Use `driver: raster`", set()),
    ("pointer.nc", POINTER, "git lfs pull", set()),
    ("pointer.csv", POINTER, "git lfs pull", set()),
    ("paper.nc", b"%PDF-1.7\n", "is a PDF", set()),
    ("notes.nc", b"Not found\n", "text file: correct `uri` or `driver`", {"table"}),
    ("zeros.nc", bytes(5000), "begins with zeros. Its download", set()),
    ("array.npz", "npy", "`numpy.savez(…)`", set()),
    ("arrays.nc", "npz", "driver: npz", {"npz"}),
    ("table.h5", "parquet", "set `driver: table`", {"table"}),
    ("table.csv", "feather", "Save it as Parquet", {"vector"}),
    ("arrays.mat", b"MATLAB 5.0 MAT-file" + b" " * 99, "as NetCDF or HDF5", set()),
    ("soil.mdb", b"\x00\x01\x00\x00Standard Jet DB", "mdb-export", set()),
    ("polygons.zip", "shp", "set `driver: vector`", {"vector"}),
    ("empty.nc", b"", "Download it, or correct `uri`", set()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "hint", "others"), FILES, ids=[f[0] for f in FILES])
def test_hints_of_all_readers(
    tmp_path: Path, whole: Any, name: str, content: Any, hint: str, others: set[str]
) -> None:
    if isinstance(content, tuple):
        pack = {"zip": lambda found: zipped(a__tif=found), "bz2": bz2.compress}[content[0]]
        content = pack(whole(content[1]))
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else whole(content))
    for driver in READERS:
        faults = faults_of(tmp_path / name, driver)
        for fault in faults:
            text = str(fault)
            assert name in text
            assert "make data" not in text
            assert "truncated" not in text
            assert "under `dims`" not in fault.hint or driver == "stations"
        if driver not in others:
            assert len(faults) == 1, (driver, faults)
            assert any(part in faults[0].hint for part in hint.split("|")), (driver, faults[0])


@pytest.mark.parametrize(
    ("kind", "drivers"),
    [("nc", ("netcdf", "stations", "raster")), ("classic", ("netcdf", "raster")), ("npz", ("npz",)),
     ("grib", ("grib", "raster")), ("tif", ("raster",)), ("parquet", ("table",)),
     ("gpkg", ("vector",)), ("jp2", ("raster",))],
)  # fmt: skip
@pytest.mark.parametrize("part", ["six bytes", "half", "all but the end"])
def test_truncated_files(
    tmp_path: Path, whole: Any, kind: str, drivers: tuple[str, ...], part: str
) -> None:
    content = whole(kind)
    size = {"six bytes": 6, "half": len(content) // 2, "all but the end": len(content) - 5}[part]
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(content[:size])
    for driver in drivers:
        (fault,) = faults_of(path, driver)
        assert fault.hint.startswith("Download it again"), (driver, fault)
        assert "checksum" not in fault.hint


def test_a_truncated_text_has_no_end(tmp_path: Path, whole: Any) -> None:
    path, content = tmp_path / "cut.geojson", whole("geojson")
    path.write_bytes(content[: content.index(b"coordinates")])
    (fault,) = faults_of(path, "vector")
    assert fault.hint.startswith("Download it again: it has")


def test_stores_without_their_metadata(tmp_path: Path) -> None:
    for form in (2, 3):
        store = tmp_path / f"v{form}.zarr"
        rain().to_zarr(store, zarr_format=form, consolidated=False)
        for metadata in ("zarr.json", ".zgroup", ".zattrs"):
            (store / metadata).unlink(missing_ok=True)
        for driver in ("zarr", "netcdf", "raster"):
            (fault,) = faults_of(store, driver)
            assert "a part of a Zarr store, without zarr.json (or .zgroup)" in fault.hint
        for metadata in [*store.rglob("zarr.json"), *store.rglob(".z*")]:
            metadata.unlink()
        (fault,) = faults_of(store, "zarr")
        assert "copy all files of the store" in fault.hint


def test_folders(tmp_path: Path, whole: Any) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.tif").write_bytes(whole("tif"))
    for driver in READERS:
        assert "It is an empty folder" in faults_of(tmp_path / "nothing", driver)[0].hint
        hints = [fault.hint for fault in faults_of(tmp_path / "maps", driver)]
        expected = f"`uri: {tmp_path / 'maps'}/*`, with `driver: raster`"
        assert all(expected in hint for hint in hints)
        assert bool(hints) == (driver != "raster")


def test_a_shapefile_is_several_files(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"value": [1.0]}, geometry=[box(0, 0, 2, 2)], crs=4326)
    frame.to_file(tmp_path / "a.shp")
    assert not faults_of(tmp_path / "a.shp", "vector")
    shutil.copy(tmp_path / "a.shp", tmp_path / "a.nc")
    (fault,) = faults_of(tmp_path / "a.nc", "vector")
    assert "without `.shp` at the end of its name" in fault.found
    (tmp_path / "a.shx").unlink()
    (fault,) = faults_of(tmp_path / "a.shp", "vector")
    assert "without a.shx" in fault.found
    assert "several files of one name" in fault.hint


def test_an_archive_of_several_files_names_them(tmp_path: Path, whole: Any) -> None:
    path = tmp_path / "days.nc"
    path.write_bytes(zipped(a__nc=whole("nc"), b__nc=whole("nc")))
    for driver in ("netcdf", "raster", "stations", "vector"):
        (fault,) = faults_of(path, driver)
        assert f"`uri: {path}!/a.nc`" in fault.hint
