"""`Manifest`: what was fetched into the folder of a product, with the SHA-256 of every file."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from pipeline.core.files import digest_of, make_folder, writing

NAME = "fetched.jsonl"


@dataclass(frozen=True, kw_only=True)
class Record:
    """A file that was fetched, or a Zarr store of which chunks were."""

    path: str
    """Path below the data folder."""
    address: str
    origin: str
    """Digest of address and request."""
    size: int
    """Bytes."""
    sha256: str
    version: str = ""
    """ETag or time of the last change, as the server stated it."""
    checksum: str | None = None
    """Published checksum that agreed."""
    fetched: str = ""
    """Day on which it was fetched."""


_RECORD = TypeAdapter(Record)


class Manifest:
    """The records of a folder: one line of JSON each, of which the last one of a path counts."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / NAME

    def records(self) -> dict[str, Record]:
        """Return the records by path; lines that are unfinished or damaged are skipped."""
        found = {}
        try:
            lines = self.file.read_bytes().splitlines()
        except OSError:
            return {}
        for line in lines:
            try:
                record = _RECORD.validate_json(line, strict=True)
            except ValidationError:
                continue
            found[record.path] = record
        return found

    def add(self, record: Record) -> None:
        """Append a record; processes that append at the same time wait for each other."""
        make_folder(self.file.parent)
        line = json.dumps(asdict(record), sort_keys=True) + "\n"
        with writing(self.file), self.file.open("ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if handle.tell() and not _ends_a_line(self.file):
                line = "\n" + line
            handle.write(line.encode())


def _ends_a_line(file: Path) -> bool:
    with file.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"


def today() -> str:
    """Return the date of today."""
    return date.today().isoformat()


def digest_of_all(folder: Path, files: Iterable[Path]) -> tuple[str, int]:
    """Return one SHA-256 of the names and contents of files in a folder, and their bytes."""
    total, size = hashlib.sha256(), 0
    for file in sorted(files):
        total.update(f"{digest_of(file)}  {file.relative_to(folder)}\n".encode())
        size += file.stat().st_size
    return total.hexdigest(), size
