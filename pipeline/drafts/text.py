"""Drafts as YAML: each key on its line, below the notes of what was found or must be decided."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import yaml

from pipeline.entries.source import Source
from pipeline.sources.check_metadata import SourceInfo

WIDTH = 100
DECIDE, FOUND = "decide: ", "found: "
ENTRY = ""
"""Key of the notes that stand above all keys of an entry."""


@dataclass(frozen=True)
class Draft:
    """A drafted entry of a catalog, and notes by key or by `variables.NAME`."""

    name: str
    entry: Mapping[str, Any]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    source: Source | None = None
    """The entry as a catalog reads it; None where it is not one yet."""
    info: SourceInfo | None = None
    """What its files hold, as far as the entry lets them be looked at."""

    @property
    def to_decide(self) -> list[str]:
        """What a person must decide, each with its key."""
        return [
            f"{self.name}{f'.{key}' if key else ''}: {note.removeprefix(DECIDE)}"
            for key, notes in self.notes.items()
            for note in notes
            if note.startswith(DECIDE)
        ]

    def with_note(self, key: str, note: str) -> Draft:
        """Return the draft with one more note."""
        return replace(self, notes={**self.notes, key: [*self.notes.get(key, ()), note]})

    def within(self, period: tuple[date, date]) -> Draft:
        """Return the draft of a series cut to a period; of a map the draft itself."""
        is_series = "time" in self.entry or (self.info is not None and self.info.times is not None)
        if not is_series:
            return self
        time = {**self.entry.get("time", {}), "period": list(period)}
        keys = [key for key in self.entry if key not in ("time", "variables", "method")]
        first = {key: self.entry[key] for key in keys}
        return replace(self, entry={**first, "time": time, **{
            key: self.entry[key] for key in ("variables", "method") if key in self.entry
        }})  # fmt: skip

    def __str__(self) -> str:
        """Return the entry as YAML with comments."""
        lines = [f"{flow(self.name)}:", *self._comments(ENTRY, 2)]
        for key, value in self.entry.items():
            lines += self._comments(key, 2)
            if key != "variables" or not value:
                lines.append(f"  {key}: {flow(value)}")
                continue
            lines.append("  variables:")
            for name, settings in value.items():
                lines += self._comments(f"variables.{name}", 4)
                lines.append(f"    {flow(name)}: {flow(settings)}")
        return "\n".join(lines) + "\n"

    def _comments(self, key: str, indent: int) -> list[str]:
        before, after = " " * indent + "# ", " " * indent + "#   "
        return [line for note in self.notes.get(key, ()) for line in textwrap.wrap(
            note, WIDTH, initial_indent=before, subsequent_indent=after,
            break_long_words=False, break_on_hyphens=False,
        )]  # fmt: skip


def flow(value: Any) -> str:
    """Return a value as YAML on one line.

    >>> flow({"crs": "EPSG:3035", "resolution": 1000})
    "{crs: 'EPSG:3035', resolution: 1000}"
    """
    text = yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    )
    return text.removesuffix("...\n").strip()


def plain(number: float) -> float | int:
    """Return a number without the last digits of its binary form, and a whole one as such.

    >>> plain(12.100000000000001), plain(500.0)
    (12.1, 500)
    """
    short = float(f"{number:.12g}")
    return int(short) if short.is_integer() else short
