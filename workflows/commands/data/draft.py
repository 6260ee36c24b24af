"""Catalog entries drafted from files and added to a catalog: `stefaland catalog add`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.drafts.draft import draft_sources
from pipeline.drafts.text import Draft
from workflows.commands.data.own_files import add_entries
from workflows.console import OUTPUT

HEAD = """\
# Drafted from files. Lines with "decide:" name what the files leave open: remove them when the
# entry is right (keys: docs/data/README.md). Compare with the files:
# stefaland catalog check {file} --data {data}

"""


def add_sources(
    addresses: Sequence[str], name: str | None, file: Path, data: Path
) -> dict[str, Any]:
    """Draft entries for files and add them to a catalog; returns their names and open decisions.

    Raises `InputError` for files that cannot be read, and names that the catalog has already.
    """
    drafts = draft_sources(addresses, name=name, data=data)
    add_drafts(drafts, file, data)
    return draft_document(drafts, file)


def add_drafts(drafts: Sequence[Draft], file: Path, data: Path) -> None:
    """Add drafts to a catalog."""
    texts = {draft.name: str(draft) for draft in drafts}
    add_entries(file, texts, "sources", HEAD.format(file=file, data=data))


def draft_document(drafts: Sequence[Draft], file: Path) -> dict[str, Any]:
    """The drafts as plain values; docs/json.md describes every key."""
    return {
        "file": str(file),
        "sources": [
            {
                "name": draft.name,
                "driver": draft.entry["driver"],
                "variables": list(draft.entry.get("variables", {})),
                "decide": draft.to_decide,
            }
            for draft in drafts
        ],
    }


def print_drafts(document: dict[str, Any]) -> None:
    """Print the result of `add_sources`."""
    for source in document["sources"]:
        variables = ", ".join(source["variables"]) or "no variables"
        OUTPUT.plain(f"{document['file']}: {source['name']} ({source['driver']}): {variables}")
    for text in (text for source in document["sources"] for text in source["decide"]):
        OUTPUT.plain(f"decide {text}")
