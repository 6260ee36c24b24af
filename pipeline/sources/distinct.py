"""check_distinct(): no canonical variable of a cube from two of its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.core.errors import Faults
from pipeline.entries.source import Source
from pipeline.regridding.terrain import ATTRIBUTES


def check_distinct(
    sources: Sequence[Source],
    faults: Faults,
    terrain_from: str | None = None,
    of_sites: Mapping[str, str] | None = None,
) -> None:
    """Add a fault for each variable that two sources have, and for a source that is named twice.

    The source `terrain_from` has the variables of terrain that are derived from it, too. `of_sites`
    are further variables that are filled from sites, with the names of their sources.
    """
    owner = dict(of_sites or {})
    for source in sources:
        derived = ATTRIBUTES if source.name == terrain_from else ()
        for name in (*source.variables, *derived):
            other = owner.setdefault(name, source.name)
            if other == source.name:
                continue
            order = f"`merge: [{other}, {source.name}]`"
            hint = f"Leave one of them out, or name an entry with {order}, in order of preference."
            faults.add(
                f'source "{source.name}"', f"{name}, which {other} has too",
                "variables that no other source has",
                "Leave one of them out." if name in (of_sites or ()) else hint,
            )  # fmt: skip
    names = [source.name for source in sources]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        faults.add(f'source "{name}"', "the source twice", "each source once")
