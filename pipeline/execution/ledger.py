"""Ledger: a folder with a marker for each finished tile, by which a resumed run skips it.

The process that wrote a tile marks it, after writing. Any number of processes may share a ledger:
markers are files that appear whole and are never rewritten.
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
        """Whether the item is finished under this fingerprint."""
        return self._marker(name).exists()

    def names_done(self) -> set[str]:
        """Names of all finished items, from one listing of the folder."""
        return self._names("done")

    def names_failed(self) -> set[str]:
        """Names of the items whose last attempt failed."""
        return self._names("failed") - self.names_done()

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
            marker.parent.mkdir(parents=True, exist_ok=True)
            # Not flushed: if a failing node loses the marker, one tile is repeated.
            write_bytes(marker, [text.encode()], durable=False)

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Summary of each finished item, by name in alphabetical order."""
        return {name: self._read(name, "done") for name in sorted(self.names_done())}

    def failures(self) -> dict[str, dict[str, Any]]:
        """Error and traceback of each item whose last attempt failed, by name in order."""
        return {name: self._read(name, "failed") for name in sorted(self.names_failed())}

    def _read(self, name: str, kind: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self._marker(name, kind).read_text())
        except (OSError, ValueError):
            return {}  # removed by another process, or lost with the node that wrote it
        return value


def _plain_number(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return str(value)
