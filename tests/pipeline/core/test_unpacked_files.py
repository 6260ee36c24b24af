"""Files in archives: paths of members, and copies unpacked whole within the limit."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.archives.member_path import MemberPath
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.cache_room import cache_folder
from pipeline.core.errors import InputError

FILES = {"north/a.nc": b"a" * 1000, "north/b.nc": b"b" * 10, "readme.txt": b"text"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", "1 MB")


def write(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_members_have_the_methods_of_paths(tmp_path: Path, name: str) -> None:
    root = MemberPath(write(tmp_path / name, FILES), "")
    assert [path.name for path in root.iterdir()] == ["north", "readme.txt"]
    north = root / "north"
    assert (north.is_dir(), north.is_file(), north.exists()) == (True, False, True)
    assert [str(path) for path in north.glob("*.nc")] == [
        f"{tmp_path / name}!/north/{file}" for file in ("a.nc", "b.nc")
    ]
    one = north / "b.nc"
    assert one.stat().st_size == 10
    assert one.read_bytes() == FILES["north/b.nc"]
    assert (one.suffix, one.stem, one.parent) == (".nc", "b", north)
    assert not (north / "c.nc").exists()
    with pytest.raises(FileNotFoundError):
        (north / "c.nc").open()
    copy = plain_copy(one)
    assert (copy.name, copy.read_bytes()) == ("b.nc", FILES["north/b.nc"])


@pytest.mark.parametrize(("suffix", "library"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_compressed_files_are_unpacked_once_a_version(
    tmp_path: Path, suffix: str, library: Any
) -> None:
    path, compress = tmp_path / f"rain.nc.{suffix}", library.compress
    path.write_bytes(compress(b"x" * 5000))
    copy = plain_copy(path)
    assert (copy.name, copy.read_bytes()) == ("rain.nc", b"x" * 5000)
    before = copy.stat().st_mtime_ns
    assert plain_copy(path) == copy
    assert copy.stat().st_mtime_ns == before
    path.write_bytes(compress(b"yy" * 5000))
    assert plain_copy(path).read_bytes() == b"yy" * 5000


def test_an_archive_of_one_file_stands_for_it_and_others_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.zip", {"data.tif": b"II", "__MACOSX/._data.tif": b"junk"})
    assert plain_copy(one).name == "data.tif"
    many = write(tmp_path / "many.zip", FILES)
    with pytest.raises(InputError, match=r"archive of several files, 3 .*many\.zip!/north/a\.nc"):
        plain_copy(many)
    plain = tmp_path / "plain.nc"
    plain.write_bytes(b"CDF\x01")
    assert plain_copy(plain) == plain


def test_damaged_and_too_large_archives_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cut.nc.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 50)[:-20])
    with pytest.raises(EOFError):
        plain_copy(path)
    spoilt = write(tmp_path / "spoilt.zip", {"a.nc": bytes(range(256)) * 9})
    data = bytearray(spoilt.read_bytes())
    data[60] ^= 0xFF
    spoilt.write_bytes(data)
    with pytest.raises(ValueError, match="damaged archive"):
        plain_copy(spoilt)
    bomb = tmp_path / "bomb.nc.gz"
    bomb.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(InputError, match="no room"):
        plain_copy(bomb)
    left = [path for path in cache_folder().rglob("*.nc") if path.is_file()]
    assert left == []


def test_the_header_of_a_raster_is_copied_with_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rain.zip", "w") as archive:
        for name in ("a/rain.bil", "a/rain.hdr", "a/rain.bil.aux.xml", "a/snow.hdr", "rain.prj"):
            archive.writestr(name, name)
    copy = plain_copy(MemberPath(tmp_path / "rain.zip", "a/rain.bil"))
    found = {path.name: path.read_text() for path in copy.parent.glob("[!.]*")}
    assert found == {"rain.bil": "a/rain.bil", "rain.hdr": "a/rain.hdr",
                     "rain.bil.aux.xml": "a/rain.bil.aux.xml"}  # fmt: skip
