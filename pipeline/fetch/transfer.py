"""transfer(): one remote file to its path, continued where an earlier try ended.

The bytes so far lie in a hidden file beside the path; a note beside it has the version (ETag or
time of change) of which they are. Parts of two versions are never combined.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

import requests

from pipeline.core.addresses import path_of
from pipeline.core.errors import bad_input
from pipeline.core.files import digest_of, finish, make_folder, new_folder, write_text, writing
from pipeline.core.remote_path import RemotePath
from pipeline.core.transfers import AgainError, body, refused
from pipeline.core.untrusted.safe_json import parse_json
from pipeline.core.web import is_encoded
from pipeline.fetch.client import Client, StoppedError
from pipeline.fetch.credentials import HINTS
from pipeline.fetch.locks import holding
from pipeline.fetch.manifest import Record, today
from pipeline.fetch.order import RemoteFile
from pipeline.readers.common.first_bytes import format_of
from pipeline.readers.common.truncated import missing_bytes

BLOCK = 1 << 18
"""Bytes that are written at once, the most that a kill loses of a file from a web server."""
PART = 1 << 23
"""Bytes of the parts in which objects of buckets are fetched."""
_HEADER = re.compile(r"[\x21-\x7e\xa0-\xff]([\x20-\x7e\xa0-\xff]*[\x21-\x7e\xa0-\xff])?")
"""A value that a request can send in a header."""
PAGES = ("an HTML page", "an XML file")
DATA = (
    ".nc", ".nc4", ".h5", ".hdf5", ".he5", ".hdf", ".tif", ".tiff", ".zip", ".gz", ".tgz", ".tar",
    ".bz2", ".grib", ".grib2", ".grb", ".grb2", ".parquet", ".gpkg", ".jp2",
)  # fmt: skip
"""Suffixes of files that are no JSON: what a server answers instead of sending them may be."""


def transfer(client: Client, file: RemoteFile, folder: Path, replace: bool = False) -> Record:
    """Fetch a file unless it has appeared meanwhile, and return its record.

    With `replace`, a file that is there gives way when the new one is complete.

    Raises `FileNotFoundError` if the server has none, and `InputError` for a page instead of data,
    another size or checksum than published, and every answer that no further try may mend.
    """
    version = ""
    with holding(file.partial, client.pause) as handle:
        if file.path.exists() and not replace:
            file.partial.unlink()
        else:
            version = _complete(client, file, handle)
            # Those who wait for the lock see that the file has another name now.
            finish(file.partial, file.path)
            _note(file).unlink(missing_ok=True)
    if file.unpack_into is not None:
        unpack(file.path, file.unpack_into)
    return record_of(file, folder, version)


def record_of(file: RemoteFile, folder: Path, version: str = "") -> Record:
    """Return the record of a file that is there."""
    return Record(
        path=file.path.relative_to(folder).as_posix(), address=file.shown, origin=file.origin,
        size=file.path.stat().st_size, sha256=digest_of(file.path), version=version,
        checksum=file.checksum, fetched=today(),
    )  # fmt: skip


def _complete(client: Client, file: RemoteFile, handle: BinaryIO) -> str:
    """Fetch what is missing, check the whole, and return its version; tried twice."""
    path = path_of(file.address)
    for is_last in (False, True):
        if isinstance(path, RemotePath) and not path.is_web:
            version = _objects_parts(client, file, path, handle)
        else:
            version = _web_parts(client, file, handle)
        fault = _difference(file)
        if fault is None:
            return version
        _restart(file, handle)
        if is_last:
            raise bad_input(file.shown, *fault, "The provider may have replaced the file.")
    raise AssertionError


def _difference(file: RemoteFile) -> tuple[str, str] | None:
    """Return found and expected where the fetched bytes are not those that were published."""
    size = file.partial.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size:,} bytes", f"the published {file.size:,} bytes"
    if not size and file.size is None:
        return "an empty file", "the data"
    if (cut := missing_bytes(file.partial, thorough=True)) is not None:
        return f"the first {cut[0]:,} bytes", f"the {cut[1]:,} or more of its header"
    if file.checksum is not None:
        algorithm, _, wanted = file.checksum.partition(":")
        found = digest_of(file.partial, algorithm)
        if found != wanted:
            return f"the {algorithm} checksum {found}", f"the published {wanted}"
    return None


def _web_parts(client: Client, file: RemoteFile, handle: BinaryIO) -> str:
    def size() -> int:
        return handle.seek(0, os.SEEK_END)

    def attempt() -> str:
        have, version = size(), _noted(file)
        if have and not version:
            have = _restart(file, handle)
        headers = {"Range": f"bytes={have}-", "If-Range": version} if have else {}
        with client.ask("GET", file.address, file.login, headers) as answer:
            if is_encoded(answer, file.address):
                # The length and ranges are those of the encoded form.
                _length(file, answer)
                _restart(file, handle)
                _append(client, file, handle, answer, decode=True)
                return _version(answer)
            total = _begin(file, handle, answer, have)
            if total != have or answer.status_code != 416:
                _append(client, file, handle, answer)
            if total is not None and size() != total:
                raise AgainError(f"{size():,} of {total:,} bytes")
            return _version(answer) or version

    version = client.patiently(file.address, attempt, size)
    _refuse_page(file)
    return version


def _begin(file: RemoteFile, handle: BinaryIO, answer: requests.Response, have: int) -> int | None:
    """Prepare the file for the bytes of an answer, and return the bytes of the whole, if known.

    Whatever the answer does not continue is dropped.
    """
    sent = answer.headers.get("Content-Range", "")
    if answer.status_code == 416:
        if sent.rpartition("/")[2] == str(have):
            return have
        _restart(file, handle)
        raise AgainError("another version than before")
    if answer.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", sent)
        if match is None or int(match[1]) != have:
            _restart(file, handle)
            raise AgainError(f"other bytes than asked for ({sent or 'unnamed'})")
        return int(match[2]) if match[2].isdigit() else None
    if have:
        _restart(file, handle)
    write_text(_note(file), json.dumps({"version": _strong(answer)}))
    return _length(file, answer)


def _length(file: RemoteFile, answer: requests.Response) -> int | None:
    """Return the bytes of a whole answer, None where it states its end otherwise."""
    length = answer.headers.get("Content-Length", "")
    if not length.isdigit() and "chunked" not in answer.headers.get("Transfer-Encoding", ""):
        if file.size is None and file.checksum is None:
            hint = "Without it a file that ends early looks like a whole one."
            raise refused(file.shown, "an answer without its length", hint)
        return file.size
    return int(length) if length.isdigit() else None


def _append(
    client: Client, file: RemoteFile, handle: BinaryIO, answer: requests.Response,
    decode: bool = False,
) -> None:  # fmt: skip
    is_first = handle.seek(0, os.SEEK_END) == 0
    for block in body(answer, BLOCK, decode):
        _write(file, handle, block)
        if is_first:
            _refuse_page(file)
            is_first = False
        if client.stopped.is_set():
            raise StoppedError


def _write(file: RemoteFile, handle: BinaryIO, content: bytes) -> None:
    """Write all of the bytes, of which a disk that is almost full may take fewer at once."""
    rest = memoryview(content)
    with writing(file.partial):
        while rest:
            rest = rest[handle.write(rest) :]


def _objects_parts(client: Client, file: RemoteFile, path: RemotePath, handle: BinaryIO) -> str:
    """Fetch the missing parts of an object of a bucket, and return its version."""
    head = path.head(fresh=True)
    assert head.size is not None
    have = handle.seek(0, os.SEEK_END)
    if have > head.size or (have and _noted(file) != head.version):
        have = _restart(file, handle)
    write_text(_note(file), json.dumps({"version": head.version}))
    while have < head.size:
        client.take_turn(path.host)
        part = path.read_part(have, min(have + PART, head.size), head.version)
        _write(file, handle, part)
        have += len(part)
    return head.version


def _restart(file: RemoteFile, handle: BinaryIO) -> int:
    """Drop the bytes fetched so far; returns their number, 0."""
    _note(file).unlink(missing_ok=True)
    handle.seek(0)
    handle.truncate()
    return 0


def _refuse_page(file: RemoteFile) -> None:
    """Raise `InputError` if the bytes begin like a page or a message although data are expected."""
    found, suffix = format_of(file.partial), file.path.suffix.lower()
    is_page = found in PAGES and suffix not in (".html", ".htm", ".xml", ".kml")
    if is_page or (found == "a JSON file" and suffix in DATA):
        os.truncate(file.partial, 0)
        _note(file).unlink(missing_ok=True)
        hint = HINTS[file.login] or "The provider may be down, or ask for a login or a form."
        raise bad_input(file.shown, f"{found} instead of data", "the file", hint)


def _note(file: RemoteFile) -> Path:
    return file.partial.with_suffix(".note")


def _noted(file: RemoteFile) -> str:
    """Return the version of the bytes fetched so far; empty if it is not known."""
    try:
        note = parse_json(_note(file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    version = note.get("version") if isinstance(note, dict) else None
    return version if isinstance(version, str) and _HEADER.fullmatch(version) else ""


def _strong(answer: requests.Response) -> str:
    """Return a version that `If-Range` accepts: weak ETags do not mark equal bytes."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _version(answer: requests.Response) -> str:
    return answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a ZIP or tar archive into a new folder, unless it is there; whole or not at all.

    Raises `InputError` for files that are no archive. Members outside of the folder are refused.
    """
    if folder.exists():
        return
    make_folder(folder.parent)
    with new_folder(folder) as scratch:
        try:
            if archive.suffix.lower() == ".zip":
                # `zipfile` keeps members in the folder itself.
                shutil.unpack_archive(archive, scratch)
            else:
                shutil.unpack_archive(archive, scratch, filter="data")
        except (shutil.ReadError, OSError, ValueError, EOFError) as error:
            found = f"an archive that cannot be unpacked ({error})"
            raise bad_input(str(archive), found, "a whole ZIP or tar archive",
                            "Delete it and run the same command again.") from None  # fmt: skip
