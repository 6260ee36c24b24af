"""Entries added to the files of a person: `catalog.yml` and `grids.yml` beside a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.core.errors import Faults
from pipeline.core.files import write_text
from pipeline.core.safe_yaml import parse_yaml
from pipeline.core.settings import read_entries


def add_entries(file: Path, texts: Mapping[str, str], what: str, head: str = "") -> None:
    """Add YAML texts of new entries at the end of a file, which is made with `head` if absent.

    What is in the file stays as it is. Raises `InputError` for names that it has already.
    """
    stored = file.read_bytes() if file.is_file() else b""
    there = read_entries(file, what) if parse_yaml(stored, str(file)) else {}
    faults = Faults()
    for name in texts:
        if name in there:
            faults.add(f"{file}: {name}", f"one of {what} with this name", "new names",
                       "Choose another one with `--name`, or remove that entry.")  # fmt: skip
    faults.raise_if_any()
    written = stored.decode().rstrip("\n")
    before = f"{written}\n\n" if written.strip() else head
    text = before + "\n".join(texts.values())
    parse_yaml(text.encode(), str(file))
    write_text(file, text)
