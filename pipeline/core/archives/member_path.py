"""`MemberPath`: a file or folder in a ZIP or tar archive, with the methods of `pathlib.Path`."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple, cast

MARK = "!/"
"""Text between the name of an archive and that of a file in it."""


class MemberStat(NamedTuple):
    """Size in bytes, and the number of the archive's version, as of `os.stat_result`."""

    st_size: int
    st_mtime_ns: int


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

    def members(self) -> dict[str, int]:
        """Return the bytes of each file of the archive, by its path; empty if there is none."""
        if not self.archive.is_file():
            return {}
        stat = self.archive.stat()
        return _members(self.archive, (stat.st_mtime_ns, stat.st_size))

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
        return MemberStat(self.members().get(self.member, 0), self.archive.stat().st_mtime_ns)

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
        """Return the file for reading, as bytes or as text."""
        if not self.is_file():
            raise FileNotFoundError(str(self))
        file = self.archive.open("rb")
        if _is_zip(file):
            found = zipfile.ZipFile(file).open(self.member)  # noqa: SIM115  # the caller closes it
        else:
            found = _tar_member(file, self.member)
        return found if mode == "rb" else io.TextIOWrapper(found, encoding=encoding)

    def read_bytes(self) -> bytes:
        """Return the whole file."""
        with self.open() as file:
            return cast(bytes, file.read())


def _is_zip(file: IO[bytes]) -> bool:
    begin = file.read(4)
    file.seek(0)
    return begin.startswith(b"PK")


def _tar_member(file: IO[bytes], member: str) -> Any:
    tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115  # the caller closes the member
    item = next(item for item in tar if item.name.removeprefix("./") == member)
    return tar.extractfile(item)


@lru_cache(maxsize=64)
def _members(archive: Any, stamp: tuple[int, int]) -> dict[str, int]:
    """Return the bytes of each file of an archive; raises `ValueError` for a damaged one."""
    with archive.open("rb") as file:
        try:
            if _is_zip(file):
                infos = zipfile.ZipFile(file).infolist()
                return {info.filename: info.file_size for info in infos if not info.is_dir()}
            with tarfile.open(fileobj=file, mode="r:*") as tar:
                return {item.name.removeprefix("./"): item.size for item in tar if item.isfile()}
        except (zipfile.BadZipFile, tarfile.TarError) as error:
            raise ValueError(f"no ZIP or tar archive ({error})") from None
