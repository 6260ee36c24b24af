"""Sources in archives: zip, tar and gzip files of NetCDF, rasters and tables."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

from pipeline.core.errors import InputError
from pipeline.core.provenance import file_stamp
from pipeline.sources.canonical import canonicalise
from pipeline.sources.open import open_source
from tests.pipeline.sources.test_bad_sources import VARIABLES, entry, faults_of, field


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path_factory.mktemp("cache")))


def days(folder: Path) -> list[Path]:
    """Write two files of NetCDF, of one day each, of 281 and 282 K."""
    paths = [folder / f"v_{day}.nc" for day in ("2001-01-01", "2001-01-02")]
    for number, path in enumerate(paths):
        field(pd.DatetimeIndex([path.stem[2:]]), 281.0 + number).to_netcdf(path)
    return paths


def packed(folder: Path, kind: str) -> Path:
    archive = folder / f"days.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in days(folder):
                file.write(path, f"data/{path.name}")
            file.writestr("readme.txt", "text")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            for path in days(folder):
                tar.add(path, f"data/{path.name}")
    return archive


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_files_of_an_archive_are_named_or_matched(tmp_path: Path, kind: str) -> None:
    archive = packed(tmp_path, kind)
    one = entry(Path(f"{archive}!/data/v_2001-01-02.nc"))
    assert not faults_of(one)
    ds = canonicalise(open_source(one), one, VARIABLES)
    np.testing.assert_allclose(ds["warmth"].values, 282 - 273.15, atol=1e-4)
    assert [name for name, *_ in file_stamp(one.files[0])] == [archive.name]
    both = entry(Path(f"{archive}!/data/v_*.nc"))
    found = canonicalise(open_source(both), both, VARIABLES)
    np.testing.assert_allclose(found["warmth"].values[:, 0, 0], [7.85, 8.85], atol=1e-4)
    uri, time = f"{archive}!/data/v_{{year}}-{{month:02d}}-{{day:02d}}.nc", {"gaps": "missing"}
    dated = entry(Path(uri), time={"years": [2001, 2001], **time})
    np.testing.assert_array_equal(open_source(dated)["v"].values, open_source(both)["v"].values)
    missing = entry(Path(f"{archive}!/data/v_2003.nc"))
    assert "v_2003.nc: found no such file" in faults_of(missing)


def test_an_archive_of_several_files_asks_which(tmp_path: Path) -> None:
    archive = packed(tmp_path, "zip")
    with pytest.raises(InputError, match=r"archive of several files, 3 .*days\.zip!/data/v_2001"):
        open_source(entry(archive))


def test_compressed_files_are_read_as_others(tmp_path: Path) -> None:
    (path, _) = days(tmp_path)
    (tmp_path / "v.nc.gz").write_bytes(gzip.compress(path.read_bytes()))
    source = entry(tmp_path / "v.nc.gz")
    assert not faults_of(source)
    ds = canonicalise(open_source(source), source, VARIABLES)
    np.testing.assert_allclose(ds["warmth"].values, 281 - 273.15, atol=1e-4)
    whole = (tmp_path / "v.nc.gz").read_bytes()
    (tmp_path / "cut.nc.gz").write_bytes(whole[: len(whole) // 2])
    text = faults_of(entry(tmp_path / "cut.nc.gz"))
    assert "cut.nc.gz: found a file that cannot be read" in text
    assert "Download it again: its reader reports that it ends too early." in text


def write_tiff(path: Path) -> None:
    transform = rasterio.transform.from_origin(-10, 50, 1, 1)
    with rasterio.open(path, "w", "GTiff", 4, 3, 1, "EPSG:4326", transform, "float32") as file:
        file.write(np.arange(12, dtype=np.float32).reshape(3, 4), 1)


@pytest.mark.parametrize("form", ["zip", "member", "gdal", "gz"])
def test_rasters_in_archives(tmp_path: Path, form: str) -> None:
    write_tiff(tmp_path / "dem.tif")
    archive = tmp_path / "dem.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(tmp_path / "dem.tif", "n50/dem.tif")
    (tmp_path / "dem.tif.gz").write_bytes(gzip.compress((tmp_path / "dem.tif").read_bytes()))
    uris = {"zip": archive, "member": f"{archive}!/n50/dem.tif", "gz": tmp_path / "dem.tif.gz",
            "gdal": f"/vsizip/{archive}/n50/dem.tif"}  # fmt: skip
    variables = {"warmth": {"name": "band_1", "units": "degC"}}
    source = entry(tmp_path, "raster", variables=variables).model_copy(
        update={"uri": str(uris[form])}
    )
    assert not faults_of(source)
    ds = canonicalise(open_source(source), source, VARIABLES)
    np.testing.assert_array_equal(ds["warmth"].values, np.arange(12).reshape(3, 4))


def test_tables_in_archives(tmp_path: Path) -> None:
    archive = tmp_path / "gauges.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.csv", "id;lat;lon;t\nx;50,5;-3,25;7,5\n")
        file.writestr("b.csv", "id;lat;lon;t\ny;51,5;-4,25;8,5\n")
    variables = {"warmth": {"name": "t", "units": "degC"}}
    settings = {"variables": variables, "cell": "id", "lat": "lat", "lon": "lon"}
    found = open_source(entry(Path(f"{archive}!/*.csv"), "table", **settings))
    np.testing.assert_array_equal(found["t"].values, [7.5, 8.5])
    with pytest.raises(InputError, match=r"It is a ZIP archive.*NAME\.zip!/FILE"):
        open_source(entry(archive, "table", **settings))


def test_subdatasets_are_read_by_their_names(tmp_path: Path) -> None:
    ds = xr.Dataset(
        {name: (("lat", "lon"), np.arange(12, dtype="f4").reshape(3, 4) + k, {"units": "degC"})
         for k, name in enumerate(("day", "night"))},
        {"lat": ("lat", [49.5, 48.5, 47.5], {"units": "degrees_north"}),
         "lon": ("lon", [-9.5, -8.5, -7.5, -6.5], {"units": "degrees_east"})},
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "a.nc")
    source = entry(tmp_path / "a.nc", "raster", variables={"warmth": {"name": "night"}})
    np.testing.assert_array_equal(open_source(source)["night"].values, ds["night"].values)
    wrong = entry(tmp_path / "a.nc", "raster", variables={"warmth": {"name": "nigth"}})
    with pytest.raises(InputError, match=r'subdatasets day, night; .*Did you mean "night"'):
        open_source(wrong)


def test_hdf4_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    (tmp_path / "MOD13A2.hdf").write_bytes(b"\x0e\x03\x13\x01" + bytes(200))
    for driver in ("raster", "netcdf"):
        text = faults_of(entry(tmp_path / "MOD13A2.hdf", driver))
        assert "It is an HDF4 file. Use `driver: raster` where GDAL has HDF4" in text


def test_the_one_file_beside_documents_is_read(tmp_path: Path) -> None:
    first, _ = days(tmp_path)
    with zipfile.ZipFile(tmp_path / "one.zip", "w") as file:
        file.write(first, f"data/{first.name}")
        file.writestr("README.md", "text")
        file.writestr("licence.PDF", "text")
    with tarfile.open(tmp_path / "one.tar.gz", "w:gz") as tar:
        tar.add(first, first.name)
    for name in ("one.zip", "one.tar.gz"):
        source = entry(tmp_path / name)
        assert not faults_of(source)
        ds = canonicalise(open_source(source), source, VARIABLES)
        np.testing.assert_allclose(ds["warmth"].values, 281 - 273.15, atol=1e-4)


def test_a_tar_archive_of_several_files_asks_which(tmp_path: Path) -> None:
    archive = packed(tmp_path, "tar.gz")
    with pytest.raises(InputError, match=r"several files, 2 .*days\.tar\.gz!/data/v_2001"):
        open_source(entry(archive))


def test_the_words_of_libraries_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "page.nc"
    path.write_text("<!DOCTYPE html><html>login</html>")
    text = faults_of(entry(path))
    assert "found a file that cannot be read; expected a whole netcdf file. It is an HTML" in text
    path.write_bytes(bytes(range(1, 200)))
    assert "engine" not in faults_of(entry(path))
