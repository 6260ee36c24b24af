"""plain_copy(): the file on disk that a library opens, unpacked if it is in an archive.

Unpacked files lie in the folder of copies (`cache_folder`), within its limit, each whole or not at
all and under the version of its archive.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pipeline.core.archives.member_path import MARK, MemberPath
from pipeline.core.cache import local_copy
from pipeline.core.cache_room import cache_folder, hold, make_room
from pipeline.core.errors import InputError, bad_input, listed
from pipeline.core.files import make_folder, replacing, version_of, write_text
from pipeline.core.written.names import checked_below

STREAMS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open,
}  # fmt: skip
"""First bytes of compressed files, and what opens them."""
DOCUMENTS = (".txt", ".md", ".pdf", ".rtf", ".doc", ".docx", ".html")
"""Suffixes of documents that lie beside the data in archives."""
PIECE = 1 << 22
OF_STEM = (".hdr", ".prj", ".blw", ".bpw", ".bqw", ".tfw", ".wld", ".aux.xml",
           ".shx", ".dbf", ".cpg")  # fmt: skip
OF_NAME = (".aux.xml", ".msk")
"""Suffixes of small files beside a file that GDAL reads with it: after its stem, or its name."""


def plain_copy(path: Any, lasting: bool = True) -> Path:
    """Return the path of a file on disk, as it is if it is neither remote nor packed.

    Files in ZIP and tar archives (`MemberPath`), files of gzip, bzip2 and xz, and archives of a
    single file (beside documents such as a README) are unpacked if they are not there yet;
    `lasting` copies stay until the process ends. Raises `InputError` if there is no room for one,
    and for an archive of several files; `ValueError` for a damaged archive.
    """
    if isinstance(path, MemberPath):
        return _plain(member_copy(path, lasting), str(path), lasting)
    return _plain(local_copy(path, lasting), str(path), lasting)


def _plain(local: Path, where: str, lasting: bool) -> Path:
    """Return the path of the unpacked file of `where`, of which a copy is on disk."""
    with local.open("rb") as file:
        head = file.read(265)
    if head.startswith(b"PK\x03\x04") or head[257:262] == b"ustar":
        member = _only_member(local, where)
        return _plain(member_copy(member, lasting), str(member), lasting)
    unpacked = _without_stream(local, head, lasting)
    return local if unpacked is None else _plain(unpacked, where, lasting)


def _without_stream(local: Path, head: bytes, lasting: bool) -> Path | None:
    """Return the path of the file that is compressed in another; None if it is not."""
    opener = next((opened for magic, opened in STREAMS.items() if head.startswith(magic)), None)
    if opener is None:
        return None
    name = local.stem if local.suffix in (".gz", ".bz2", ".xz", ".tgz") else local.name
    return _unpacked(local, lambda: opener(local), name, local.stat().st_size, lasting)


def _opened(path: MemberPath, lasting: bool) -> IO[bytes]:
    """Return a file of an archive for reading.

    A compressed tar archive is unpacked first if there is room, because each of its files is only
    reached through all that come before.
    """
    with path.archive.open("rb") as file:
        head = file.read(6)
    if len(path.members()) > 1 and any(map(head.startswith, STREAMS)):
        try:
            plain = _without_stream(member_copy(path.archive, lasting), head, lasting)
            return MemberPath(plain, path.member).open()
        except InputError:
            return path.open()
    return path.open()


def member_copy(path: Any, lasting: bool = True) -> Path:
    """Return the path of a file on disk as `plain_copy`, with archives left as they are.

    What belongs to a file in an archive, such as the header of a BIL raster, is copied beside it.
    """
    if not isinstance(path, MemberPath):
        return local_copy(path, lasting)
    copy = _unpacked(path, lambda: _opened(path, lasting), path.name, path.stat().st_size, lasting)
    names = [path.stem + end for end in OF_STEM] + [path.name + end for end in OF_NAME]
    for beside in map(path.with_name, names):
        target = copy.with_name(beside.name)
        if beside.is_file() and not target.exists():
            with replacing(target) as partial:
                partial.write_bytes(beside.read_bytes())
    return copy


def _only_member(archive: Path, where: str) -> MemberPath:
    found = MemberPath(archive, "").members()
    members = [name for name in found if not name.startswith("__MACOSX")]
    data = [name for name in members if not name.lower().endswith(DOCUMENTS)]
    members = data if len(data) == 1 else members
    if len(members) != 1:
        example = members[0] if members else "FILE"
        hint = f"Name one, or some with a glob: `uri: {where}{MARK}{example}`."
        if all(name.endswith(".npy") for name in members):
            hint = "It is a NumPy archive: set `driver: npz`."
        raise bad_input(where, f"an archive of several files, {listed(members)}", "one file", hint)
    return MemberPath(archive, members[0])


def _unpacked(
    path: Any, opened: Callable[[], IO[bytes]], name: str, size: int, lasting: bool
) -> Path:
    identity = "\n".join(map(str, (path, *version_of(path))))
    key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    folder = cache_folder() / key
    checked_below(str(path), folder, folder / name)
    about, target = folder / ".about.json", folder / name
    if lasting:
        hold(key)
    if target.exists():
        with suppress(OSError):  # a folder that is only read
            about.touch()
        return target
    make_room(size, str(path), key)
    make_folder(folder)
    write_text(about, json.dumps({"unpacked": str(path)}))
    try:
        with replacing(target) as partial, opened() as source, partial.open("wb") as file:
            while piece := source.read(PIECE):
                if file.tell() + len(piece) > size:
                    size = file.tell() + len(piece)  # compressed files do not state their length
                    make_room(size, str(path), key)
                file.write(piece)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ValueError(f"a damaged archive ({error})") from None
    return target
