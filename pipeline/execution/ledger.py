"""A folder of markers, one a finished tile and settings fingerprint: what a resumed run may skip.

Upstream: `run` marks, in the process that wrote the tile and after it wrote. Any number of
processes may share a ledger: markers are files that appear whole, and nothing is rewritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.core.files import make_folder, remove_stale_partials, write_bytes, writing


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
        """Create the folder and clear what dead writers left; `InputError` if not writable."""
        make_folder(self.path)
        remove_stale_partials(self.path)
        return self

    def done(self, name: str) -> bool:
        """Whether the item is finished under this fingerprint."""
        return self._marker(name).exists()

    def names_done(self) -> set[str]:
        """All finished items: one listing, however many there are."""
        return self._names("done")

    def names_failed(self) -> set[str]:
        """Items whose last try failed."""
        return self._names("failed") - self.names_done()

    def _names(self, kind: str) -> set[str]:
        suffix = f".{kind}.json"
        if not self.path.is_dir():
            return set()
        with os.scandir(self.path) as entries:
            files = (entry.name for entry in entries)
            return {f.removesuffix(suffix) for f in files if f.endswith(suffix) and f[0] != "."}

    def mark(self, name: str, summary: Mapping[str, Any]) -> None:
        """Say that the item is finished; only after all it wrote is on disk."""
        self._write(self._marker(name), dict(summary))
        self._marker(name, "failed").unlink(missing_ok=True)

    def failed(self, name: str, error: str, traceback: str = "") -> None:
        """Record why the item's last try failed."""
        self._write(self._marker(name, "failed"), {"error": error, "traceback": traceback})

    def forget(self, name: str) -> None:
        """Let the next run do the item again."""
        self._marker(name).unlink(missing_ok=True)

    def _write(self, marker: Path, value: Mapping[str, Any]) -> None:
        text = json.dumps(value, sort_keys=True, default=_plain_number) + "\n"
        with writing(marker):
            marker.parent.mkdir(parents=True, exist_ok=True)
            # Its tile is on disk already; a marker that a dying node loses costs one tile again.
            write_bytes(marker, [text.encode()], durable=False)

    def summaries(self) -> dict[str, dict[str, Any]]:
        """What was recorded with each finished item, by name in order."""
        return {name: self._read(name, "done") for name in sorted(self.names_done())}

    def failures(self) -> dict[str, dict[str, Any]]:
        """`error` and `traceback` of each item whose last try failed, by name in order."""
        return {name: self._read(name, "failed") for name in sorted(self.names_failed())}

    def _read(self, name: str, kind: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads(self._marker(name, kind).read_text())
        except (OSError, ValueError):
            return {}  # withdrawn by another process, or emptied with the node that wrote it
        return value


def _plain_number(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    return str(value)
