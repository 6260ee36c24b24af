"""First bytes say what a file is, and lengths whether it is truncated."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio

from pipeline.readers.common.advice import advice
from pipeline.readers.common.first_bytes import format_of
from pipeline.readers.common.refusals import damaged, unreadable
from pipeline.readers.common.truncated import missing_bytes


def archive(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("rain.nc"))
    else:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("[Content_Types].xml" if kind == "xlsx" else "rain.nc", "data")
    return file.getvalue()


@pytest.mark.parametrize(
    ("head", "found", "advised"),
    [
        (b"\n\n<!doctype html><title>Log in</title>", "an HTML page", "signed in"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "an XML file", "error"),
        (b"\xef\xbb\xbf<Error>", "an XML file", "error"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer",
         "git lfs pull"),
        (b'{"message": "quota exceeded"}', "a JSON file", "JSON"),
        (archive("zip"), "a ZIP archive", "uri: NAME.zip!/FILE"),
        (archive("xlsx"), "an Excel workbook or other Office document", "CSV"),
        (archive("tar"), "a tar archive", "uri: NAME.tar!/FILE"),
        (gzip.compress(b"x", mtime=0), "a gzip archive", "gunzip"),
        (b"BZh91AY", "a bzip2 archive", "bzip2"),
        (b"\x28\xb5\x2f\xfd....", "a Zstandard archive", "Zstandard"),
        (b"\x0e\x03\x13\x01....", "an HDF4 file", "GDAL has HDF4"),
        (b"SQLite format 3\x00", "a GeoPackage or other SQLite database", "driver: vector"),
        (b"PAR1....", "a Parquet table", "driver: table"),
        (b"\x00\x00\x27\x0a....", "a shapefile", "driver: vector"),
        (b"# made by hand\nstation;date;rain\n1;2001-01-01;3,5\n", "a table of text",
         "driver: table"),
        (b"See the licence.\nIt is short.\n", "a text file", "correct `uri`"),
        (b"II*\x00....", "a TIFF", "driver: raster"),
        (b"GRIB....", "a GRIB file", "driver: grib"),
        (b"%PDF-1.4", "a PDF", "data instead"),
        (b"\x01\x02\x03\x04", None, ""),
    ],
)  # fmt: skip
def test_formats_and_what_to_do_with_them(
    tmp_path: Path, head: bytes, found: str | None, advised: str
) -> None:
    path = tmp_path / "rain.nc"
    path.write_bytes(head)
    assert format_of(path) == found
    assert advised in advice(path)
    refusal = unreadable("here", path, OSError("no"), "a file", "a NetCDF file").faults[0]
    assert "truncated" not in refusal.hint
    assert (advised or "no known format") in refusal.hint


def test_folders(tmp_path: Path) -> None:
    assert "empty folder" in advice(tmp_path)
    (tmp_path / "b.tif").touch()
    assert f"such as b.tif: name its files, `uri: {tmp_path}/*`" in advice(tmp_path)
    (tmp_path / "zarr.json").touch()
    assert advice(tmp_path).startswith("It begins like a Zarr store: set `driver: zarr`")


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["v"] = np.arange(1000.0)


def write_new_hdf5(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["v"] = np.arange(1000.0)


def write_tiff(path: Path, **options: object) -> None:
    profile = {"driver": "GTiff", "width": 100, "height": 50, "count": 2, "dtype": "uint16"}
    with rasterio.open(path, "w", **profile, **options) as file:
        file.write(np.ones((2, 50, 100), np.uint16))


def write_bigtiff(path: Path) -> None:
    write_tiff(path, BIGTIFF="YES", tiled=True, blockxsize=16, blockysize=16, ENDIANNESS="BIG")


def write_grib(path: Path) -> None:
    one = b"GRIB\x00\x00\x40\x01" + b"." * 52 + b"7777"
    two = b"GRIB\x00\x00\x00\x02" + (80).to_bytes(8, "big") + b"." * 60 + b"7777"
    path.write_bytes(one + two)


def write_zip(path: Path) -> None:
    path.write_bytes(archive("zip"))


def write_parquet(path: Path) -> None:
    pd.DataFrame({"a": range(100)}).to_parquet(path)


@pytest.mark.parametrize(
    "write",
    [write_hdf5, write_new_hdf5, write_tiff, write_bigtiff, write_grib, write_zip, write_parquet],
)
def test_a_file_is_truncated_only_if_it_is_shorter_than_it_declares(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "a"
    write(path)
    whole = path.read_bytes()
    assert missing_bytes(path, thorough=True) is None
    hint = unreadable("here", path, OSError("odd"), "x", str(format_of(path))).faults[0].hint
    assert "it is no shorter than it declares" in hint
    for lost in (3, len(whole) // 2):
        path.write_bytes(whole[:-lost])
        cut = missing_bytes(path, thorough=True)
        assert cut is not None
        assert cut[0] == len(whole) - lost
        assert cut[1] <= len(whole)
        hint = damaged("here", str(path), OSError("odd")).faults[0].hint
        assert hint.startswith(f"Download it again: it has {len(whole) - lost:,} of the ")


def test_what_a_library_reports_and_missing_and_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(b"CDF\x01")
    text = unreadable("here", path, EOFError("end"), "x", "a classic NetCDF file").faults[0].hint
    assert text.startswith("Download it again: it has 4 of the 5 bytes")
    path.write_bytes(gzip.compress(b"values" * 99)[:-9])
    text = unreadable("here", path, EOFError("end"), "x", "a gzip archive").faults[0].hint
    assert text == "Download it again: its reader reports that it ends too early."
    path.write_bytes(b"")
    assert unreadable("here", path, OSError("odd"), "x").faults[0].found == "an empty file"
    assert damaged("here", None, OSError("odd")).faults[0].hint.startswith("Compare it")
