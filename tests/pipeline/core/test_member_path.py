"""Archives as they are found: odd names, two files of one name, damage, encryption, many files."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.addresses import path_of
from pipeline.core.archives import unpacked_files
from pipeline.core.archives.member_path import MemberPath
from pipeline.core.archives.unpacked_files import plain_copy
from pipeline.core.errors import InputError
from pipeline.core.provenance import file_stamp

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "cache"))


def write_tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in files:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return path


def write_zip(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("write", [write_zip, write_tar])
def test_names_of_other_systems_and_of_attackers(write: Write, tmp_path: Path) -> None:
    files = [("north\\a.nc", b"a"), ("/abs.nc", b"b"), ("./x//c.nc", b"c"), ("../../up.nc", b"d")]
    archive = write(tmp_path / f"days.{write.__name__[6:]}", files)
    root = MemberPath(archive, "")
    assert sorted(root.members()) == ["../../up.nc", "abs.nc", "north/a.nc", "x/c.nc"]
    assert (root / "north" / "a.nc").read_bytes() == b"a"
    assert [path.name for path in root.glob("*.nc")] == ["up.nc", "abs.nc", "a.nc", "c.nc"]
    for name, content in [("abs.nc", b"b"), ("x/c.nc", b"c"), ("../../up.nc", b"d")]:
        copy = plain_copy(root / name)
        assert copy.read_bytes() == content
        assert copy.is_relative_to(tmp_path / "cache")
    assert not [path for path in tmp_path.rglob("*.nc") if "cache" not in path.parts]


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_of_several_files_of_a_name_counts(write: Write, tmp_path: Path) -> None:
    archive = write(tmp_path / f"a.{write.__name__[6:]}", [("a.nc", b"older"), ("a.nc", b"new")])
    path = MemberPath(archive, "a.nc")
    assert (path.read_bytes(), path.stat().st_size) == (b"new", 3)


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    with tarfile.open(
        tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1"
    ) as tar:
        item = tarfile.TarInfo("d\xe9bit.nc")
        item.size = 2
        tar.addfile(item, io.BytesIO(b"ab"))
    (path,) = MemberPath(tmp_path / "a.tar", "").iterdir()
    assert plain_copy(path).read_bytes() == b"ab"


def test_files_that_cannot_be_unpacked_are_one_error_with_the_way_out(tmp_path: Path) -> None:
    for number, (at, value, word) in enumerate([(6, 1, "encrypted"), (8, 9, "not supported")]):
        archive = write_zip(tmp_path / f"{number}.zip", [("a.nc", b"content"), ("b.nc", b"x")])
        data = bytearray(archive.read_bytes())
        central = data.index(b"PK\x01\x02")
        for begin in (at, central + at + 2):  # flags and method, in both headers of the file
            struct.pack_into("<H", data, begin, value)
        archive.write_bytes(data)
        with pytest.raises(InputError, match=word) as error:
            plain_copy(MemberPath(archive, "a.nc"))
        assert "7-Zip" in str(error.value)


def test_damaged_archives_are_one_error(tmp_path: Path) -> None:
    files = [(f"{i}.nc", bytes(range(256)) * 40) for i in range(9)]
    for archive in (write_zip(tmp_path / "a.zip", files), write_tar(tmp_path / "b.tar", files),
                    write_tar(tmp_path / "c.tar.gz", files)):  # fmt: skip
        content = archive.read_bytes()
        for cut in (content[: len(content) // 2], b"<!DOCTYPE html><html>Log in</html>" * 20, b""):
            archive.write_bytes(cut)
            with pytest.raises(InputError, match="archive that can be read") as error:
                plain_copy(MemberPath(archive, "8.nc"))
            assert len(str(error.value).splitlines()) == 1


def test_archives_in_archives(tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "inner.tar.gz", [("a/x.nc", b"x"), ("a/y.nc", b"y")])
    packed = gzip.compress(b"z")
    outer = write_zip(
        tmp_path / "outer.zip", [("i/in.tar.gz", inner.read_bytes()), ("z.nc.gz", packed)]
    )
    path = path_of(f"{outer}!/i/in.tar.gz!/a/y.nc")
    assert isinstance(path, MemberPath)
    assert plain_copy(path).read_bytes() == b"y"
    assert [str(one)[-4:] for one in path.parent.iterdir()] == ["x.nc", "y.nc"]
    assert plain_copy(MemberPath(outer, "z.nc.gz")).read_bytes() == b"z"


def test_a_compressed_tar_is_unpacked_once_for_all_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def counted(path: Path) -> gzip.GzipFile:
        opened.append(1)
        return gzip.open(path)

    monkeypatch.setitem(unpacked_files.STREAMS, b"\x1f\x8b", counted)
    archive = write_tar(tmp_path / "a.tar.gz", [(f"{i}.nc", f"{i}".encode()) for i in range(20)])
    for i in range(20):
        assert plain_copy(MemberPath(archive, f"{i}.nc")).read_bytes() == f"{i}".encode()
    assert len(opened) == 1
    # Without room for the whole, its files are reached one after another.
    monkeypatch.setenv("STEFALAND_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("STEFALAND_CACHE_SIZE", "9 kB")
    assert plain_copy(MemberPath(archive, "7.nc")).read_bytes() == b"7"


def test_archives_of_many_files(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "many.zip", [(f"d/{i:06d}.nc", b"x") for i in range(20_000)])
    begin = time.process_time()
    for i in range(0, 20_000, 200):
        assert MemberPath(archive, f"d/{i:06d}.nc").read_bytes() == b"x"
    # The list of files, which takes 0.2 s, is read once and not for each of 100 files.
    assert time.process_time() - begin < 5


def test_the_stamp_of_an_archive_is_that_of_its_files(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", [("2001/a.nc", b"a")])
    stamps = file_stamp(f"{archive}!/2001/{{month:02d}}.nc")
    assert [name for name, *_ in stamps] == ["a.zip"]
    assert stamps == file_stamp(MemberPath(archive, "2001/a.nc"))
    write_zip(tmp_path / "a.zip", [("2001/a.nc", b"other")])
    assert file_stamp(f"{archive}!/2001/{{month:02d}}.nc") != stamps
