"""`MemberPath`: a file or folder in a ZIP or tar archive, with the methods of `pathlib.Path`."""

from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, cast

from pipeline.core.errors import bad_input
from pipeline.core.files import version_of

MARK = "!/"
"""Text between the name of an archive and that of a file in it."""


DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
)  # fmt: skip
"""Errors of archives that are damaged or none."""


class Member(NamedTuple):
    """Bytes of a file of an archive, its name there, and where its bytes begin in a tar archive."""

    size: int
    name: str
    offset: int = 0


class MemberStat(NamedTuple):
    """Size in bytes, and the numbers of the archive's version, as of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int
    st_ctime_ns: int
    st_ino: int


@dataclass(frozen=True)
class MemberPath:
    """A file within an archive, or a folder, or all of the archive.

    >>> from pathlib import Path
    >>> path = MemberPath(Path("tiles.zip"), "north/a.tif")
    >>> str(path), path.name, str(path.parent)
    ('tiles.zip!/north/a.tif', 'a.tif', 'tiles.zip!/north')
    """

    archive: Any
    """Path of the archive, on disk or at a remote address."""
    member: str

    def __str__(self) -> str:
        return f"{self.archive}{MARK}{self.member}"

    def __lt__(self, other: MemberPath) -> bool:
        return str(self) < str(other)

    def __truediv__(self, name: str) -> MemberPath:
        return replace(self, member=f"{self.member}/{name}".lstrip("/"))

    @property
    def _pure(self) -> PurePosixPath:
        return PurePosixPath(self.member)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self._pure.name

    @property
    def stem(self) -> str:
        """Name without its suffix."""
        return self._pure.stem

    @property
    def suffix(self) -> str:
        """Last suffix of the name."""
        return self._pure.suffix

    @property
    def suffixes(self) -> list[str]:
        """All suffixes of the name."""
        return self._pure.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts of the path of the archive, and of the path within it."""
        return (*self.archive.parts, *self._pure.parts)

    @property
    def parent(self) -> MemberPath:
        """Folder that holds the file."""
        return replace(self, member=self.member.rpartition("/")[0])

    def with_name(self, name: str) -> MemberPath:
        """Return the path of another file in the same folder."""
        return self.parent / name

    def members(self) -> Mapping[str, Member]:
        """Return the files of the archive by their paths; empty if there is no archive.

        Raises `InputError` for a damaged one.
        """
        if not self.archive.is_file():
            return {}
        return _members(self.archive, version_of(self.archive))

    def exists(self) -> bool:
        """Whether the archive has such a file or folder."""
        return self.is_file() or self.is_dir()

    def is_file(self) -> bool:
        """Whether the archive has such a file."""
        return self.member in self.members()

    def is_dir(self) -> bool:
        """Whether the archive has files in such a folder."""
        within = f"{self.member}/" if self.member else ""
        return any(name.startswith(within) for name in self.members())

    def stat(self) -> MemberStat:
        """Return size and version; raises `FileNotFoundError` if there is none."""
        if not self.exists():
            raise FileNotFoundError(str(self))
        member = self.members().get(self.member)
        time, _, changed, inode = version_of(self.archive)
        return MemberStat(member.size if member else 0, time, changed, inode)

    def iterdir(self) -> Iterator[MemberPath]:
        """Yield the files and folders in a folder, by name."""
        within = f"{self.member}/" if self.member else ""
        inside = [name.removeprefix(within) for name in self.members() if name.startswith(within)]
        for name in sorted({name.partition("/")[0] for name in inside}):
            yield self / name

    def glob(self, pattern: str) -> Iterator[MemberPath]:
        """Yield the files that match the pattern, as of `pathlib.PurePath.match`."""
        for name in sorted(self.members()):
            path = replace(self, member=name)
            if path._pure.match(pattern):
                yield path

    def open(self, mode: str = "rb", encoding: str = "utf-8") -> IO[Any]:
        """Return the file for reading, as bytes or as text.

        Raises `InputError` for a file that is encrypted or packed in an unknown way.
        """
        member = self.members().get(self.member)
        if member is None:
            raise FileNotFoundError(str(self))
        found: IO[bytes]
        if (opened := _zip(self.archive, version_of(self.archive), os.getpid())) is not None:
            try:
                found = opened.open(member.name)
            except RuntimeError as error:  # NotImplementedError for methods such as Deflate64
                raise bad_input(
                    str(self), f"a file that cannot be unpacked ({error})", "a file of a plain ZIP",
                    "Unpack the archive with its own program, such as 7-Zip, and name its files.",
                ) from None  # fmt: skip
        else:
            found = _tar_member(self.archive.open("rb"), member)
        return found if mode == "rb" else io.TextIOWrapper(found, encoding=encoding)

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        with self.open() as file:
            return cast(bytes, file.read())


def _is_zip(file: IO[bytes]) -> bool:
    begin = file.read(4)
    file.seek(0)
    return begin.startswith(b"PK")


@lru_cache(maxsize=8)
def _zip(archive: Any, version: tuple[int, ...], process: int) -> zipfile.ZipFile | None:
    """Return an open ZIP archive, whose list of files is read once a process; None for others."""
    file = archive.open("rb")
    if _is_zip(file):
        return zipfile.ZipFile(file)
    file.close()
    return None


def _tar_member(file: IO[bytes], member: Member) -> IO[bytes]:
    tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115  # the caller closes the member
    item = tarfile.TarInfo(member.name)
    item.size, item.offset_data = member.size, member.offset
    return cast(IO[bytes], tar.extractfile(item))


def _plain_name(name: str) -> str:
    """Return the path of a file of an archive, whichever system made it: a/b.nc."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


@lru_cache(maxsize=64)
def _members(archive: Any, version: tuple[int, ...]) -> dict[str, Member]:
    """Return the files of an archive, of several of one name the last; `InputError` if damaged."""
    try:
        opened = _zip(archive, version, os.getpid())
        if opened is not None:
            zipped = (info for info in opened.infolist() if not info.is_dir())
            return {_plain_name(i.filename): Member(i.file_size, i.filename) for i in zipped}
        with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r:*") as tar:
            items = (item for item in tar if item.isfile())
            return {_plain_name(i.name): Member(i.size, i.name, i.offset_data) for i in items}
    except DAMAGED as error:
        reason = str(error).partition("\n")[0].rstrip(":")
        raise bad_input(
            str(archive), f"no ZIP or tar archive that can be read ({reason})", "a whole archive",
            "Download it again, or correct `uri` of the entry.",
        ) from None  # fmt: skip
