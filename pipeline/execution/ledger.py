"""Ledger: a folder with a marker for each finished tile, by which a resumed run skips it.

The process that wrote a tile marks it, once all that it wrote is on disk. Any number of processes
may share a ledger: markers are files that appear whole, flushed with their folder, and are never
rewritten. What is empty or cut off, as a power failure leaves files of others, is no marker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import make_folder, remove_stale_partials, write_bytes, writing
from pipeline.core.written.references import as_printed, as_written

MAX_MARKER_BYTES = 1 << 20
USUAL_BYTES = 1 << 12
"""Bytes read at first, into memory that takes no time to get; most markers are smaller."""


@dataclass(frozen=True)
class Ledger:
    """Markers of the items of one stage under one fingerprint, in `folder/fingerprint/`."""

    folder: Path
    fingerprint: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))

    @property
    def path(self) -> Path:
        """The folder that holds this fingerprint's markers."""
        return self.folder / self.fingerprint

    def _marker(self, name: str, kind: str = "done") -> Path:
        return self.path / f"{name}.{kind}.json"

    def open(self) -> Ledger:
        """Create the folder and remove files of dead writers; `UnwritableError` if not writable."""
        make_folder(self.path)
        remove_stale_partials(self.path)
        return self

    def done(self, name: str) -> bool:
        """Whether the item is finished under this fingerprint: its marker is there and whole."""
        return _begins_and_ends(f"{self.path}/{name}.done.json")

    def names_done(self) -> set[str]:
        """Names of all finished items; reads the first and last bytes of each marker."""
        try:
            folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return set()
        try:
            names = self._names("done")
            return {name for name in names if _begins_and_ends(f"{name}.done.json", folder)}
        finally:
            os.close(folder)

    def names_failed(self) -> set[str]:
        """Names of the items whose last attempt failed."""
        return {name for name in self._names("failed") if not self.done(name)}

    def names_broken(self) -> set[str]:
        """Names of the items whose marker is no whole JSON object; the next run repeats them."""
        return self._names("done") - self.summaries().keys()

    def _names(self, kind: str) -> set[str]:
        suffix = f".{kind}.json"
        if not self.path.is_dir():
            return set()
        with os.scandir(self.path) as entries:
            files = (entry.name for entry in entries)
            return {f.removesuffix(suffix) for f in files if f.endswith(suffix) and f[0] != "."}

    def mark(self, name: str, summary: Mapping[str, Any]) -> None:
        """Mark the item as finished; all that it wrote must be on disk before."""
        self._write(self._marker(name), dict(summary))
        self._marker(name, "failed").unlink(missing_ok=True)

    def failed(self, name: str, error: str, traceback: str = "") -> None:
        """Record why the item's last attempt failed."""
        texts = {"error": as_printed(error), "traceback": as_printed(traceback)}
        self._write(self._marker(name, "failed"), as_written(texts))

    def forget(self, name: str) -> None:
        """Remove the item's marker, so that the next run repeats it."""
        self._marker(name).unlink(missing_ok=True)

    def _write(self, marker: Path, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, sort_keys=True, default=_plain_number) + "\n"
        with writing(marker):
            write_bytes(marker, [text.encode()])

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Summary of each finished item, by name in alphabetical order; none of broken markers."""
        read = ((name, self._read(name, "done")) for name in sorted(self._names("done")))
        return {name: summary for name, summary in read if summary is not None}

    def summary(self, name: str) -> dict[str, Any] | None:
        """Summary of an item; None where it is not finished."""
        return self._read(name, "done")

    def failures(self) -> dict[str, dict[str, Any]]:
        """Error and traceback of each item whose last attempt failed, by name in order."""
        return {name: self._read(name, "failed") or {} for name in sorted(self.names_failed())}

    def _read(self, name: str, kind: str) -> dict[str, Any] | None:
        """The JSON object in a marker; None where it is removed meanwhile, or broken."""
        try:
            text = self._marker(name, kind).read_bytes()
            value = json.loads(text) if _is_whole(text) else None
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def _begins_and_ends(marker: str, folder: int | None = None) -> bool:
    """Whether a marker, of an opened folder, is there and looks whole.

    There may be hundreds of thousands of them: this takes a tenth of the time of reading JSON.
    """
    try:
        descriptor = os.open(marker, os.O_RDONLY, dir_fd=folder)
        try:
            text = os.read(descriptor, USUAL_BYTES)
            if len(text) == USUAL_BYTES:
                text += os.read(descriptor, MAX_MARKER_BYTES)
            return _is_whole(text)
        finally:
            os.close(descriptor)
    except OSError:
        return False


def _is_whole(text: bytes) -> bool:
    """Whether a text begins and ends as `Ledger` writes a JSON object, without zeros between."""
    return text.startswith(b"{") and text.endswith(b"}\n") and b"\0" not in text


def _plain_number(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return str(value)
