"""with_parts(): entries that are made of others, with these in place of their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.core.errors import Faults, nearest_name
from pipeline.core.settings import validated
from pipeline.entries.source import Source
from pipeline.readers.registry import check_entry


def with_parts(
    merged: Mapping[str, tuple[str, Mapping[str, Any]]],
    sources: Mapping[str, Source],
    known: Mapping[str, Any],
    faults: Faults,
) -> dict[str, Source]:
    """Return `sources` and the entries of `merged` (name → where and settings), made of them.

    An entry may be made of others that are made of others. Adds a fault for each name that is not
    among the `known`, and for entries that are made of themselves; parts with faults of their own
    are passed over.
    """
    found, waiting = dict(sources), dict(merged)
    for name, (where, settings) in merged.items():
        parts = settings["merge"]
        if not (isinstance(parts, list) and all(isinstance(part, str) for part in parts)):
            faults.add(f"{where}: merge", repr(parts)[:80], "a list of names of entries",
                       "Such as `merge: [final, preliminary]`.")  # fmt: skip
            del waiting[name]
            continue
        for part in parts:
            if part not in known:
                faults.add(f"{where}: merge", f'"{part}"', "names of entries of the catalogs",
                           nearest_name(part, known))  # fmt: skip
    while ready := [
        name for name, (_, settings) in waiting.items() if {*settings["merge"]} <= {*found}
    ]:
        for name in ready:
            where, settings = waiting.pop(name)
            parts = tuple(found[part] for part in settings["merge"])
            with faults.collecting():
                source = validated(Source, {"name": name, **settings, "merge": parts}, where)
                check_entry(source, where, faults)
                found[name] = source
    for name, (where, settings) in waiting.items():
        if {*settings["merge"]} & {*waiting}:
            faults.add(f"{where}: merge", f'"{name}" among its own parts or theirs',
                       "entries that are not made of this one")  # fmt: skip
    return {name: found[name] for name in known if name in found}
